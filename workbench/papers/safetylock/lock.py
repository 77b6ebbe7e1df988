"""Steps 1–4: from preference pairs to a lock, and the control locks to compare it with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from workbench.activations.capture import Activations, capture
from workbench.activations.probes import Probes, fit_probes
from workbench.files import Row
from workbench.models.model import Model
from workbench.models.prompts import last, messages
from workbench.papers.safetylock.rows import require_pairs
from workbench.steering.directions import HeadDirections


@dataclass(frozen=True)
class Contrast:
    """Captured answers of both kinds: activations, labels (1 safe) and the pair each came from."""

    acts: Activations
    labels: torch.Tensor
    pairs: torch.Tensor


def contrast_activations(
    model: Model, pairs: Sequence[Row], r: int = 5, system: str = ""
) -> Contrast:
    """Head activations at the last `r` answer tokens of the safe and unsafe answers (steps 1–2).

    Raises `DatasetError` for fewer than 10 pairs.
    """
    require_pairs(pairs)
    return Contrast(
        acts=capture(model, answered(pairs, system), "heads", last(r)),
        labels=torch.tensor([1, 0] * len(pairs)),
        pairs=torch.arange(len(pairs)).repeat_interleave(2),
    )


def answered(pairs: Sequence[Row], system: str = "") -> list[list[dict[str, str]]]:
    """Two chats per pair: the request with its safe answer, then with its unsafe one."""
    return [
        [*messages(pair["prompt"], system), {"role": "assistant", "content": pair[side]}]
        for pair in pairs
        for side in ("chosen", "rejected")
    ]


def find_lock(
    contrast: Contrast,
    k: int,
    selection: str = "validation",
    seed: int = 0,
    leverage: torch.Tensor | None = None,
) -> tuple[HeadDirections, Probes]:
    """Probe every head, keep the best `k`, take their contrast directions (steps 3–4).

    `selection="validation"` splits by pair, so that no question is on both sides;
    `selection="paper"` splits by answer and averages training accuracy in, as published (the
    released code splits single rows; one text's rows stay together here). `selection="leverage"`
    ranks by measured effect, a score `[L, H]` from `workbench.papers.safetylock.leverage`.

    Raises `ValueError` for K outside 1..L·H, or `"leverage"` without its scores.
    """
    groups = None if selection == "paper" else contrast.pairs
    probes = fit_probes(contrast.acts, contrast.labels, groups=groups, seed=seed)
    if selection == "leverage":
        if leverage is None:
            raise ValueError("selection='leverage' needs the scores: leverage(model, contrast, …)")
        probes.top(k)  # the same refusal of a K that does not fit
        heads = strongest(leverage, k)
    else:
        heads = probes.top(k, by=selection)
    lock = HeadDirections.contrast(
        contrast.acts, contrast.labels, heads, selection=selection, seed=seed
    )
    return lock, probes


def strongest(scores: torch.Tensor, k: int) -> list[tuple[int, int]]:
    """The `k` (layer, head) pairs of highest score `[L, H]`, best first."""
    best = scores.flatten().argsort(descending=True, stable=True)[:k].tolist()
    return [divmod(i, scores.shape[1]) for i in best]


def every_head(contrast: Contrast) -> list[tuple[int, int]]:
    """All (layer, head) pairs of the model that was read."""
    n_layers, n_heads = contrast.acts.values.shape[2:4]
    return [(layer, head) for layer in range(n_layers) for head in range(n_heads)]


def random_directions(lock: HeadDirections, seed: int) -> HeadDirections:
    """Control: the same heads and scales along random unit vectors."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.randn(lock.unit.shape, generator=generator)
    return lock.rotated(unit / unit.norm(dim=1, keepdim=True), control="random directions")


def outside(contrast: Contrast, lock: HeadDirections) -> list[tuple[int, int]]:
    """All (layer, head) pairs that the lock does not shift."""
    own = set(lock.heads)
    return [head for head in every_head(contrast) if head not in own]


def random_heads(contrast: Contrast, lock: HeadDirections, seed: int) -> HeadDirections:
    """Control: true contrast directions of as many heads, drawn at random outside the lock.

    Raises `ValueError` where fewer heads lie outside than the lock has.
    """
    others, k = outside(contrast, lock), len(lock)
    if len(others) < k:
        raise ValueError(f"{len(others)} heads lie outside a lock of {k}: no {k} can be drawn")
    order = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    heads = sorted(others[i] for i in order[:k].tolist())
    return HeadDirections.contrast(contrast.acts, contrast.labels, heads, control="random heads")


def shuffled_labels(
    contrast: Contrast, heads: Sequence[tuple[int, int]], seed: int
) -> HeadDirections:
    """Control: contrast of the same heads with safe and unsafe swapped within random pairs."""
    flip = (
        torch.rand(len(contrast.labels) // 2, generator=torch.Generator().manual_seed(seed)) < 0.5
    )
    labels = contrast.labels ^ flip.repeat_interleave(2)
    return HeadDirections.contrast(contrast.acts, labels, heads, control="shuffled labels")


CONTROLS: dict[str, Callable[[Contrast, HeadDirections, int], HeadDirections]] = {
    "random directions": lambda _, lock, seed: random_directions(lock, seed),
    "random heads": random_heads,
    "shuffled labels": lambda contrast, lock, seed: shuffled_labels(contrast, lock.heads, seed),
}
"""Kind → the control of a lock, drawn by a seed."""


def halves(
    contrast: Contrast, heads: Sequence[tuple[int, int]]
) -> tuple[HeadDirections, HeadDirections]:
    """The same heads' directions from the even and from the odd pairs: do they agree?"""
    acts, directions = contrast.acts, []
    for parity in (0, 1):
        rows = contrast.pairs % 2 == parity
        half = replace(acts, shards=(acts.values[rows],), lengths=acts.lengths[rows])
        directions.append(HeadDirections.contrast(half, contrast.labels[rows], heads))
    return directions[0], directions[1]


def cosines(a: HeadDirections, b: HeadDirections) -> dict[tuple[int, int], float]:
    """Cosine of the directions of every head that both hold, -1 to 1."""
    units = dict(zip(b.heads, b.unit, strict=True))
    shared = [(head, unit) for head, unit in zip(a.heads, a.unit, strict=True) if head in units]
    # Rounding takes that of equal directions past 1.
    return {head: float((unit @ units[head]).clamp(-1, 1)) for head, unit in shared}
