"""What a retriever finds among facts, as a graph that grows from the question, or as a chain."""

import heapq
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import networkx as nx

from workbench import arguments
from workbench.errors import GraphError
from workbench.retrieval.graphs import ROOT, ScoredEdge
from workbench.retrieval.lexical import Bm25, ranked
from workbench.retrieval.steps import Chain

Retriever = Callable[[str, Sequence[str]], Sequence[ScoredEdge] | Chain]
"""(question, facts) → edges (from, to, probability). It may have `words`, as `Nearest` has."""
OPEN, SHORT = 2000, 200
"""More facts than `OPEN` are brought down to `SHORT` before a retriever sees them."""


def retrieved(
    question: str, facts: Sequence[str], removed: Sequence[int], retriever: Retriever
) -> tuple[tuple[ScoredEdge, ...], float | None, str]:
    """Edges among all facts but those `removed`, a chain's `stop`, a note of what was left out.

    Raises as `grown`.
    """
    at, notes = seen(question, facts, removed)
    got = retriever(question, [facts[i] for i in at])
    stop = got.stop if isinstance(got, Chain) else None
    got = got.edges if isinstance(got, Chain) else got
    edges, lost = grown(arguments.listed("the retriever's edges", got, empty=True), len(at))
    if lost:
        notes.append(f"edges left out, in a circle or with nothing that leads to them: {lost}")
    edges_at = tuple((u if u == ROOT else at[u], at[v], p) for u, v, p in edges)
    return edges_at, stop, "; ".join(notes)


def seen(
    question: str, facts: Sequence[str], removed: Sequence[int]
) -> tuple[list[int], list[str]]:
    """Places of the facts that a retriever sees, and notes of what it does not see."""
    place: dict[str, int] = {}
    for i, text in enumerate(facts):
        if i not in removed:
            place.setdefault(text, i)
    again = len(facts) - len(removed) - len(place)
    notes = [f"repeated facts: {again}"] if again else []
    distinct = list(place)
    if len(distinct) > OPEN:
        shared = _bm25(tuple(distinct)).scores(question).any()
        which = "nearest by words" if shared else "first, as none shares a word with the question,"
        notes.append(f"of {len(distinct)} facts the {SHORT} {which} were read")
        distinct = [distinct[i] for i in shortlist(question, distinct, SHORT)]
    return [place[text] for text in distinct], notes


def grown(edges: Sequence[ScoredEdge], count: int) -> tuple[list[ScoredEdge], int]:
    """The edges that a graph grows by from the question, the most probable first; how many not.

    None of them closes a circle. Raises `GraphError` for an edge out of `count` facts, from a fact
    to itself or there twice, or with a probability that is none.
    """
    after: dict[int, dict[int, float]] = {}
    for edge in edges:
        u, v, p = _checked(edge, count)
        if u == v or v in after.setdefault(u, {}):
            raise GraphError(
                f"the edge {edge!r:.60} leads from a fact to itself, or is there twice"
            )
        after[u][v] = p
    graph = nx.DiGraph()
    graph.add_node(ROOT)
    waiting = [(-p, ROOT, v) for v, p in after.get(ROOT, {}).items()]
    heapq.heapify(waiting)
    chosen: list[ScoredEdge] = []
    while waiting:
        less, u, v = heapq.heappop(waiting)
        new = v not in graph
        if not new and nx.has_path(graph, v, u):
            continue
        graph.add_edge(u, v)
        chosen.append((u, v, -less))
        for w, p in after.get(v, {}).items() if new else ():
            heapq.heappush(waiting, (-p, v, w))
    return chosen, len(edges) - len(chosen)


def shortlist(question: str, facts: Sequence[str], k: int) -> list[int]:
    """Places of the `k` facts nearest by words (BM25), sorted: to the question, and one hop on.

    A quarter shares words with the question; then a tenth each for the best of those, so that a
    fact without a word of the question is not lost to a second hop. All, where there are no more.
    """
    index = _bm25(tuple(facts))
    scores = index.scores(question)
    chosen = dict.fromkeys(ranked(scores, max(1, k // 4)))
    for place in list(chosen)[:10]:
        chosen |= dict.fromkeys(ranked(index.scores(f"{question} {facts[place]}"), max(1, k // 10)))
    return sorted([*dict.fromkeys([*chosen, *ranked(scores, k)])][:k])


def _checked(edge: Sequence[Any], count: int) -> ScoredEdge:
    try:
        u, v, p = edge
        u, v = arguments.whole("from", u, ROOT, count - 1), arguments.whole("to", v, 0, count - 1)
        return u, v, arguments.finite("probability", p, 0, 1)
    except (TypeError, ValueError) as error:
        raise GraphError(f"the retriever gave the edge {edge!r:.60}: {error}") from None


_bm25 = lru_cache(maxsize=1)(Bm25)
