"""Unit vectors: normalised once, and kept bit for bit from then on."""

import torch


def normalised(unit: torch.Tensor) -> torch.Tensor:
    """float32 `[K, d]`: rows whose norm differs from 1 by more than rounding, divided by it.

    The others stay: dividing again would move last bits, and with them the digest.
    """
    norms = unit.double().norm(dim=1)
    inexact = (norms - 1).abs() > _rounding(unit)
    if not inexact.any():
        return unit
    return torch.where(inexact[:, None], (unit.double() / norms[:, None]).float(), unit)


def _rounding(unit: torch.Tensor) -> torch.Tensor:
    """How far from 1 rounding may have left each norm: float64 `[K]` for unit float32 `[K, d]`.

    It goes by the narrowest dtype that holds all numbers of a row: released locks are float16.
    """
    tolerance = torch.full((len(unit),), 4 * torch.finfo(torch.float32).eps, dtype=torch.float64)
    for dtype in (torch.float16, torch.bfloat16):
        held = (unit.to(dtype).float() == unit).all(1)
        tolerance[held] = tolerance[held].clamp(min=torch.finfo(dtype).eps)
    return tolerance
