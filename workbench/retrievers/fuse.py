"""One graph from scored edges of both directions (§2.4, §2.5)."""

from collections.abc import Callable, Sequence
from itertools import product

from workbench import arguments
from workbench.retrieval.graphs import ROOT, Edge, Evidence, ScoredEdge, successors
from workbench.retrievers.model import Retriever
from workbench.retrievers.search import retrieved

AGREEMENT = 0.02
"""Share of edges in common from which the release takes the backward graph alone."""
WEIGHTS = (0.3, 0.4, 0.5, 0.6, 0.7)
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Tried by `tuned`."""


def official(forward: Sequence[ScoredEdge], backward: Sequence[ScoredEdge]) -> list[Edge]:
    """The release's gate over edges that were searched above .5: agreement chooses the backward.

    Else edges of both in order, each to a fact that is not there yet, and then all to what was
    left a leaf. The release goes through a set in an order that changes by process (§5, trap 6);
    here it is that of places.
    """
    ahead, back = ({(u, v) for u, v, _ in edges} for edges in (forward, backward))
    if len(ahead & back) / (len(ahead | back) + 1e-4) > AGREEMENT:
        return sorted(back)
    chosen: list[Edge] = []
    there: set[int] = set()
    for edge in sorted(ahead | back):
        if edge[1] not in there:
            chosen.append(edge)
            there |= {*edge}
    leaves = there - {u for u, _ in chosen}
    return sorted({*chosen, *(edge for edge in ahead | back if edge[1] in leaves)})


def soft(
    forward: Sequence[ScoredEdge], backward: Sequence[ScoredEdge], w: float, tau: float
) -> list[Edge]:
    """Edges whose `w` forward + (1 - `w`) backward is above `tau`, and that the question leads to.

    An edge that a direction has not scores 0 there; `w` 1 and 0 are one direction alone. Raises
    `ValueError` for a number out of 0 to 1.

    >>> soft([(-1, 3, 0.9), (3, 7, 0.4)], [(3, 7, 0.8)], w=0.5, tau=0.4)
    [(-1, 3), (3, 7)]
    """
    return [(u, v) for u, v, _ in soft_scored(forward, backward, w, tau)]


def soft_scored(
    forward: Sequence[ScoredEdge], backward: Sequence[ScoredEdge], w: float, tau: float
) -> list[ScoredEdge]:
    """As `soft`, each edge with what it is fused to."""
    arguments.finite("w", w, 0, 1)
    arguments.finite("tau", tau, 0, 1)
    ahead, back = ({(u, v): p for u, v, p in edges} for edges in (forward, backward))
    score = {e: w * ahead.get(e, 0.0) + (1 - w) * back.get(e, 0.0) for e in {*ahead, *back}}
    after = successors(edge for edge, p in score.items() if p > tau)
    reached, waiting = {ROOT}, [ROOT]
    while waiting:
        new = set(after.get(waiting.pop(), [])) - reached
        reached |= new
        waiting += new
    return sorted((u, v, score[u, v]) for u in reached for v in after.get(u, []))


def retriever_of(
    forward: Retriever, backward: Retriever, w: float, tau: float
) -> Callable[[str, Sequence[str]], list[ScoredEdge]]:
    """Two trained networks as a function of a question and facts, as `wb.explain` takes it.

    Raises `ValueError` for networks of other directions, and as `soft`.

    >>> wb.explain(question, facts, retriever_of(forward, backward, w=0.6, tau=0.7)).edges
    """
    for network, direction in ((forward, "forward"), (backward, "backward")):
        arguments.one_of(f"direction of {direction}", network.direction, (direction,))
    soft((), (), w, tau)

    def fused(question: str, facts: Sequence[str]) -> list[ScoredEdge]:
        asked = [Evidence("", question, tuple(facts), ())]
        ahead, back = (retrieved(network, asked)[0] for network in (forward, backward))
        return soft_scored(ahead, back, w, tau)

    return fused


def tuned(
    gold: Sequence[Sequence[Edge]],
    forward: Sequence[Sequence[ScoredEdge]],
    backward: Sequence[Sequence[ScoredEdge]],
    weights: Sequence[float] = WEIGHTS,
    thresholds: Sequence[float] = THRESHOLDS,
    view: Callable[[Sequence[Edge]], Sequence] = sorted,
) -> tuple[float, float]:
    """The (`w`, `tau`) of `soft` with the most graphs right; the first of equals.

    `view=nodes`: with the most sets of facts right, for a method that finds no others. For one
    direction give `weights=(1.0,)` and empty lists for the other. Raises `ValueError` for
    lists of different lengths, or none.
    """
    rows = list(zip(arguments.listed("gold", gold), forward, backward, strict=True))

    def count(at: tuple[float, float]) -> int:
        return sum(view(edges) == view(soft(ahead, back, *at)) for edges, ahead, back in rows)

    return max(product(weights, thresholds), key=count)
