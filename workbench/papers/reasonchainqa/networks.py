"""The trained networks: what each retrieves for every split, kept on disk; thresholds of dev."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.models.encoders import Encoder
from workbench.papers.reasonchainqa.paper import Settings
from workbench.papers.reasonchainqa.single import Chain
from workbench.retrieval.chains import chain_of, depth_first
from workbench.retrieval.graphs import Evidence, ScoredEdge
from workbench.retrievers import checkpoint, fuse
from workbench.retrievers.search import retrieved
from workbench.retrievers.train import RELEASED, Fit, trained

LONGEST = 96
"""Tokens of a text: a question that follows four relations has more than 30 (§5)."""
THRESHOLDS = (0.05, 0.1, *fuse.THRESHOLDS, 0.8, 0.9)
Views = dict[str, dict[str, Any]]
"""Split → what a network retrieves there: `"edges"`, all likely ones, scored; `"chain"`, the
likeliest fact after each; `"ranking"`, all facts by one query."""


def fit_of(settings: Settings, encoder: Encoder | None = None) -> Fit:
    """Size and training of a network; above an encoder that is tuned along, of that one's size."""
    fit = Fit(
        settings.d, settings.heads, settings.epochs, settings.batch, settings.learning_rate,
        reads=settings.reads, max_tokens=LONGEST,
    )  # fmt: skip
    if settings.reads == "tuned":
        size = {"d": encoder.width, "heads": encoder.hf.config.num_attention_heads}
        fit = replace(fit, **RELEASED, **size)
    return fit


def searched(
    questions: Mapping[str, Sequence[Evidence]],
    fit: Fit,
    direction: str,
    seed: int,
    encoder: Encoder | None = None,
    folder: Path | None = None,
    data: str = "",
) -> Views:
    """What a network, `one_hop` or `forward`, retrieves for every split but train.

    In `folder` it is kept, with `data` as the fingerprint of what it was trained on; one that is
    there is not trained again, and a training that was killed goes on from its last epoch.
    """
    name = f"{direction}-{seed}-{data}"
    place, state = (folder / name, folder / f"training-{name}") if folder else (None, None)
    if place and place.exists():
        retriever = checkpoint.load(place, encoder, direction=direction)[0]
    else:
        retriever = trained(questions["train"], fit, direction, seed, encoder, state)
    out: Views = {}
    for split, of in questions.items():
        if split == "train":
            continue
        if direction == "one_hop":
            most = max(len(q.facts) for q in of)
            edges = retrieved(retriever, of, above=0.0, states=most + 1, edges=most)
            out[split] = {"edges": edges, "ranking": [*map(by_score, edges)]}
        else:
            edges, chain = (retrieved(retriever, of, greedy=greedy) for greedy in (False, True))
            out[split] = {"edges": edges, "chain": chain}
    if place and not place.exists():
        thresholds = {"τ": threshold(questions["dev"], out["dev"]["edges"], direction)}
        checkpoint.save(retriever, place, fit, seed=seed, data=data, thresholds=thresholds)
    if state and state.exists():
        shutil.rmtree(state)
    return out


def by_score(edges: Sequence[ScoredEdge]) -> Chain:
    """The facts that edges lead to, the most probable first; of equal ones the first in place."""
    return tuple(v for _, v, _ in sorted(edges, key=lambda edge: (-edge[2], edge[1])))


def above(edges: Sequence[ScoredEdge], tau: float, method: str) -> Chain:
    """The facts of edges above a threshold as a chain: of `one_hop` the most probable first.

    Else each after those that lead to it, a branch to its end before the next.
    """
    if method == "one_hop":
        return by_score([edge for edge in edges if edge[2] > tau])
    return depth_first(fuse.soft(edges, (), 1.0, tau))


def threshold(dev: Sequence[Evidence], edges: Sequence[Sequence[ScoredEdge]], method: str) -> float:
    """The threshold with the most chains right; of `one_hop`, which has no order, sets of facts."""

    def right(tau: float) -> int:
        pairs = [(chain_of(q), above(of, tau, method)) for q, of in zip(dev, edges, strict=True)]
        if method == "one_hop":
            return sum({*gold} == {*chain} for gold, chain in pairs)
        return sum(gold == chain for gold, chain in pairs)

    return max(THRESHOLDS, key=right)
