"""steer() and fold(): apply directions for a while, or for good."""

import logging
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

from workbench.directions import HeadDirections, ResidualDirection
from workbench.errors import FoldError
from workbench.models import Hooked, Model
from workbench.projections import bias_owner, check_bias, image
from workbench.steering_hooks import Where, adder

log = logging.getLogger(__name__)

Direction = HeadDirections | ResidualDirection
Alpha = float | Sequence[float] | torch.Tensor
MODES = ("all", "generated", "last")


@dataclass(eq=False)
class Fold:
    """A shift written into biases; `undo()` puts every one back, bit for bit."""

    _model: Model
    _before: list[tuple[torch.nn.Module, torch.nn.Parameter | None]]
    _reasons: list[str]

    def undo(self) -> None:
        """Restore the biases as they were; a second call does nothing.

        Raises `FoldError` where a later fold is still in place: it holds what this one wrote.
        """
        if self not in self._model.folds:
            return
        if self._model.folds[-1] is not self:
            raise FoldError("a later fold is still in place; undo that one first")
        self._model.folds.pop()
        while self._before:
            module, bias = self._before.pop()
            module.bias = bias
        while self._reasons:
            self._model.not_for_export.remove(self._reasons.pop())


@torch.no_grad()
def fold(
    model: Model,
    direction: Direction | Sequence[Direction],
    alpha: float | Sequence[float],
    *,
    allow_negative: bool = False,
) -> Fold:
    """Write the shift into biases: b = b₀ + W_o Δ for heads, b = b₀ + Δ for the residual stream.

    o_proj(z + Δ) = W z + (b₀ + W Δ) and Δ does not depend on the token, so bias and hook are the
    same function at every position (SafetyLock, "Exact folding"). A residual shift goes into the
    bias of the block's last projection. A missing bias is created; behind an adapter or beside
    quantised weights it goes to the layer inside. Rounded once to the model's dtype.

    Several directions add up, each with its own alpha where a list is given. `Fold.undo()`
    restores.

    Raises `ValueError` for an alpha that is not finite, or negative without `allow_negative`
    (research only: it removes what the direction stands for); `DirectionError` where a direction
    does not fit; `FoldError`, with the reason, where a bias is not exact.
    """
    pairs = _paired(direction, alpha, allow_negative)
    if any(isinstance(a, torch.Tensor) for _, a in pairs):
        raise FoldError("a bias is the same for every row; per-row alphas need steer(how='hook')")
    shifts: dict[torch.nn.Module, torch.Tensor] = {}
    handle = Fold(model, [], [f"alpha {a:g} is negative" for _, a in pairs if a < 0])
    model.not_for_export.extend(handle._reasons)
    model.folds.append(handle)
    try:
        for one, strength in pairs:
            for module, vector in _shifts(model, one).items():
                bias_owner(module)
                shifts[module] = shifts.get(module, 0) + strength * vector
        for module, vector in shifts.items():
            owner = bias_owner(module)
            handle._before.append((owner, owner.bias))
            dtype, device = model.hf.dtype, owner.weight.device
            vector = vector.to(device)
            if owner.bias is not None:
                dtype = owner.bias.dtype
                vector = vector + owner.bias.detach().to(vector.dtype)
            owner.bias = torch.nn.Parameter(vector.to(dtype), requires_grad=False)
            check_bias(module, model.hf.dtype)
    except BaseException as error:
        handle.undo()
        if not isinstance(error, FoldError):
            raise
        raise FoldError(
            f"{model.name}: {error}. The shift cannot be folded exactly; use steer(..., how='hook')"
        ) from error
    return handle


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
    pairs = _paired(direction, alpha, allow_negative)
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
            for module, vector in _shifts(model, one).items():
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


def _paired(
    direction: Direction | Sequence[Direction], alpha: Alpha | Sequence[Alpha], negative: bool
) -> list[tuple[Direction, float | torch.Tensor]]:
    """Each direction with its checked alpha: a number, or float32 `[prompt]`."""
    if isinstance(direction, HeadDirections | ResidualDirection):
        directions, alphas = [direction], [alpha]
    else:
        directions = list(direction)
        alphas = list(alpha) if isinstance(alpha, Sequence) else [alpha] * len(directions)
        if not directions or len(alphas) != len(directions):
            raise ValueError(f"{len(alphas)} alphas for {len(directions)} directions")
    out: list[tuple[Direction, float | torch.Tensor]] = []
    for one, strength in zip(directions, alphas, strict=True):
        rows = torch.as_tensor(strength, dtype=torch.float32)
        if rows.dim() > 1 or rows.numel() == 0:
            raise ValueError(
                f"alpha has shape {tuple(rows.shape)}; give a number or one per prompt"
            )
        for value in rows.flatten().tolist():
            check_alpha(value, negative)
        out.append((one, rows if rows.dim() else float(strength)))
    return out


def check_alpha(alpha: float, allow_negative: bool = False) -> None:
    """Raise `ValueError` for NaN, infinite, or (without the research switch) negative alpha."""
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}; it must be a finite number")
    if alpha < 0 and not allow_negative:
        raise ValueError(
            f"alpha {alpha:g} is negative: that removes the behaviour instead of restoring it. "
            "Pass allow_negative=True if this is the experiment; it can never be exported."
        )


@torch.no_grad()
def _shifts(model: Model, direction: Direction) -> dict[torch.nn.Module, torch.Tensor]:
    """What alpha 1 adds to the output of which module: float32 or wider `[d_model]`."""
    direction.check(model)
    if isinstance(direction, ResidualDirection):
        vectors = direction.scale[:, None] * direction.unit
        return {model.resid(i): v for i, v in zip(direction.layer.tolist(), vectors, strict=True)}
    inputs: dict[int, torch.Tensor] = {}
    for (layer, head), unit, scale in zip(
        direction.cells, direction.unit, direction.scale, strict=True
    ):
        shape = (model.n_heads, model.d_head)
        delta = inputs.setdefault(layer, torch.zeros(shape, dtype=torch.float64))
        delta[head] = scale.double() * unit.double()
    return {
        model.o_proj(layer): image(model.o_proj(layer), delta.flatten(), model.hf.dtype)
        for layer, delta in inputs.items()
    }


def _spelled(alpha: float | torch.Tensor) -> str:
    # Nine digits tell any two float32 apart; the fingerprint must.
    return ",".join(f"{a:.9g}" for a in torch.as_tensor(alpha).flatten().tolist())
