"""Graphs without their labels: whether two have one shape, and how many edits lie between them."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from graphlib import CycleError

import networkx as nx

from workbench.retrieval.graphs import ROOT, Edge, reading_order

MOST_STEPS = 20_000
"""Pairs of nodes tried for a distance. Counted, not timed: on every machine the same ones end."""


def same_shape(a: Sequence[Edge], b: Sequence[Edge]) -> bool:
    """Whether two graphs, the question among their nodes, differ in nothing but labels (§4)."""
    return _same_shape(_plain(a), _plain(b))


def edit_distance(a: Sequence[Edge], b: Sequence[Edge], most: int = MOST_STEPS) -> int | None:
    """The fewest nodes and edges to add or remove that make one shape of two; None past `most`.

    Unit costs, labels ignored, the question a node like any other (§4; limited there to .8 s).

    >>> edit_distance([(-1, 0), (0, 1)], [(-1, 4), (-1, 7)])
    2
    """
    return _edit_distance(_plain(a), _plain(b), most)


def _plain(edges: Sequence[Edge]) -> tuple[Edge, ...]:
    """The edges under numbers from 0 in reading order, so that equal shapes mostly are equal."""
    try:
        order = reading_order(edges)
    except CycleError:  # a prediction may have one
        order = sorted({node for edge in edges for node in edge} - {ROOT})
    place = {node: i for i, node in enumerate([ROOT, *order])}
    return tuple(sorted({(place[u], place[v]) for u, v in edges}))


def _degrees(edges: Sequence[Edge], end: int) -> list[int]:
    return sorted(Counter(edge[end] for edge in edges).values(), reverse=True)


@lru_cache(maxsize=65536)
def _same_shape(a: tuple[Edge, ...], b: tuple[Edge, ...]) -> bool:
    if a == b:
        return True
    graphs = [nx.DiGraph(edges) for edges in (a, b)]
    for graph in graphs:
        graph.add_node(0)  # the question, which edges that are cut off do not touch
    return nx.is_isomorphic(*graphs)


@lru_cache(maxsize=65536)
def _edit_distance(a: tuple[Edge, ...], b: tuple[Edge, ...], most: int) -> int | None:
    """Nodes that one has more, and the edges that no mapping of nodes brings together.

    Replacing a node is free, so that the smaller graph's nodes are all mapped; what is sought are
    the most edges that two graphs have in common under one mapping (branch and bound).
    """
    if _same_shape(a, b):
        return 0
    sizes = [1 + max((v for edge in edges for v in edge), default=0) for edges in (a, b)]
    if sizes[0] > sizes[1]:
        a, b, sizes = b, a, sizes[::-1]
    least = abs(sizes[0] - sizes[1])
    ends = [zip(_degrees(a, end), _degrees(b, end), strict=False) for end in (0, 1)]
    highest = min(len(a), len(b), *(sum(map(min, pairs)) for pairs in ends))
    links = [sum(node in edge for edge in a) for node in range(sizes[0])]
    order = sorted(range(sizes[0]), key=lambda node: -links[node])
    rank = {node: i for i, node in enumerate(order)}
    # The edges that are settled once a node is mapped, those before it being so.
    settled = [[e for e in a if max(rank[e[0]], rank[e[1]]) == i] for i in range(sizes[0])]
    open_after = [sum(map(len, settled[i + 1 :])) for i in range(sizes[0])]
    there, mapped, best, steps = set(b), dict[int, int](), -1, 0

    def extend(i: int, common: int) -> None:
        nonlocal best, steps
        if i == sizes[0]:
            best = max(best, common)
            return
        gains = []
        for node in range(sizes[1]):
            if node not in taken:
                mapped[order[i]] = node
                steps += 1
                gain = sum((mapped[u], mapped[v]) in there for u, v in settled[i])
                gains.append((-gain, node))
        for gain, node in sorted(gains):
            if best == highest or steps > most or common - gain + open_after[i] <= best:
                break
            mapped[order[i]] = node
            taken.add(node)
            extend(i + 1, common - gain)
            taken.remove(node)

    taken = set[int]()
    extend(0, 0)
    if steps > most and best < highest:
        return None
    return least + len(a) + len(b) - 2 * best
