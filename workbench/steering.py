"""steer() and fold(): apply a direction for a while, or for good."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from workbench.directions import HeadDirections
from workbench.errors import FoldError
from workbench.models import Model

log = logging.getLogger(__name__)


def shift(model: Model, direction: HeadDirections, alpha: float) -> dict[int, torch.Tensor]:
    """Δ per layer, float64 `[H · d_head]` on the CPU: alpha · scale · unit in each head's slot."""
    direction.check(model)
    shifts: dict[int, torch.Tensor] = {}
    for (layer, head), unit, scale in zip(
        direction.cells, direction.unit, direction.scale, strict=True
    ):
        row = shifts.setdefault(
            layer, torch.zeros(model.n_heads, model.d_head, dtype=torch.float64)
        )
        row[head] = alpha * scale.double().cpu() * unit.double().cpu()
    return {layer: row.flatten() for layer, row in shifts.items()}


@dataclass
class Fold:
    """A shift written into biases; `undo()` puts every one back, bit for bit."""

    _before: list[tuple[torch.nn.Module, torch.nn.Parameter | None]]

    def undo(self) -> None:
        """Restore the biases as they were; a second call does nothing."""
        while self._before:
            module, bias = self._before.pop()
            module.bias = bias


@torch.no_grad()
def fold(
    model: Model, direction: HeadDirections, alpha: float, *, allow_negative: bool = False
) -> Fold:
    """Write the shift into `o_proj.bias`: b = b₀ + W_o Δ. Exact, no run-time cost.

    o_proj(z + Δ) = W z + (b₀ + W Δ) and Δ does not depend on the token, so bias and hook are the
    same function at every position (SafetyLock, "Exact folding"). A missing bias is created. WΔ is
    computed in float32 or wider and rounded once to the model's dtype. `Fold.undo()` restores.

    Raises `ValueError` for an alpha that is not finite, or negative without `allow_negative`
    (research only: it removes what the direction stands for); `DirectionError` where the direction
    does not fit; `FoldError` where `o_proj` is not a plain linear layer.
    """
    check_alpha(alpha, allow_negative)
    shifts = shift(model, direction, alpha)
    for layer in shifts:
        _require_plain(model, layer)
    handle = Fold([])
    for layer, delta in shifts.items():
        module = model.o_proj(layer)
        weight = module.weight.detach()
        wide = torch.promote_types(weight.dtype, torch.float32)
        columns = delta.nonzero()[:, 0].to(weight.device)
        delta = delta.to(weight.device)[columns].to(wide)
        # A linear layer stores [out, in], GPT-2's Conv1D [in, out].
        used = weight[:, columns] if hasattr(module, "in_features") else weight[columns].T
        bias = used.to(wide) @ delta
        handle._before.append((module, module.bias))
        if module.bias is not None:
            bias = bias + module.bias.to(wide)
        module.bias = torch.nn.Parameter(bias.to(weight.dtype), requires_grad=False)
    return handle


@contextmanager
def steer(
    model: Model,
    direction: HeadDirections,
    alpha: float,
    *,
    how: str = "fold",
    allow_negative: bool = False,
) -> Iterator[Model]:
    """Inside the context every forward and generate of the model is steered, at every position.

    `how="fold"` (default) writes the shift into biases; `how="hook"` adds it to `o_proj`'s input.
    Both are exact and undone on exit, also after an exception. Discard KV caches made outside.

    Raises as `fold`; `how="hook"` works for any projection module.
    """
    if how == "fold":
        handle = fold(model, direction, alpha, allow_negative=allow_negative)
        try:
            yield model
        finally:
            handle.undo()
        return
    if how != "hook":
        raise ValueError(f"how={how!r}; use 'fold' or 'hook'")
    check_alpha(alpha, allow_negative)
    hooks = []
    try:
        for layer, delta in shift(model, direction, alpha).items():
            hooks.append(model.o_proj(layer).register_forward_pre_hook(_adder(delta)))
        yield model
    finally:
        for hook in hooks:
            hook.remove()


def _adder(delta: torch.Tensor):  # noqa: ANN202 - a torch hook, its type is torch's own
    def add(_: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] + delta.to(args[0]), *args[1:])

    return add


def check_alpha(alpha: float, allow_negative: bool = False) -> None:
    """Raise `ValueError` for NaN, infinite, or (without the research switch) negative alpha."""
    if not math.isfinite(alpha):
        raise ValueError(f"alpha is {alpha}; it must be a finite number")
    if alpha < 0 and not allow_negative:
        raise ValueError(
            f"alpha {alpha} is negative: that removes the behaviour instead of restoring it. "
            "Pass allow_negative=True if this is the experiment; it can never be exported."
        )


def _require_plain(model: Model, layer: int) -> None:
    module = model.o_proj(layer)
    if type(module).__name__ not in ("Linear", "Conv1D"):
        raise FoldError(
            f"{model.name} layer {layer}: o_proj is a {type(module).__name__} (quantised or "
            "adapter-wrapped); its weight cannot be folded exactly. Use steer(..., how='hook')."
        )
    if module.weight.is_meta:
        raise FoldError(f"{model.name} layer {layer}: weights are offloaded; load them first")
