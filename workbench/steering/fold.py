"""fold(): write a shift into biases for good, and take it out again."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from transformers.pytorch_utils import Conv1D

from workbench.errors import FoldError, SteeringError
from workbench.models.model import Model
from workbench.steering.shifts import (
    Direction,
    described,
    is_plain,
    module_output,
    module_shifts,
    paired,
)


@dataclass(eq=False)
class Fold:
    """A shift written into biases; `undo()` puts every one back, bit for bit."""

    label: str
    _model: Model
    _before: list[tuple[torch.nn.Module, torch.nn.Parameter | None]]
    _reasons: list[str]
    _written: dict[torch.nn.Module, torch.Tensor] = field(default_factory=dict)
    _expected: list[tuple[list[torch.nn.Module], torch.Tensor]] = field(default_factory=list)
    _among: list["Fold"] = field(default_factory=list)

    def check(self) -> None:
        """Raise `SteeringError` where a bias does not hold what was written to it last.

        A fold made later may have added to the same bias.
        """
        if self._among != self._model.folds:
            self._expect()
        for modules, expected in self._expected:
            biases = [module.bias for module in modules]
            if not any(bias is None for bias in biases):
                now = torch.cat(biases)
                if torch.equal(now, expected.to(now)):
                    continue
            raise SteeringError(
                f"{self._model.name}: a folded bias was replaced or changed, by loading or "
                "training weights or by functional_call; do that before the model is steered"
            )

    def _expect(self) -> None:
        # As one tensor for each device: on a GPU every comparison waits for it.
        self._among = list(self._model.folds)
        last = {module: bias for fold in self._among for module, bias in fold._written.items()}
        by_device: dict[torch.device, list[torch.nn.Module]] = {}
        for module in self._written:
            by_device.setdefault(last[module].device, []).append(module)
        self._expected = [
            (modules, torch.cat([last[module] for module in modules]))
            for modules in by_device.values()
        ]

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

    >>> folded = wb.fold(model, lock, 4.0)
    >>> folded.undo()

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
    pairs = paired(direction, alpha, allow_negative)
    if any(isinstance(a, torch.Tensor) for _, a in pairs):
        raise FoldError("a bias is the same for every row; per-row alphas need steer(how='hook')")
    shifts: dict[torch.nn.Module, torch.Tensor] = {}
    label = "+".join(f"{shifted_by.digest()}*{strength:.9g}" for shifted_by, strength in pairs)
    handle = Fold(label, model, [], [f"alpha {a:g} is negative" for _, a in pairs if a < 0])
    model.not_for_export.extend(handle._reasons)
    model.folds.append(handle)
    try:
        for shifted_by, strength in pairs:
            for module, vector in module_shifts(model, shifted_by).items():
                _bias_owner(module)
                shifts[module] = shifts.get(module, 0) + strength * vector
        for module, vector in shifts.items():
            owner = _bias_owner(module)
            handle._before.append((owner, owner.bias))
            _add_to_bias(owner, vector, model.hf.dtype)
            _require_bias_counts(module, model.hf.dtype)
            # Not before: quantised layers cast their bias when they first use it.
            handle._written[owner] = owner.bias.detach().clone()
    except BaseException as error:
        handle.undo()
        if not isinstance(error, FoldError):
            raise
        raise FoldError(
            f"{model.name}: {error}. The shift cannot be folded exactly; use steer(..., how='hook')"
        ) from error
    return handle


def _bias_owner(module: torch.nn.Module) -> torch.nn.Module:
    """The layer whose `bias` is added to the module's output: itself, or the one an adapter wraps.

    Raises `FoldError`, with the reason, for a module that adds no bias last.
    """
    inner = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    if not isinstance(inner, torch.nn.Linear | torch.nn.LayerNorm | Conv1D):
        raise FoldError(f"{described(module)} has no bias that is added last")
    if inner.weight.is_meta:
        raise FoldError(f"{described(module)}: its weights are offloaded; load them first")
    return inner


def _add_to_bias(owner: torch.nn.Module, vector: torch.Tensor, dtype: torch.dtype) -> None:
    """Replace the bias by a new parameter; one that was missing gets `dtype`."""
    vector = vector.to(owner.weight.device)
    if owner.bias is not None:
        dtype = owner.bias.dtype
        vector = vector + owner.bias.detach().to(vector.dtype)
    if not (rounded := vector.to(dtype)).isfinite().all():
        raise FoldError(f"alpha is so large that the bias is beyond {dtype}")
    owner.bias = torch.nn.Parameter(rounded, requires_grad=False)


def _require_bias_counts(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Raise `FoldError` where a wrapped or quantised module does not add its owner's bias."""
    if is_plain(module) or isinstance(module, torch.nn.LayerNorm):
        return
    output = module_output(module, torch.zeros(1, module.in_features), dtype)[0]
    bias = _bias_owner(module).bias.float()
    if not (output - bias.to(output.device)).abs().max() <= 0.02 * bias.abs().max():
        raise FoldError(f"{described(module)} ignores a bias put beside its weights")
