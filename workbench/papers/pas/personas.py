"""Everybody's directions from one extraction: linear algebra over subjects, heads by probes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch

from workbench.activations.capture import Activations
from workbench.activations.probes import Probes, fit_probes
from workbench.arguments import one_of
from workbench.errors import DatasetError
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.paper import DIRECTIONS
from workbench.steering.directions import HeadDirections

log = logging.getLogger(__name__)

_BLOCK = 2**20
"""Projections held at once: few enough for a core's cache."""


@dataclass(frozen=True)
class Personas:
    """Directions of S subjects in every head: `unit [S, L, H, d_head]`, `scale [S, L, H]`.

    `raw` is `unit` before it is normalised: μ1 − μ0, less s̄ δ̄ where `kind` is centered.
    `share` `[S, L, H]`: how much of the class-mean difference is common to all ("print A"):
    |s̄| · ‖δ̄‖ / ‖μ1 − μ0‖, before any centering. All float32. `lean` float64 `[S]`: s̄, the mean
    weight of the answers used, their sign (v − 3 where `kind` is weighted).
    """

    raw: torch.Tensor
    unit: torch.Tensor
    scale: torch.Tensor
    share: torch.Tensor
    lean: torch.Tensor
    kind: str

    def direction(
        self,
        subject: int,
        heads: Sequence[tuple[int, int]],
        contrast: AnswerContrast,
        **provenance: str,
    ) -> HeadDirections:
        """One subject's K heads, ready to steer with, or to save."""
        layer, head = torch.tensor(heads).unbind(1)
        place = torch.tensor([contrast.acts.layers.index(i) for i in layer.tolist()])
        return HeadDirections(
            layer=layer,
            head=head,
            unit=self.unit[subject, place, head],
            scale=self.scale[subject, place, head],
            provenance={
                "method": f"pas {self.kind}",
                "model": contrast.acts.model,
                "sizes": contrast.acts.sizes,
                "share_common": float(self.share[subject, place, head].mean()),
                **provenance,
            },
        )


def weights(values: np.ndarray, kind: str) -> torch.Tensor:
    """float32 `[S, item]`: the weight of each answer (int, 0..5); 0 where missing or neutral.

    `"weighted"` keeps the intensity, v − 3; the others its sign.
    """
    v = torch.as_tensor(np.asarray(values), dtype=torch.float32)
    centred = torch.where(v == 0, 0.0, v - 3)
    return centred if kind == "weighted" else centred.sign()


def personas(contrast: AnswerContrast, values: np.ndarray, kind: str = "paper") -> Personas:
    """Directions and scales of all subjects from their answers to the contrast's items.

    values: int `[S, item]`, raw agreement 1..5, 0 missing. μ1 − μ0 = Σ s_i δ_i / n, so all
    directions are one product of weights and deltas; σ is the standard deviation of the used rows
    along the direction, again one product per head. Heads whose deltas vanish get a zero unit.
    Subjects whose usable answers are all on one side are logged: their direction is the letter.

    Raises `ValueError` for an unknown kind; `DatasetError` for a subject without a usable answer,
    or, where `kind="centered"`, one who leans to one side throughout (nothing is left).
    """
    one_of("direction", kind, DIRECTIONS)
    w = weights(values, kind)
    used = (w != 0).float()
    n = used.sum(1)
    if (n == 0).any():
        raise DatasetError(f"subject {int((n == 0).nonzero()[0])} has no usable answer")
    one_sided = (w.sign().sum(1).abs() == n).nonzero()[:, 0].tolist()
    if one_sided and kind == "centered":
        raise DatasetError(
            f"all usable answers of subject {one_sided[0]} are on one side: a centered direction "
            "would hold nothing but which items were answered; use direction='paper'"
        )
    if one_sided:
        log.warning(
            "all usable answers of %d of %d subjects are on one side; the direction is a pure "
            "contrast of letters", len(one_sided), len(w),
        )  # fmt: skip
    delta = contrast.delta
    items, n_layers, n_heads, width = delta.shape
    whole = (w / n[:, None]) @ delta.reshape(items, -1)
    whole = whole.view(len(w), n_layers, n_heads, width)
    mean, lean = delta.mean(0), w.sum(1) / n
    raw = whole - lean[:, None, None, None] * mean if kind == "centered" else whole
    share = lean.abs()[:, None, None] * mean.norm(dim=-1) / whole.norm(dim=-1).clamp_min(1e-12)
    unit = raw / raw.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    rows, units = (
        x.flatten(1, 2).transpose(0, 1) for x in (contrast.acts.values[:, 0].float(), unit)
    )
    mask = (used / (2 * n[:, None])).repeat_interleave(2, 1).T.contiguous()
    scale = torch.empty(n_layers * n_heads, len(w))
    step = max(1, _BLOCK // mask.numel())
    for start in range(0, len(scale), step):
        heads = slice(start, start + step)
        # Around their mean, so that the difference of squares keeps its digits.
        centred = rows[heads] - rows[heads].mean(1, keepdim=True)
        along = centred @ units[heads].mT  # [head, row, S]
        weighed = along * mask
        variance = along.mul_(weighed).sum(1) - weighed.sum(1).square()
        scale[heads] = variance.clamp_min(0).sqrt()
    scale = scale.T.reshape(len(w), n_layers, n_heads)
    return Personas(raw, unit, scale, share, lean.double(), kind)


def probes(contrast: AnswerContrast, values: np.ndarray, seed: int = 0) -> Probes:
    """One subject's probes of agreement for every head; rows of an item stay together (§2).

    values: int `[item]`. Raises as `fit_probes` where a side of the split lacks a class.
    """
    sign = weights(values[None], "paper")[0]
    used = sign.nonzero()[:, 0]
    rows = torch.stack([2 * used, 2 * used + 1], 1).flatten()
    labels = torch.stack([sign[used] > 0, sign[used] < 0], 1).flatten().long()
    acts = contrast.acts
    labelled: Activations = replace(acts, shards=(acts.values[rows],), lengths=acts.lengths[rows])
    return fit_probes(labelled, labels, groups=used.repeat_interleave(2), seed=seed)


def stability(by_split: Sequence[Probes], k: int, by: str) -> float:
    """Mean Jaccard overlap of the top K heads of probes on several splits: 1 for one same choice.

    Raises `ValueError` for fewer than two splits, between which there is no overlap.
    """
    if len(by_split) < 2:
        raise ValueError(f"stability compares splits; {len(by_split)} given, at least 2 needed")
    tops = [set(p.top(k, by)) for p in by_split]
    pairs = list(combinations(tops, 2))
    return sum(len(a & b) / len(a | b) for a, b in pairs) / len(pairs)
