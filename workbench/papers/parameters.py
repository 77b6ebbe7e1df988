"""How a notebook's parameters become a preset's settings; the same for every paper."""

from collections.abc import Sequence
from typing import Any

from workbench.paths import EMBEDDED


def given(parameters: dict[str, Any]) -> dict[str, Any]:
    """Those that pin a value: an empty text, or a number below 0, leaves the preset's.

    NaN pins, so that the settings can refuse it.

    >>> given({"k": -1, "topk": "", "steps": 0, "official": False})
    {'steps': 0, 'official': False}
    """
    return {
        name: value
        for name, value in parameters.items()
        if value != "" and (isinstance(value, str) or value is None or not value < 0)
    }


def names(text: str) -> tuple[str, ...]:
    """A comma-separated list: `"fpo, dpo"` → `("fpo", "dpo")`; nothing for an empty one."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(name: str, text: str) -> tuple[float, ...]:
    """A comma-separated list of numbers; `ValueError` naming the parameter for anything else."""
    try:
        return tuple(float(part) for part in text.split(",")) if text.strip() else ()
    except ValueError as error:
        raise ValueError(f"{name}={text!r}: give numbers separated by commas") from error


def seed_list(seed: int, seeds: int) -> list[int]:
    """`seeds` consecutive seeds from `seed` on. Raises `ValueError` for fewer than one."""
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: at least 1")
    return list(range(seed, seed + seeds))


def one_thread_if_embedded(models: Sequence[str]) -> None:
    """Compute on one thread where a model is embedded.

    So small a model gains nothing from a second thread, and loses much on a busy machine.
    """
    # Preflights read parameters too, and must not wait for torch.
    import torch

    if any(name in EMBEDDED for name in models):
        torch.set_num_threads(1)
