"""steer(): apply directions for a while, by folding into biases or by hooks."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch

from workbench.errors import FoldError
from workbench.models.eager import eager
from workbench.models.model import Model, SteeringHook
from workbench.steering.acting import Acting
from workbench.steering.fold import fold
from workbench.steering.prompt_ends import noting_prompts, starts
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
    start: int | Sequence[int] | torch.Tensor | None = None,
    allow_negative: bool = False,
) -> Iterator[Model]:
    """Steer every forward and generate of the model inside the `with` block.

    >>> with wb.steer(model, lock, 4.0):
    ...     replies = wb.generate(model, prompts)

    `direction`: `HeadDirections`, `ResidualDirection`, or a list of them, which add up. Each shifts
    what it acts on by alpha · scale · unit, in units of the data's spread.

    `alpha`: a number; for several directions a list with one entry for each; for one direction a
    list of numbers, one for each *prompt*: `capture` and `generate` map them to prompts, a forward
    of your own must have exactly that many rows. An entry of a list may itself be such a list, and
    an array or a tensor counts as the list of its entries.

    `mode`: which tokens. `"all"`; `"generated"`, from the first token after the prompt on; or
    `"last"`, from the last prompt token on (ITI's hook during generation). In a chat that ends in a
    reply the reply is what was generated. Forwards by hand: `start` below.

    `how`: `"fold"` writes biases (no run-time cost); `"hook"` adds the same vector to the same
    module's output; `"auto"` folds where that is exact (mode `"all"`, one alpha for all rows) and
    hooks elsewhere. Hooks of a background thread (a widget's) steer that thread alone, so that a
    cell that runs meanwhile sees the plain model; those of the main thread steer every thread.

    `start`: the column, counted from the first one cached, of each row's first generated token, or
    one for all rows. Only forwards by hand with a cache need it: `generate`, `capture` and the
    model's own `hf.generate` know it, and without a cache a prompt is all that a forward is given,
    up to the end of its attention mask.

    Both are undone on exit, also after an exception, and captures inside see the same values (save
    for OPT's `"mlp"`, which is read before a hook shifts it). Under hooks a compiled model runs as
    plain Python, and what a cache holds of the steered tokens must come from the same steering.
    A graph recorded before (`torch.jit`, `torch.export`, a CUDA graph) cannot be steered or seen.

    Raises `ValueError` for an unknown mode or how, a wrong number of alphas or starts, one that is
    not finite or, without `allow_negative`, negative; `DirectionError` where a direction does not
    fit the model; `FoldError`, with the reason, for `"fold"` where a bias is not exact. Inside the
    block, and at its end, `SteeringError` where a hook did not run exactly once in a forward, or it
    is not known which tokens the mode means.
    """
    if mode not in MODES:
        raise ValueError(f"mode={mode!r}; modes are {', '.join(MODES)}")
    if how not in ("auto", "fold", "hook"):
        raise ValueError(f"how={how!r}; use 'auto', 'fold' or 'hook'")
    if how == "fold" and mode != "all":
        raise FoldError(f"a bias acts at every position; mode={mode!r} needs how='hook'")
    if start is not None and mode == "all":
        raise ValueError(f"start={start} has no meaning in mode 'all', which steers every token")
    pairs = paired(direction, alpha, allow_negative)
    directions = [shifted_by for shifted_by, _ in pairs]
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
                with Acting(model, directions, mode, folded=handle).watching():
                    yield model
                    handle.check()
            finally:
                handle.undo()
            return
    background = threading.current_thread() is not threading.main_thread()
    thread = threading.get_ident() if background else None
    acting = Acting(model, directions, mode, starts(start), thread)
    with ExitStack() as undo:
        for shifted_by, strength in pairs:
            for module, vector in module_shifts(model, shifted_by).items():
                add = acting.adding(module, vector, strength)
                undo.callback(module.register_forward_hook(add).remove)
            label = f"{shifted_by.digest()}*{_spelled(strength)}@{mode}"
            label += "" if start is None else f"{torch.as_tensor(start).tolist()}"
            active = SteeringHook(label, isinstance(strength, torch.Tensor), acting.thread)
            model.hooks.append(active)
            undo.callback(model.hooks.remove, active)
        undo.enter_context(noting_prompts(model, mode != "all" or per_prompt))
        undo.enter_context(eager())
        undo.enter_context(acting.watching())
        yield model


def _spelled(alpha: float | torch.Tensor) -> str:
    # Nine digits tell any two float32 apart; the fingerprint must.
    return ",".join(f"{a:.9g}" for a in torch.as_tensor(alpha).flatten().tolist())
