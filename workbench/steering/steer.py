"""steer(): apply directions for a while, by folding or by hooks."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from workbench.errors import FoldError
from workbench.models.anatomy import first
from workbench.models.model import Hooked, Model
from workbench.steering.fold import fold
from workbench.steering.shifts import (
    Alpha,
    Direction,
    module_shifts,
    paired,
)

log = logging.getLogger(__name__)
MODES = ("all", "generated", "last")


@contextmanager
def steer(
    model: Model,
    direction: Direction | Sequence[Direction],
    alpha: Alpha | Sequence[Alpha],
    *,
    mode: str = "all",
    how: str = "auto",
    allow_negative: bool = False,
) -> Iterator[Model]:
    """Inside the context every forward and generate of the model is steered.

    `alpha`: a number; for several directions a list with one entry for each; for one direction a
    list of numbers, one for each *prompt*: `capture` and `generate` map them to prompts, a forward
    of your own must have exactly that many rows. An entry of a list may itself be such a list.

    `mode`: `"all"` positions; `"generated"`, from the first token after the prompt on; `"last"`,
    from the last prompt token on (ITI's hook during generation). In a chat that ends in a reply
    the reply is what was generated. A prompt ends where its attention mask does.

    `how="fold"` writes biases (no run-time cost), `"hook"` adds the same vector to the same
    module's output; `"auto"` folds where that is exact (mode `"all"`, one alpha for all rows) and
    hooks elsewhere. Hooks of a background thread (a widget's) steer that thread alone, so that a
    cell that runs meanwhile sees the plain model; those of the main thread steer every thread.
    Both are undone on exit, also after an exception, and captures inside see the same values (save
    for OPT's `"mlp"`, which is read before a hook shifts it). Discard KV caches made outside.

    Raises as `fold`, except that `"hook"` and `"auto"` also take what cannot be folded.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}; modes are {', '.join(MODES)}")
    if how not in ("auto", "fold", "hook"):
        raise ValueError(f"how={how!r}; use 'auto', 'fold' or 'hook'")
    if how == "fold" and mode != "all":
        raise FoldError(f"a bias acts at every position; mode={mode!r} needs how='hook'")
    pairs = paired(direction, alpha, allow_negative)
    per_row = any(isinstance(a, torch.Tensor) for _, a in pairs)
    if how == "fold" or (how == "auto" and mode == "all" and not per_row):
        try:
            handle = fold(model, direction, alpha, allow_negative=allow_negative)
        except FoldError as error:
            if how == "fold":
                raise
            log.info("steering by hook: %s", error)
        else:
            try:
                yield model
            finally:
                handle.undo()
            return
    background = threading.current_thread() is not threading.main_thread()
    where = Where(model, mode, threading.get_ident() if background else None)
    with ExitStack() as hooks:
        for one, strength in pairs:
            for module, vector in module_shifts(model, one).items():
                hook = module.register_forward_hook(adder(vector, strength, where))
                hooks.callback(hook.remove)
            label = f"{one.digest()}*{_spelled(strength)}@{mode}"
            hooked = Hooked(label, isinstance(strength, torch.Tensor), where.thread)
            model.hooks.append(hooked)
            hooks.callback(model.hooks.remove, hooked)
        if mode != "all" or per_row:
            # Not hf.base_model: OPT's head calls its decoder past it.
            stack = model.hf.get_submodule(model.anatomy.layers.rpartition(".")[0])
            hooks.callback(stack.register_forward_pre_hook(where.look, with_kwargs=True).remove)
        yield model


def _spelled(alpha: float | torch.Tensor) -> str:
    # Nine digits tell any two float32 apart; the fingerprint must.
    return ",".join(f"{a:.9g}" for a in torch.as_tensor(alpha).flatten().tolist())


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
