"""Unchanged: whether the layers that a shift was computed from are still as they were."""

from collections.abc import Sequence
from typing import Any

import torch

from workbench.errors import FoldError, SteeringError
from workbench.models.model import Model
from workbench.steering.directions import HeadDirections
from workbench.steering.shifts import Direction, head_inputs, output_shift


class Unchanged:
    """What each layer made of its heads' shift when steering began, to be compared later.

    A residual shift is computed from no layer.
    """

    def __init__(self, model: Model, directions: Sequence[Direction]) -> None:
        self.model = model
        self._began = [
            (module, delta, output_shift(module, delta, model.hf.dtype))
            for direction in directions
            if isinstance(direction, HeadDirections)
            for module, delta in head_inputs(model, direction).items()
        ]
        self._parts = [part for module, _, _ in self._began for part in module.modules()]
        self._seen = self._state()

    def check_state(self) -> None:
        """`check`, where parameters or an adapter's settings are not those of the last time.

        A change through `.data` shows in neither: it is left to `check`.
        """
        state = self._state()
        if state != self._seen:
            self.check()
            self._seen = state

    def check(self) -> None:
        """Raise `SteeringError` where a layer makes something else of the shift than it did.

        What rounding can do in the model's dtype is let pass, as when an adapter is merged.
        """
        dtype = self.model.hf.dtype
        for module, delta, began in self._began:
            try:
                shift = output_shift(module, delta, dtype).to(began)
            except FoldError:
                shift = torch.full_like(began, torch.nan)
            if not (shift - began).norm() <= max(1e-5, 2 * torch.finfo(dtype).eps) * began.norm():
                name = next(n for n, m in self.model.hf.named_modules() if m is module)
                raise SteeringError(
                    f"{self.model.name}: {name} was changed while it was steered (its weights, or "
                    "an adapter switched on or off), so that the shift is not that of the model "
                    "that ran; change the model first, then steer it"
                )

    def _state(self) -> list[Any]:
        """What changes with most changes of the layers, and takes no pass over their weights."""
        state: list[Any] = []
        for part in self._parts:
            for name, parameter in part._parameters.items():
                # A fold may add to the bias, which the shift is not computed from.
                if parameter is not None and name != "bias":
                    state += id(parameter), _version(parameter)
            if hasattr(part, "active_adapters"):
                state += part.disable_adapters, list(part.active_adapters)
                state.append(dict(getattr(part, "scaling", ())))
        return state


def _version(tensor: torch.Tensor) -> int:
    """A number that changes with every change in place, where it is counted."""
    return 0 if tensor.is_inference() else tensor._version
