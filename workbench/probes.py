"""fit_probes(): every head's (or layer's) L2-regularised logistic probe in one batched solve."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workbench.activations import Activations

_BYTES_PER_BLOCK = 256 * 2**20


@dataclass(frozen=True)
class Probes:
    """One linear probe per layer (× head); shapes `[L, H]`, or `[L]` for sites without heads.

    `weight` float64 `[..., d]` and `bias` float64 `[...]`: logit of label 1. `train_accuracy` and
    `validation_accuracy`: share of rows right. `gap`: distance of the class means over the pooled
    standard deviation along it. `layers`: the layer indices along the first axis.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    train_accuracy: torch.Tensor
    validation_accuracy: torch.Tensor
    gap: torch.Tensor
    layers: tuple[int, ...]

    def top(self, k: int, by: str = "validation") -> list[tuple[int, int]]:
        """The `k` best heads as (layer, head), best first.

        `by="validation"`: validation accuracy, then standardised gap, then (layer, head).
        `by="paper"`: mean of training and validation accuracy (SafetyLock, step 3), ties to the
        later head as the released selection does.

        Raises `ValueError` where there are fewer than `k` heads, or for another `by`.
        """
        if self.bias.dim() != 2:
            raise ValueError("these probes have no heads; rank layers by validation_accuracy")
        n_layers, n_heads = self.bias.shape
        if not 1 <= k <= n_layers * n_heads:
            raise ValueError(f"K={k} heads asked of {n_layers} layers × {n_heads} heads")
        cells = [(i, h) for i in range(n_layers) for h in range(n_heads)]
        if by == "validation":
            score = self.validation_accuracy
            cells.sort(key=lambda c: (-score[c].item(), -self.gap[c].item(), c))
        elif by == "paper":
            score = (self.validation_accuracy + self.train_accuracy) / 2
            cells.sort(key=lambda c: (score[c].item(), c), reverse=True)
        else:
            raise ValueError(f"unknown head selection {by!r}; use 'validation' or 'paper'")
        return [(self.layers[i], h) for i, h in cells[:k]]


def fit_probes(
    acts: Activations,
    labels: Sequence[int] | torch.Tensor,
    *,
    groups: Sequence[int] | None = None,
    train_share: float = 0.6,
    C: float = 1.0,
    seed: int = 0,
) -> Probes:
    """Fit all probes at once on a random split of the captured rows.

    `labels`: 0/1 per prompt. `groups`: one id per prompt; whole groups fall on one side of the
    split (say, the question that two replies answer). Without groups each *prompt* is one; all
    positions of a prompt always stay together. The objective is scikit-learn's: ½‖w‖² + C·Σ log
    loss, intercept free, no scaling; solved by Newton's method in float64.

    Raises `ValueError` where labels do not match the prompts, or a side of the split lacks a class.
    """
    labels = torch.as_tensor(labels)
    n_prompts = len(acts.values)
    if len(labels) != n_prompts or not set(labels.tolist()) <= {0, 1}:
        raise ValueError(f"labels must be one 0 or 1 for each of {n_prompts} prompts")
    group = torch.arange(n_prompts) if groups is None else torch.as_tensor(groups)
    if len(group) != n_prompts:
        raise ValueError(f"{len(group)} groups for {n_prompts} prompts")
    ids = group.unique()
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    in_train = torch.isin(group, ids[order[: round(train_share * len(ids))]])
    rows, prompt = acts.rows()
    y = labels[prompt].double()
    train = in_train[prompt]
    for name, side in (("training", train), ("validation", ~train)):
        if len(set(y[side].tolist())) < 2:
            raise ValueError(f"the {name} side of the split holds one class only; add data")
    heads = rows.shape[1:-1]
    x = rows.flatten(1, -2).transpose(0, 1)  # [probe, row, d]
    parts = []
    block = max(1, _BYTES_PER_BLOCK // (8 * x.shape[1] * (x.shape[2] + 1)))
    for chunk in x.split(block):
        chunk = chunk.double()
        weight, bias = logistic(chunk[:, train], y[train], C)
        right = ((chunk @ weight[..., None])[..., 0] + bias[:, None] > 0) == y.bool()
        accuracy = [right[:, side].double().mean(1) for side in (train, ~train)]
        parts.append((weight, bias, *accuracy, _standardised_gap(chunk, y.bool())))
    weight, bias, train_acc, val_acc, gap = (torch.cat(p) for p in zip(*parts, strict=True))
    return Probes(
        weight=weight.reshape(*heads, -1),
        bias=bias.reshape(heads),
        train_accuracy=train_acc.reshape(heads),
        validation_accuracy=val_acc.reshape(heads),
        gap=gap.reshape(heads),
        layers=acts.layers,
    )


def logistic(
    x: torch.Tensor, y: torch.Tensor, C: float, tol: float = 1e-8, max_iter: int = 100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batched logistic regression: x float64 `[B, n, d]`, y `[n]` → weight `[B, d]`, bias `[B]`.

    Damped Newton: the step is halved, per problem, until the objective does not rise. The L2 term
    keeps every problem strictly convex in w, so separable data converge too.
    """
    batch, _, d = x.shape
    x1 = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    ridge = torch.ones(d + 1, dtype=x.dtype)
    ridge[-1] = 0
    w = torch.zeros(batch, d + 1, dtype=x.dtype)
    sign = 2 * y - 1

    def objective(w: torch.Tensor) -> torch.Tensor:
        margin = (x1 @ w[..., None])[..., 0] * sign
        return 0.5 * (w * w * ridge).sum(-1) - C * torch.nn.functional.logsigmoid(margin).sum(-1)

    value = objective(w)
    for _ in range(max_iter):
        p = torch.sigmoid((x1 @ w[..., None])[..., 0])
        gradient = ridge * w + C * (x1.transpose(1, 2) @ (p - y)[..., None])[..., 0]
        if gradient.abs().max() < tol * C * len(y):
            break
        curvature = C * p * (1 - p)
        hessian = x1.transpose(1, 2) @ (x1 * curvature[..., None]) + torch.diag(ridge)
        # The free intercept has no ridge: where every p is 0 or 1 its row would be singular.
        hessian[:, -1, -1] += 1e-12
        step = torch.linalg.solve(hessian, gradient)
        size = torch.ones(batch, 1, dtype=x.dtype)
        for _ in range(30):
            new = w - size * step
            new_value = objective(new)
            worse = new_value > value + 1e-12 * value.abs()
            if not worse.any():
                break
            size[worse] /= 2
        w, value = new, new_value
    return w[:, :-1], w[:, -1]


def _standardised_gap(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    one, zero = x[:, y], x[:, ~y]
    difference = one.mean(1) - zero.mean(1)
    norm = difference.norm(dim=1)
    unit = difference / norm.clamp_min(1e-300)[:, None]
    spread = ((one @ unit[..., None]).var((1, 2)) + (zero @ unit[..., None]).var((1, 2))) / 2
    return norm / spread.sqrt().clamp_min(1e-12)
