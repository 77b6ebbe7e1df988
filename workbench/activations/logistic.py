"""Batched L2-regularised logistic regression: conjugate gradients preconditioned by a Hessian."""

import logging
from collections.abc import Callable

import torch

log = logging.getLogger(__name__)

_WELL_SCALED = 1e6
_STEPS_PER_HESSIAN = 5


def logistic(
    x: torch.Tensor, y: torch.Tensor, C: float, max_iter: int = 100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Minimise ½‖w‖² + C·Σ log(1 + exp(−y(w·x + b))) for B problems at once, intercept free.

    x float32 or float64 `[B, n, d]`, y 0/1 `[n]` → weight float64 `[B, d]`, bias float64 `[B]`, on
    the device of x. Stops where every gradient's norm is below 5e-4 of the weights' norm, which
    bounds their error by about as much (their Hessian is at least I), and below 1e-6 times one
    plus its first norm (in float64 a twentieth of both); or at what rounding lets it reach.

    A factorised Hessian costs as much as ten gradients, so each one serves several steps:
    nonlinear conjugate gradients in its metric, with an exact line search on the margins, which
    costs no pass over x. Between two Hessians of the same problem this is Newton's method with
    the early, imprecise Hessians left out. The L2 term keeps every problem strictly convex, so
    separable data converge too. Float32 data are solved in float64 where they are so large that
    float32 could not tell the L2 term from rounding, or where it did not converge.
    """
    # Any shift of the features is exact with a free intercept; centring makes them well behaved.
    features, mean = x, x.mean(1, keepdim=True)
    x = x - mean
    spread = torch.linalg.vector_norm(x, dim=(1, 2))
    if spread.amax() ** 2 * C > _WELL_SCALED * x.shape[2]:
        x = x.double()
    basis = None
    if x.shape[2] > x.shape[1]:
        # The optimum lies in the span of the rows: solve there, with as many features as rows.
        basis, r = torch.linalg.qr(x.transpose(1, 2))
        x = r.transpose(1, 2).contiguous()
    sign = 2 * y.to(x) - 1
    # Row vector times matrix is several times faster than matrix times column, both ways.
    xt = x.transpose(1, 2).contiguous()
    w = x.new_zeros(len(x), x.shape[2])
    b = x.new_zeros(len(x), 1)
    m = x.new_zeros(x.shape[:2])  # margins: sign times logit

    def gradient(w: torch.Tensor, m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pull = -C * sign * torch.sigmoid(-m)
        return w + (pull[:, None] @ x)[:, 0], pull.sum(1, keepdim=True)

    def loss(w: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
        losses = torch.nn.functional.softplus(-m).sum(1, dtype=torch.float64)
        return 0.5 * w.square().sum(1, dtype=torch.float64) + C * losses

    gw, gb = before = gradient(w, m)
    value = loss(w, m)
    size = gz_before = _norm(gw, gb)
    rounding = 2 * torch.finfo(x.dtype).eps * C * (spread**2 + x.shape[1]).sqrt().to(x)
    tight = 1 if x.dtype == torch.float32 else 0.05
    small = tight * 1e-6 * (1 + size)
    for step in range(max_iter):
        enough = torch.minimum(small, tight * 5e-4 * w.norm(dim=1)).maximum(rounding)
        if (size <= enough).all():
            break
        fresh = step % _STEPS_PER_HESSIAN == 0
        if fresh:
            solve = _newton(x, xt, m, C)
        zw, zb = solve(gw, gb)
        gz = _dot(gw, gb, zw, zb)
        if fresh:
            dw, db = -zw, -zb
        else:
            beta = (gz - _dot(*before, zw, zb)) / gz_before.clamp_min(1e-30)
            beta = beta.clamp_min(0)[:, None]
            dw, db = beta * dw - zw, beta * db - zb
        before, gz_before = (gw, gb), gz
        along = ((dw[:, None] @ xt)[:, 0] + db) * sign
        t = _line_search(w, dw, m, along, C)
        for _ in range(30):
            reached = loss(w + t[:, None] * dw, m + t[:, None] * along)
            # Rounding hides progress near the optimum; it must not look like a bad step.
            worse = reached > value * (1 + 1e-6)
            if not worse.any():
                break
            t[worse] /= 2
        w, b, m = w + t[:, None] * dw, b + t[:, None] * db, m + t[:, None] * along
        value = reached
        gw, gb = gradient(w, m)
        size = _norm(gw, gb)
    else:
        if x.dtype == torch.float32:
            return logistic(features.double(), y, C, 3 * max_iter)
        log.warning("%d of %d probes did not converge", int((size > enough).sum()), len(x))
    weight = (w if basis is None else (basis @ w[..., None])[..., 0]).double()
    return weight, b[:, 0].double() - (weight * mean[:, 0]).sum(1)


def _newton(
    x: torch.Tensor, xt: torch.Tensor, m: torch.Tensor, C: float
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """The function (gw, gb) → H⁻¹ (gw, gb) for the Hessian H at margins m."""
    p = torch.sigmoid(m)
    s = C * p * (1 - p)
    total = s.sum(1, keepdim=True).clamp_min(1e-12)
    cross = (s[:, None] @ x)[:, 0]
    ridge = torch.eye(x.shape[2]).to(x).expand(len(x), -1, -1)
    hessian = torch.baddbmm(ridge, xt * s[:, None], x)
    # The intercept is eliminated: its Schur complement centres the features by the weights s.
    hessian -= (cross / total)[:, :, None] * cross[:, None]
    # Of torch's batched factorisations on a CPU, LU is the fastest, also for symmetric matrices.
    lu, pivots = torch.linalg.lu_factor(hessian)

    def solve(gw: torch.Tensor, gb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        zw = torch.linalg.lu_solve(lu, pivots, (gw - gb / total * cross)[..., None])[..., 0]
        return zw, (gb - (cross * zw).sum(1, keepdim=True)) / total

    return solve


def _line_search(
    w: torch.Tensor, dw: torch.Tensor, m: torch.Tensor, along: torch.Tensor, C: float
) -> torch.Tensor:
    """Step lengths `[B]` near the minimum along (dw, along): two Newton steps from 1."""
    slope, square = (w * dw).sum(1), (dw * dw).sum(1)
    t = torch.ones_like(slope)
    for _ in range(2):
        q = torch.sigmoid(-(m + t[:, None] * along))
        first = slope + t * square - C * (along * q).sum(1)
        second = square + C * (along * along * q * (1 - q)).sum(1)
        t = (t - first / second.clamp_min(1e-30)).clamp(t / 8, t * 8)
    return t


def _dot(aw: torch.Tensor, ab: torch.Tensor, bw: torch.Tensor, bb: torch.Tensor) -> torch.Tensor:
    return (aw * bw).sum(1) + (ab * bb)[:, 0]


def _norm(gw: torch.Tensor, gb: torch.Tensor) -> torch.Tensor:
    return _dot(gw, gb, gw, gb).sqrt()
