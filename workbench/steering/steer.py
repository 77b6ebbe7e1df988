"""steer(): apply directions for a while, by folding into biases or by hooks."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from workbench.errors import FoldError
from workbench.models.anatomy import first
from workbench.models.model import Model, SteeringHook
from workbench.steering.fold import fold
from workbench.steering.shifts import Alpha, Direction, module_shifts, paired

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
    """Steer every forward and generate of the model inside the `with` block.

    >>> with wb.steer(model, lock, 4.0):
    ...     replies = wb.generate(model, prompts)

    `direction`: `HeadDirections`, `ResidualDirection`, or a list of them, which add up. Each shifts
    what it acts on by alpha · scale · unit, in units of the data's spread.

    `alpha`: a number; for several directions a list with one entry for each; for one direction a
    list of numbers, one for each *prompt*: `capture` and `generate` map them to prompts, a forward
    of your own must have exactly that many rows. An entry of a list may itself be such a list.

    `mode`: which tokens. `"all"`; `"generated"`, from the first token after the prompt on; or
    `"last"`, from the last prompt token on (ITI's hook during generation). In a chat that ends in a
    reply the reply is what was generated. A prompt ends where its attention mask does.

    `how`: `"fold"` writes biases (no run-time cost); `"hook"` adds the same vector to the same
    module's output; `"auto"` folds where that is exact (mode `"all"`, one alpha for all rows) and
    hooks elsewhere. Hooks of a background thread (a widget's) steer that thread alone, so that a
    cell that runs meanwhile sees the plain model; those of the main thread steer every thread.

    Both are undone on exit, also after an exception, and captures inside see the same values (save
    for OPT's `"mlp"`, which is read before a hook shifts it). Discard KV caches made outside.

    Raises `ValueError` for an unknown mode or how, a wrong number of alphas, one that is not finite
    or, without `allow_negative`, negative; `DirectionError` where a direction does not fit the
    model; `FoldError`, with the reason, for `"fold"` where a bias is not exact.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}; modes are {', '.join(MODES)}")
    if how not in ("auto", "fold", "hook"):
        raise ValueError(f"how={how!r}; use 'auto', 'fold' or 'hook'")
    if how == "fold" and mode != "all":
        raise FoldError(f"a bias acts at every position; mode={mode!r} needs how='hook'")
    pairs = paired(direction, alpha, allow_negative)
    per_prompt = any(isinstance(a, torch.Tensor) for _, a in pairs)
    if how == "fold" or (how == "auto" and mode == "all" and not per_prompt):
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
    forward = _Forward(model, mode, threading.get_ident() if background else None)
    with ExitStack() as undo:
        for shifted_by, strength in pairs:
            for module, vector in module_shifts(model, shifted_by).items():
                hook = module.register_forward_hook(_adding(vector, strength, forward))
                undo.callback(hook.remove)
            label = f"{shifted_by.digest()}*{_spelled(strength)}@{mode}"
            active = SteeringHook(label, isinstance(strength, torch.Tensor), forward.thread)
            model.hooks.append(active)
            undo.callback(model.hooks.remove, active)
        if mode != "all" or per_prompt:
            # Not hf.base_model: OPT's head calls its decoder past it.
            stack = model.hf.get_submodule(model.anatomy.layers.rpartition(".")[0])
            hook = stack.register_forward_pre_hook(forward.observe, with_kwargs=True)
            undo.callback(hook.remove)
        yield model


def _spelled(alpha: float | torch.Tensor) -> str:
    # Nine digits tell any two float32 apart; the fingerprint must.
    return ",".join(f"{a:.9g}" for a in torch.as_tensor(alpha).flatten().tolist())


class _Forward:
    """Which rows and tokens of the forward now running are steered, and how much.

    `shape`: (rows, tokens). `start`: int64 `[row]`, the column of each row's first generated token.
    `steered`: bool `[row, token]`; None where all are. `thread` as in `SteeringHook`.
    """

    def __init__(self, model: Model, mode: str, thread: int | None) -> None:
        self.model = model
        self.mode = mode
        self.thread = thread
        self.shape = (0, 0)
        self.start: torch.Tensor | None = None
        self.steered: torch.Tensor | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether another thread than the one that steers is running the model."""
        return self.thread not in (None, threading.get_ident())

    def observe(self, _: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Read one forward's shape, mask and cache before its layers run."""
        if self.elsewhere:
            return
        inputs = (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"))
        self.shape = (rows, width) = next(x for x in inputs if x is not None).shape[:2]
        if self.mode == "all":
            return
        cache = kwargs.get("past_key_values")
        past = int(cache.get_seq_length()) if cache is not None else 0
        batch, mask = self.model.in_flight, kwargs.get("attention_mask")
        if batch is not None and batch.start is not None:
            self.start = batch.start
        elif past == 0 and isinstance(mask, torch.Tensor) and mask.dim() == 2:
            columns = torch.arange(width, device=mask.device)
            self.start = (mask.bool() * (columns + 1)).amax(1).cpu()
        elif past == 0 or self.start is None or len(self.start) != rows:
            self.start = torch.full((rows,), past or width)
        first_steered = self.start - int(self.mode == "last")
        steered = past + torch.arange(width) >= first_steered[:, None]
        self.steered = None if steered.all() else steered

    def factor(self, alpha: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor | None:
        """What each token's shift is multiplied with: `[row, token, 1]`, flat if `hidden` is.

        `alpha`: float32 `[prompt]`, or None where the shift holds it. Raises `ValueError` where
        there are more or fewer alphas than prompts.
        """
        rows, width = self.shape
        factor = self.steered
        if alpha is not None:
            batch = self.model.in_flight
            expected = rows if batch is None else batch.total
            if len(alpha) != expected:
                noun = "rows in the batch" if batch is None else "prompts"
                raise ValueError(f"{len(alpha)} alphas, one for each, but {expected} {noun}")
            alpha = alpha if batch is None else alpha[batch.prompt]
            alpha = alpha[:, None].expand(rows, width)
            factor = alpha if factor is None else alpha * factor
        if factor is None:
            return None
        # OPT's last projection sees all tokens of a batch as one list.
        factor = factor[..., None] if hidden.dim() == 3 else factor.reshape(-1, 1)
        return factor.to(hidden.device, hidden.dtype)


def _adding(vector: torch.Tensor, alpha: float | torch.Tensor, forward: _Forward) -> Callable:
    """A forward hook that adds alpha (one for all, or float32 `[prompt]`) times `vector`."""
    alphas = alpha if isinstance(alpha, torch.Tensor) else None
    vector = vector if alphas is not None else alpha * vector

    def add(_: torch.nn.Module, __: Any, output: Any) -> Any:
        nonlocal vector
        if forward.elsewhere:
            return output
        hidden = first(output)
        if vector.dtype != hidden.dtype or vector.device != hidden.device:
            vector = vector.to(hidden.device, hidden.dtype)
        factor = forward.factor(alphas, hidden)
        shifted = hidden + (vector if factor is None else factor * vector)
        return (shifted, *output[1:]) if isinstance(output, tuple) else shifted

    return add
