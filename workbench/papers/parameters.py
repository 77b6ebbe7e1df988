"""How a notebook's parameters become a preset's settings; the same for every paper."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import psutil

from workbench.arguments import FLOAT32, different, finite, one_of, seed_number, shown, whole
from workbench.errors import RunError, WorkbenchError
from workbench.paths import EMBEDDED

if TYPE_CHECKING:  # preflights read parameters too, and must not wait for torch
    from workbench.models.model import Model

log = logging.getLogger(__name__)

PRESETS = ("tiny", "small", "paper")
SMALL_BYTES = 1.5e9
"""Memory that the least of the small presets takes."""
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"
"""A chat for a model that has no form of its own: what is said, and nothing of who says it."""
MOST_SEEDS = 10**6
MOST_SEED = 2**32 - 1
"""NumPy's generators take no larger seed."""


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """Those that pin a value: an empty text, or -1, leaves the preset's.

    Any other value pins, so that the settings can refuse it.

    >>> given({"k": -1, "topk": "", "steps": 0, "official": False})
    {'steps': 0, 'official': False}
    """
    return {
        name: value
        for name, value in parameters.items()
        if isinstance(value, bool | tuple | None) or value not in ("", -1)
    }


def picked(given: dict[str, Any], names: str) -> dict[str, Any]:
    """Those of the given parameters that are among `names`, separated by spaces."""
    return {name: given[name] for name in names.split() if name in given}


def of_preset(preset: str, paper: Any) -> Any:
    """The paper's settings, or their `tiny()` or `small()`.

    Raises `ValueError` for another, and for `"small"` as `require_small_memory`.
    """
    if one_of("preset", preset, PRESETS) == "small":
        require_small_memory()
    return paper if preset == "paper" else getattr(paper, preset)()


def require_small_memory() -> None:
    """Raise `RunError` where memory is too little for any run at `small`."""
    require_memory("preset=small", SMALL_BYTES, "take preset=tiny")


def require_memory(what: str, size: float, instead: str) -> None:
    """Raise `RunError`, with a way out, where `what` takes `size` bytes and fewer are free."""
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if free < size:
        raise RunError(
            f"{what} takes {size / 1e9:.1f} GB of memory at least, and {free / 1e9:.1f} GB are "
            f"free. Free some, or {instead}"
        )


def names(name: str, text: str) -> tuple[str, ...]:
    """A list separated by commas: `"fpo, dpo"` → `("fpo", "dpo")`; nothing for an empty text.

    Raises `ValueError`, naming the parameter, for what is no text, for nothing between two commas,
    and for a name that is there twice.
    """
    if not isinstance(text, str):
        raise ValueError(f"{name}={shown(text)}: give a text, separated by commas")
    parts = [part.strip() for part in text.split(",")] if text else []
    if not all(parts):
        raise ValueError(f"{name}={shown(text)}: nothing stands before, after or between commas")
    return tuple(different(name, parts))


def strengths(name: str, text: str) -> tuple[float, ...]:
    """Alphas separated by commas, rising, 0 among them; nothing for an empty text.

    Raises `ValueError`, naming the parameter, as `names`, and for what is no finite
    number from 0 on in float32.

    >>> strengths("alphas", "4, 0.5")
    (0.0, 0.5, 4.0)
    """
    numbers = []
    for part in names(name, text):
        try:
            numbers.append(finite(name, float(part), 0, FLOAT32))
        except ValueError as error:
            raise ValueError(
                f"{name}={shown(text)}: {part!r:.40} is no finite number from 0 on; give numbers "
                "separated by commas"
            ) from error
    different(name, numbers)
    return tuple(sorted({0.0, *numbers})) if numbers else ()


def seed_list(seed: int, seeds: int) -> list[int]:
    """`seeds` consecutive seeds from `seed` on.

    Raises `ValueError` for fewer than one or more than `MOST_SEEDS`, and for seeds outside 0 to
    `MOST_SEED`.
    """
    first = seed_number(seed, MOST_SEED)
    count = whole("seeds", seeds, 1, MOST_SEEDS)
    if first + count - 1 > MOST_SEED:
        raise ValueError(f"seeds={count} from seed={first} on: the last may be {MOST_SEED} at most")
    return list(range(first, first + count))


@contextlib.contextmanager
def naming(name: str, value: str) -> Iterator[None]:
    """Begin errors of the block with the parameter that they are about, where it was given."""
    try:
        yield
    except (WorkbenchError, FileNotFoundError) as error:
        if not value:
            raise
        kind = type(error) if isinstance(error, WorkbenchError) else RunError
        raise kind(f"{name}={shown(value)}: {error!s:.600}") from None


def check_file(name: str, path: str, folder: bool = False) -> None:
    """Raise `ValueError`, naming the parameter, where a path is given and no file is there.

    With `folder` a folder will do, too.
    """
    if path and not (os.path.isfile(path) or (folder and os.path.isdir(path))):
        raise ValueError(f"{name}={shown(path)} is no file{' or folder' if folder else ''}")


def with_template(model: "Model") -> "Model":
    """The model; one without a chat template gets `PLAIN_TEMPLATE`, and a warning says so."""
    if model.tokenizer.chat_template is None:
        model.tokenizer.chat_template = PLAIN_TEMPLATE
        log.warning(
            "%s has no chat template: it is asked in plain prompts, one message after the other, "
            "and nothing tells it who is speaking", model.name,
        )  # fmt: skip
    return model


def one_thread_if_embedded(models: Sequence[str]) -> None:
    """Compute on one thread where a model is embedded.

    So small a model gains nothing from a second thread, and loses much on a busy machine.
    """
    import torch

    if any(name in EMBEDDED for name in models):
        torch.set_num_threads(1)
