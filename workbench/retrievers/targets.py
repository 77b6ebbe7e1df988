"""What a retriever is to read from each state: gold edges as labels (§2.3).

A state is a path from the question. Backward is the same on reversed graphs: a path begins at a
leaf, and what it reads next are the facts before.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence

from workbench.retrieval.graphs import ROOT, Edge, nodes, paths, successors

log = logging.getLogger(__name__)

DIRECTIONS = ("forward", "backward", "one_hop")
"""`one_hop`: the control, which reads all facts from the question alone."""
MOST_STATES, MOST_DEPTH = 16, 8
"""States of a question on one level, and levels behind the first."""
Path = tuple[int, ...]


def reversed_edges(edges: Sequence[Edge]) -> list[Edge]:
    """The graph read from its end: the question leads to the leaves; `(v, u)` for `(u, v)`.

    An edge from the question is left out: its fact is then a leaf, or has others before it.
    """
    leaves = sorted({v for _, v in edges} - {u for u, _ in edges})
    return sorted([*((ROOT, v) for v in leaves), *((v, u) for u, v in edges if u != ROOT)])


def targets(
    edges: Sequence[Edge], direction: str, *, official: bool = False
) -> list[dict[Path, list[int]]]:
    """Level by level, path → the facts that are read next; those of a level in order of places.

    At most `MOST_STATES` paths of a level, with a warning; each one's beginning is there as well.
    `official`: as the release, no fact is read first that none follows (§5, trap 1).
    """
    if direction == "one_hop":
        return [{(): list(nodes(edges))}]
    graph = reversed_edges(edges) if direction == "backward" else list(edges)
    after = successors(graph)
    first = [v for v in after[ROOT] if v in after or not official]
    levels: list[dict[Path, list[int]]] = [{(): first}]
    of_length: dict[int, list[Path]] = defaultdict(list)
    every = list(paths(graph, MOST_STATES * MOST_DEPTH + 1))
    for path in every:
        of_length[len(path)].append(path)
    for length in range(1, MOST_DEPTH + 1):
        before = levels[-1]
        level = [path for path in of_length[length] if path[:-1] in before or length == 1]
        if not level:
            break
        levels.append({path: after.get(path[-1], []) for path in level[:MOST_STATES]})
    if (used := sum(map(len, levels)) - 1) < len(every):
        log.warning("%d states of a graph of %d edges are learnt, not all", used, len(edges))
    return levels
