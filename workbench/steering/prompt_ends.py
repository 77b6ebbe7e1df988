"""Where each row's prompt ends, which only the caller knows: masks, `hf.generate`, what is said."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import torch

from workbench.arguments import listed, whole
from workbench.errors import SteeringError
from workbench.models.model import InFlight, Model

SAY = "Say steer(..., start=…), the column of each row's first generated token"


def arguments(module: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a module is called with, by name."""
    return {**dict(zip(_parameters(type(module)), args, strict=False)), **kwargs}


@lru_cache(maxsize=32)
def _parameters(kind: type) -> list[str]:
    return list(inspect.signature(kind.forward).parameters)[1:]


def prompt_ends(given: dict[str, Any], rows: int, width: int) -> torch.Tensor:
    """The column behind each row's last token in a forward of whole prompts: int64 `[row]`.

    Raises `SteeringError` where the arguments do not say it.
    """
    mask, positions = given.get("attention_mask"), given.get("position_ids")
    if mask is None:
        jumps = positions is not None and (positions.reshape(-1, width).diff() != 1).any()
        if jumps or given.get("cu_seq_lens_q") is not None:
            raise SteeringError(f"the rows hold several texts, each with a prompt end. {SAY}")
        return torch.full((rows,), width)
    if not isinstance(mask, torch.Tensor) or mask.dim() != 2:
        raise SteeringError(f"the attention mask is not [row, token]: where do prompts end? {SAY}")
    # The mask of a cache of fixed size is longer than the text.
    mask = mask[:, :width].bool()
    columns = torch.arange(width, device=mask.device)
    return (mask * (columns + 1)).amax(1).cpu()


def starts(start: int | Sequence[int] | torch.Tensor | None) -> torch.Tensor | None:
    """`start` as int64 `[]` or `[row]`; `ValueError` for another shape or a negative column."""
    if start is None:
        return None
    if not hasattr(start, "__len__") or getattr(start, "shape", None) == ():
        return torch.tensor(whole("start", start, 0))
    return torch.tensor([whole("start", column, 0) for column in listed("start", start)])


@contextmanager
def noting_prompts(model: Model, matter: bool) -> Iterator[None]:
    """Let `hf.generate` tell what it is given as prompts, where they `matter`, inside the block.

    In the loop of `generate` a prompt may come in pieces, a token with guesses behind it, and the
    rows of a prompt may be many.
    """
    hf = model.hf
    generate, own = hf.generate, vars(hf).get("generate")

    @wraps(generate)
    def noting(*args: Any, **kwargs: Any) -> Any:
        before = model.in_flight
        # An error inside would leave the model with fewer layers.
        if _option("assistant_early_exit", model, args[1:], kwargs) is not None:
            raise SteeringError(
                "assistant_early_exit skips layers that are steered; generate without it, or fold()"
            )
        if matter:
            model.in_flight = _in_flight(model, *args, **kwargs)
        try:
            return generate(*args, **kwargs)
        finally:
            model.in_flight = before

    hf.generate = noting
    try:
        yield
    finally:
        # Blocks of several threads may end in any order.
        if vars(hf).get("generate") is noting:
            if own is None:
                del hf.generate
            else:
                hf.generate = own


def _option(name: str, model: Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    config = (args[0] if args else kwargs.get("generation_config")) or model.hf.generation_config
    return kwargs.get(name, getattr(config, name, None))


def _in_flight(model: Model, inputs: Any = None, *args: Any, **kwargs: Any) -> InFlight:
    """The prompts of one call of `hf.generate`."""
    if _option("guidance_scale", model, args, kwargs) not in (None, 1):
        raise SteeringError(
            "guidance_scale runs a second text, whose prompt ends elsewhere; steer with "
            "mode='all' and one alpha, or generate without guidance"
        )
    ids = inputs if inputs is not None else kwargs.get("input_ids")
    embeds = kwargs.get("inputs_embeds")
    if ids is not None and embeds is not None:
        raise SteeringError("hf.generate got both input_ids and inputs_embeds; give one of them")
    given = ids if ids is not None else embeds
    # Without any, it begins with one token.
    rows, width = (1, 1) if given is None else given.shape[:2]
    mask = kwargs.get("attention_mask")
    start = torch.full((rows,), width)
    if isinstance(mask, torch.Tensor) and mask.dim() == 2:
        # Beside a cache, new tokens may come alone, with the mask of the whole text.
        start = prompt_ends({"attention_mask": mask}, rows, mask.shape[1])
    return InFlight(torch.arange(rows), rows, start)


def prompts(batch: InFlight | None, rows: int) -> tuple[torch.Tensor, int]:
    """Each row's place in the list of prompts, and how many there are."""
    if batch is None:
        return torch.arange(rows), rows
    return spread(batch.prompt, rows), batch.total


def spread(of_prompt: torch.Tensor, rows: int) -> torch.Tensor:
    """One entry per row where each prompt has several neighbouring rows: beams, samples."""
    times, rest = divmod(rows, len(of_prompt))
    if rest or not times:
        raise SteeringError(f"{rows} rows for {len(of_prompt)} prompts: it is not known whose")
    return of_prompt if times == 1 else of_prompt.repeat_interleave(times)
