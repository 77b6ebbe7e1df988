"""The shift that a direction and an alpha add to which module's output."""

import math
from collections.abc import Sequence

import torch
from transformers.models.falcon.modeling_falcon import FalconLinear
from transformers.pytorch_utils import Conv1D

from workbench.errors import FoldError
from workbench.models.model import Model
from workbench.steering.directions import HeadDirections, ResidualDirection

_PLAIN = (torch.nn.Linear, Conv1D, FalconLinear)


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
    zero, of_delta, of_probe, of_both = module_output(module, rows, dtype)
    error = (of_both - of_probe - (of_delta - zero)).norm()
    # Half-precision rounding and int8 activations stay well below this; gates and norms do not.
    if not error <= 0.05 * (of_delta - zero).norm():
        raise FoldError(
            f"{_described(module)} is not linear in its input, so that no constant shift of its "
            "output stands for a shift of its input"
        )
    return of_delta - zero


def module_output(module: torch.nn.Module, rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The module's own output on `[row, in]`, as float32."""
    device = next(module.parameters()).device
    device = torch.device("cpu") if device.type == "meta" else device
    return module(rows.to(device, dtype)[None])[0].float()


def is_plain(module: torch.nn.Module) -> bool:
    """Whether the module is exactly x W + b with its weight in memory."""
    return type(module) in _PLAIN and not module.weight.is_meta


def bias_owner(module: torch.nn.Module) -> torch.nn.Module:
    """The layer whose `bias` is added to the module's output: itself, or the one an adapter wraps.

    Raises `FoldError`, with the reason, for a module that adds no bias last.
    """
    inner = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    if not isinstance(inner, torch.nn.Linear | torch.nn.LayerNorm | Conv1D):
        raise FoldError(f"{_described(module)} has no bias that is added last")
    if inner.weight.is_meta:
        raise FoldError(f"{_described(module)}: its weights are offloaded; load them first")
    return inner


def check_bias(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Raise `FoldError` where a wrapped or quantised module does not add its owner's bias."""
    owner = bias_owner(module)
    if is_plain(module) or isinstance(module, torch.nn.LayerNorm):
        return
    got = module_output(module, torch.zeros(1, module.in_features), dtype)[0]
    bias = owner.bias.float()
    if not (got - bias.to(got.device)).abs().max() <= 0.02 * bias.abs().max():
        raise FoldError(f"{_described(module)} ignores a bias put beside its weights")


def _described(module: torch.nn.Module) -> str:
    return f"a {type(module).__module__.split('.')[0]} {type(module).__name__}"


Direction = HeadDirections | ResidualDirection
Alpha = float | Sequence[float] | torch.Tensor


def paired(
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
def module_shifts(model: Model, direction: Direction) -> dict[torch.nn.Module, torch.Tensor]:
    """What alpha 1 adds to the output of which module: float32 or wider `[d_model]`."""
    direction.check(model)
    if isinstance(direction, ResidualDirection):
        vectors = direction.scale[:, None] * direction.unit
        return {model.resid(i): v for i, v in zip(direction.layer.tolist(), vectors, strict=True)}
    inputs: dict[int, torch.Tensor] = {}
    for (layer, head), unit, scale in zip(
        direction.heads, direction.unit, direction.scale, strict=True
    ):
        shape = (model.n_heads, model.d_head)
        delta = inputs.setdefault(layer, torch.zeros(shape, dtype=torch.float64))
        delta[head] = scale.double() * unit.double()
    return {
        model.o_proj(layer): output_shift(model.o_proj(layer), delta.flatten(), model.hf.dtype)
        for layer, delta in inputs.items()
    }
