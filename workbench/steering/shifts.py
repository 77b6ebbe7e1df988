"""What a direction and its alpha add to which module's output."""

from collections.abc import Sequence

import torch
from transformers.models.falcon.modeling_falcon import FalconLinear
from transformers.pytorch_utils import Conv1D

from workbench.arguments import FLOAT32, finite, listed
from workbench.errors import DirectionError, FoldError
from workbench.models.anatomy_check import STEERED_RESID
from workbench.models.model import Model
from workbench.steering.directions import HeadDirections, ResidualDirection

Direction = HeadDirections | ResidualDirection
Alpha = float | Sequence[float] | torch.Tensor
"""A number, or one per prompt."""

_PLAIN = (torch.nn.Linear, Conv1D, FalconLinear)


def check_alpha(alpha: float, allow_negative: bool = False) -> None:
    """Raise `ValueError` for an alpha that float32 does not hold, or a negative one.

    `allow_negative` is the research switch.
    """
    if finite("alpha", alpha, -FLOAT32, FLOAT32) < 0 and not allow_negative:
        raise ValueError(
            f"alpha {alpha:g} is negative: that removes the behaviour instead of restoring it. "
            "Pass allow_negative=True if this is the experiment; it can never be exported."
        )


def paired(
    direction: Direction | Sequence[Direction],
    alpha: Alpha | Sequence[Alpha],
    allow_negative: bool,
) -> list[tuple[Direction, float | torch.Tensor]]:
    """Each direction with its alpha: a number, or float32 `[prompt]`.

    One direction takes the alpha as it is; of several, each takes its entry of a list, an array or
    a tensor, or all the same number.

    Raises `ValueError` for another count or shape, or as `check_alpha`.
    """
    if isinstance(direction, HeadDirections | ResidualDirection):
        directions, alphas = [direction], [alpha]
    else:
        directions = listed("direction", direction, empty=True)
        # An array or a tensor of one number has a length in name only.
        several = hasattr(alpha, "__len__") and getattr(alpha, "ndim", 1) > 0
        alphas = list(alpha) if several else [alpha] * len(directions)
        if not directions or len(alphas) != len(directions):
            raise ValueError(f"{len(alphas)} alphas for {len(directions)} directions")
    return [(d, _checked(a, allow_negative)) for d, a in zip(directions, alphas, strict=True)]


def _checked(alpha: Alpha, allow_negative: bool) -> float | torch.Tensor:
    if not hasattr(alpha, "__len__") or getattr(alpha, "shape", None) == ():
        check_alpha(alpha, allow_negative)
        return float(alpha)
    alphas = listed("alpha", alpha)
    for value in alphas:
        check_alpha(value, allow_negative)
    return torch.tensor(alphas, dtype=torch.float32)


def steered_modules(model: Model, direction: Direction) -> list[torch.nn.Module]:
    """The module whose output each layer of the direction shifts, in order, each layer once."""
    layers = dict.fromkeys(direction.layer.tolist())
    at = model.resid if isinstance(direction, ResidualDirection) else model.o_proj
    return [at(layer) for layer in layers]


@torch.no_grad()
def module_shifts(model: Model, direction: Direction) -> dict[torch.nn.Module, torch.Tensor]:
    """What alpha 1 adds to the output of each module: float32 or wider `[d_model]`.

    A head's shift of `o_proj`'s input is turned into one of its output; a residual shift is added
    to the module whose output enters the residual stream last.

    Raises `DirectionError` where the direction does not fit, or another layer uses the same module;
    `ModelError` where the model has no such site; `FoldError` as `output_shift`.
    """
    direction.check(model)
    residual = isinstance(direction, ResidualDirection)
    model.require_site(STEERED_RESID if residual else "heads")
    everywhere = [(model.resid if residual else model.o_proj)(i) for i in range(model.n_layers)]
    for module in steered_modules(model, direction):
        users = [i for i, other in enumerate(everywhere) if other is module]
        if len(users) > 1:
            raise DirectionError(f"{model.name}: layers {users} share one module; none is steered")
    if residual:
        vectors = direction.scale[:, None] * direction.unit
        return {model.resid(i): v for i, v in zip(direction.layers, vectors, strict=True)}
    return {
        module: output_shift(module, delta, model.hf.dtype)
        for module, delta in head_inputs(model, direction).items()
    }


def head_inputs(model: Model, direction: HeadDirections) -> dict[torch.nn.Module, torch.Tensor]:
    """What alpha 1 adds to the input of each output projection: float64 `[n_heads · d_head]`."""
    inputs = torch.zeros(model.n_layers, model.n_heads, model.d_head, dtype=torch.float64)
    shifts = direction.scale.double()[:, None] * direction.unit.double()
    inputs[direction.layer, direction.head] = shifts
    layers = dict.fromkeys(direction.layer.tolist())
    return {model.o_proj(layer): inputs[layer].flatten() for layer in layers}


def output_shift(module: torch.nn.Module, delta: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """W Δ without the bias: Δ float64 `[in]` → float32 or wider `[out]`.

    A plain layer is multiplied out in float32 or wider. Any other (adapters, quantised or offloaded
    weights) is asked itself, W Δ = f(Δ) − f(0), so that what counts is the weight really used.

    Raises `FoldError` where f is not linear in its input.
    """
    if is_plain(module):
        weight = module.weight.detach()
        wide = torch.promote_types(weight.dtype, torch.float32)
        columns = delta.nonzero()[:, 0].to(weight.device)
        # A linear layer stores [out, in], GPT-2's Conv1D [in, out].
        used = weight[columns].T if isinstance(module, Conv1D) else weight[:, columns]
        return used.to(wide) @ delta.to(weight.device)[columns].to(wide)
    probe = torch.randn(len(delta), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probe *= 4 * delta.norm() / probe.norm()
    rows = torch.stack([torch.zeros_like(delta), delta, probe, probe + delta])
    of_zero, of_delta, of_probe, of_both = module_output(module, rows, dtype)
    shift = of_delta - of_zero
    # Half-precision rounding and int8 activations stay well below this; gates and norms do not.
    if not (of_both - of_probe - shift).norm() <= 0.05 * shift.norm():
        raise FoldError(
            f"{described(module)} is not linear in its input, so that no constant shift of its "
            "output stands for a shift of its input"
        )
    return shift


def module_output(module: torch.nn.Module, rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The module's own output on `[row, in]`, as float32."""
    device = next(module.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device
    # Past its hooks: those that steer would ask which tokens these rows are.
    return module.forward(rows.to(device, dtype)[None])[0].float()


def is_plain(module: torch.nn.Module) -> bool:
    """Whether the module is exactly x W + b with its weight in memory."""
    return type(module) in _PLAIN and not module.weight.is_meta


def described(module: torch.nn.Module) -> str:
    """What an error calls a module: its library and class."""
    return f"a {type(module).__module__.split('.')[0]} {type(module).__name__}"
