"""The hooks that steer: which rows, tokens and threads a shift is added to, and how much of it."""

import threading
from collections.abc import Callable
from typing import Any

import torch

from workbench.anatomy import first
from workbench.models import Model


class Where:
    """Which rows and tokens of the forward now running are steered, and how much."""

    def __init__(self, model: Model, mode: str, thread: int | None) -> None:
        self.model = model
        self.mode = mode
        self.thread = thread
        self.shape = (0, 0)
        self.start: torch.Tensor | None = None
        self.tokens: torch.Tensor | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether another thread than the one that steers is running the model."""
        return self.thread not in (None, threading.get_ident())

    def look(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read one forward's shape, mask and cache before its layers run."""
        if self.elsewhere:
            return
        ids = next(
            x
            for x in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
            if x is not None
        )
        self.shape = (rows, width) = ids.shape[:2]
        if self.mode == "all":
            return
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        flight, mask = self.model.in_flight, kwargs.get("attention_mask")
        if flight is not None and flight.start is not None:
            self.start = flight.start
        elif past == 0 and isinstance(mask, torch.Tensor) and mask.dim() == 2:
            columns = torch.arange(width, device=mask.device)
            self.start = (mask.bool() * (columns + 1)).amax(1).cpu()
        elif past == 0 or self.start is None or len(self.start) != rows:
            self.start = torch.full((rows,), past or width)
        begin = self.start - int(self.mode == "last")
        steered = past + torch.arange(width) >= begin[:, None]
        self.tokens = None if steered.all() else steered

    def factor(self, alpha: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor | None:
        """What each token's shift is multiplied with: `[row, token, 1]`, flat if `hidden` is."""
        rows, width = self.shape
        factor = self.tokens
        if alpha is not None:
            flight = self.model.in_flight
            expected = rows if flight is None else flight.total
            if len(alpha) != expected:
                noun = "rows in the batch" if flight is None else "prompts"
                raise ValueError(f"{len(alpha)} alphas, one for each, but {expected} {noun}")
            alpha = alpha if flight is None else alpha[flight.prompt]
            alpha = alpha[:, None].expand(rows, width)
            factor = alpha if factor is None else alpha * factor
        if factor is None:
            return None
        # OPT's last projection sees all tokens of a batch as one list.
        factor = factor[..., None] if hidden.dim() == 3 else factor.reshape(-1, 1)
        return factor.to(hidden.device, hidden.dtype)


def adder(vector: torch.Tensor, alpha: float | torch.Tensor, where: Where) -> Callable:
    """A forward hook that adds alpha (one for all, or float32 `[prompt]`) times `vector`."""
    rows = alpha if isinstance(alpha, torch.Tensor) else None
    vector = vector if rows is not None else alpha * vector

    def add(_: torch.nn.Module, __: Any, output: Any) -> Any:
        nonlocal vector
        if where.elsewhere:
            return output
        hidden = first(output)
        if vector.dtype != hidden.dtype or vector.device != hidden.device:
            vector = vector.to(hidden.device, hidden.dtype)
        factor = where.factor(rows, hidden)
        shifted = hidden + (vector if factor is None else factor * vector)
        return (shifted, *output[1:]) if isinstance(output, tuple) else shifted

    return add
