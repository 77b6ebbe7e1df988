"""fit_probes(): every head's (or layer's) L2-regularised logistic probe in one batched solve."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workbench.activations.capture import Activations
from workbench.activations.logistic import logistic
from workbench.arguments import binary, finite, numbered, seed_number, whole

# Twice this fits the cache of a CPU core group; a GPU wants long batches.
_CPU_BLOCK = 8 * 2**20
_GPU_BLOCK = 256 * 2**20


@dataclass(frozen=True)
class Probes:
    """One linear probe per layer (× head); shapes `[L, H]`, or `[L]` for sites without heads.

    >>> probes = wb.fit_probes(acts, labels)
    >>> probes.top(12)  # the best heads, (layer, head)

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
        k = whole("k", k)
        if self.bias.dim() != 2:
            raise ValueError("these probes have no heads; rank layers by validation_accuracy")
        n_layers, n_heads = self.bias.shape
        if not 1 <= k <= n_layers * n_heads:
            raise ValueError(f"K={k} heads asked of {n_layers} layers × {n_heads} heads")
        heads = [(i, h) for i in range(n_layers) for h in range(n_heads)]
        if by == "validation":
            score = self.validation_accuracy
            heads.sort(key=lambda head: (-score[head].item(), -self.gap[head].item(), head))
        elif by == "paper":
            score = (self.validation_accuracy + self.train_accuracy) / 2
            heads.sort(key=lambda head: (score[head].item(), head), reverse=True)
        else:
            raise ValueError(f"unknown head selection {by!r}; use 'validation' or 'paper'")
        return [(self.layers[i], h) for i, h in heads[:k]]


def fit_probes(
    acts: Activations,
    labels: Sequence[int] | torch.Tensor,
    *,
    groups: Sequence[int] | torch.Tensor | None = None,
    train_share: float = 0.6,
    C: float = 1.0,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Probes:
    """Fit all probes at once on a random split of the captured rows.

    >>> probes = wb.fit_probes(acts, labels, groups=pair)
    >>> probes.validation_accuracy.max()

    `labels`: 0/1 per prompt. `groups`: one id per prompt; whole groups fall on one side of the
    split (say, the question that two replies answer). Without groups each *prompt* is one; all
    positions of a prompt always stay together. The objective is scikit-learn's: ½‖w‖² + C·Σ log
    loss, intercept free, no scaling (`logistic`). Solved on `device` in blocks of a few heads, of
    which only the rows are read, so that activations on disk need not fit in memory.

    Raises `ValueError` where labels or groups do not match the prompts, a side of the split lacks a
    class, `train_share` is not between 0 and 1, or `C` not above 0.
    """
    C, seed = finite("C", C, above=0), seed_number(seed)
    train_share = finite("train_share", train_share, above=0, below=1)
    labels = torch.tensor(binary("labels", labels, len(acts)))
    asked = range(len(acts)) if groups is None else groups
    group = torch.tensor(numbered("groups", asked, len(acts)))
    ids = group.unique()
    order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(seed))
    in_train = torch.isin(group, ids[order[: round(train_share * len(ids))]])
    prompt = acts.mask.nonzero()[:, 0]
    train = in_train[prompt]
    for name, side in (("training", train), ("validation", ~train)):
        if len(set(labels[prompt[side]].tolist())) < 2:
            raise ValueError(f"the {name} side of the split holds one class only; add data")
    # Training rows first, so that each side is a slice.
    order = torch.cat([train.nonzero()[:, 0], (~train).nonzero()[:, 0]])
    y = labels[prompt[order]].to(device)
    n_heads, width = (
        acts.shards[0].shape[-2:] if acts.site == "heads" else (1, acts.shards[0].shape[-1])
    )
    limit = _CPU_BLOCK if torch.device(device).type == "cpu" else _GPU_BLOCK
    block = max(1, limit // (4 * len(prompt) * width))
    layers = []
    for layer in acts.layers:
        parts = []
        for start in range(0, n_heads, block):
            heads = slice(start, start + block) if acts.site == "heads" else None
            x = acts.rows(layer, heads)[0][order].to(device)
            x = x.transpose(0, 1).contiguous() if heads else x[None]
            x = x if x.dtype == torch.float64 else x.float()
            parts.append([part.cpu() for part in _fit(x, y, int(train.sum()), C)])
        layers.append([torch.cat(p) for p in zip(*parts, strict=True)])
    fields = [torch.stack(f) for f in zip(*layers, strict=True)]
    if acts.site != "heads":
        fields = [f[:, 0] for f in fields]
    return Probes(*fields, layers=acts.layers)


def _fit(x: torch.Tensor, y: torch.Tensor, n: int, C: float) -> tuple[torch.Tensor, ...]:
    """The fields of `Probes` for x `[B, row, d]`, whose first `n` rows are for training."""
    weight, bias = logistic(x[:, :n], y[:n], C)
    logits = (weight.to(x.dtype)[:, None] @ x.transpose(1, 2))[:, 0] + bias.to(x.dtype)[:, None]
    right = ((logits > 0) == y.bool()).double()
    return weight, bias, right[:, :n].mean(1), right[:, n:].mean(1), _standardised_gap(x, y.bool())


def _standardised_gap(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Distance of the class means over the pooled standard deviation along it, `[B]`."""
    weight = torch.stack([y / y.sum(), ~y / (~y).sum()]).to(x)
    mean_of_1, mean_of_0 = (weight @ x).double().unbind(1)
    difference = mean_of_1 - mean_of_0
    norm = difference.norm(dim=1)
    unit = difference / norm.clamp_min(1e-300)[:, None]
    along = (unit.to(x)[:, None] @ x.transpose(1, 2))[:, 0].double()
    spread = (along[:, y].var(1) + along[:, ~y].var(1)) / 2
    return norm / spread.sqrt().clamp_min(1e-12)
