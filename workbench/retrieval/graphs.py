"""One schema of evidence, `graphhop/v1`: a question, its candidate facts, the graph among them.

An edge (u, v) says that fact v is read next, using u; u is `ROOT` where the question alone leads
to v. Facts are known by their place, never by their text (arXiv 2305.14211, §3).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from workbench import arguments
from workbench.errors import GraphError

ROOT = -1
"""The question, as the start of an edge."""
Edge = tuple[int, int]
"""(from, to): places of facts; the first may be `ROOT`."""
ScoredEdge = tuple[int, int, float]
"""(from, to, probability)."""
KINDS = ("entity", "number", "bool", "count")
"""What an answer is."""
STRUCTURES = ("SCSH", "SCMH", "MCSH", "MCMH")
"""Single or multi chain, single or multi hop (Table 1)."""
TYPES = ("Query", "Comparison", "Count", "Bool", "Qualifier", "Other")
"""Kinds of reasoning (Table 1), and what is none of them."""
_FUNCTIONS = {
    "Query": ("What", "QueryAttr", "QueryRelation"),
    "Comparison": ("SelectAmong", "SelectBetween"),
    "Count": ("Count",),
    "Bool": ("VerifyNum", "VerifyStr", "VerifyYear"),
    "Qualifier": ("QueryAttrQualifier", "QueryRelationQualifier"),
}


@dataclass(frozen=True)
class Evidence:
    """A question with its candidate `facts` and the gold `edges` among them, sorted.

    `answer_kind`: of `KINDS`, or empty where it is not known. `program`: KoPL steps, each with
    `function`, `inputs` and `dependencies`; its last names the kind of reasoning. `world`: what
    the facts are about; no two splits share one. `chain`: the gold facts, each once, in the order
    in which the program reads them, none before those that lead to it; empty where not known.
    """

    id: str
    question: str
    facts: tuple[str, ...]
    edges: tuple[Edge, ...]
    answer: str = ""
    answer_kind: str = ""
    program: tuple[dict[str, Any], ...] = ()
    world: str = ""
    chain: tuple[int, ...] = ()

    @property
    def nodes(self) -> tuple[int, ...]:
        """The gold facts, in order of their places."""
        return nodes(self.edges)

    @property
    def structure(self) -> str:
        """One of `STRUCTURES`."""
        return structure(self.edges)

    @property
    def reasoning(self) -> str:
        """One of `TYPES`, by the last function of the program."""
        return reasoning(self.program)


def nodes(edges: Iterable[Edge]) -> tuple[int, ...]:
    """The facts at either end of edges, in order of their places."""
    return tuple(sorted({node for edge in edges for node in edge} - {ROOT}))


def successors(edges: Iterable[Edge]) -> dict[int, list[int]]:
    """Fact (or `ROOT`) → the facts read next, in order of their places."""
    after = defaultdict(set)
    for u, v in edges:
        after[u].add(v)
    return {u: sorted(vs) for u, vs in after.items()}


def reading_order(edges: Sequence[Edge]) -> list[int]:
    """The facts so that each comes after all that lead to it; among equals, by place."""
    sorter: TopologicalSorter[int] = TopologicalSorter()
    for u, v in sorted(edges):
        sorter.add(v, *() if u == ROOT else (u,))
    order: list[int] = []
    sorter.prepare()
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        order += ready
        sorter.done(*ready)
    return order


def depth(edges: Sequence[Edge]) -> int:
    """Facts on the longest path from the question to a leaf (the official code counts one more)."""
    before = defaultdict(list)
    for u, v in edges:
        before[v].append(u)
    length = {ROOT: 0}
    for v in reading_order(edges):
        length[v] = 1 + max(length[u] for u in before[v])
    return max(length.values())


def breadth(edges: Sequence[Edge]) -> int:
    """The most facts that are read next after the question, or after any fact."""
    return max((len(vs) for vs in successors(edges).values()), default=0)


def structure(edges: Sequence[Edge]) -> str:
    """Single or multi chain (breadth below 2, or not), single or multi hop (depth below 2).

    >>> structure([(ROOT, 3), (3, 7)])
    'SCMH'
    """
    chains = "S" if breadth(edges) < 2 else "M"
    return f"{chains}C{'S' if depth(edges) < 2 else 'M'}H"


def reasoning(program: Sequence[dict[str, Any]]) -> str:
    """The kind of reasoning of a KoPL program: `TYPES` by its last function (§4)."""
    last = program[-1]["function"] if program else ""
    return next((name for name, functions in _FUNCTIONS.items() if last in functions), "Other")


def paths(edges: Iterable[Edge], most: int) -> Iterator[tuple[int, ...]]:
    """Yield every path from the question: each fact by each way to it; at most `most`.

    Level by level, and of one level in order of places: a dense graph has exponentially many.
    """
    after = successors(edges)
    level: list[tuple[int, ...]] = [(v,) for v in after.get(ROOT, [])]
    while level and most > 0:
        yield from level[:most]
        most -= len(level)
        level = [(*path, v) for path in level for v in after.get(path[-1], [])]


def checked(edges: Iterable[Sequence[int]], count: int, place: str) -> tuple[Edge, ...]:
    """The edges of a graph among `count` facts, sorted and each once.

    Raises `GraphError` naming `place` and the edges for a graph without any, an edge that is no
    pair of places, out of 0 to `count` - 1, onto itself or back to the question; for a cycle, and
    for facts that the question does not lead to.
    """
    pairs = []
    for edge in edges:
        whole = isinstance(edge, Sequence) and len(edge) == 2 and all(map(_whole, edge))
        if not whole:
            raise GraphError(f"{place}: edge {edge!r:.60} is no pair of whole numbers")
        u, v = edge
        if not ROOT <= u < count or not 0 <= v < count:
            raise GraphError(
                f"{place}: edge ({u}, {v}) leaves the {count} facts; give places from 0 to "
                f"{count - 1}, and {ROOT} for the question as a start"
            )
        if u == v:
            raise GraphError(f"{place}: edge ({u}, {v}) leads from a fact to itself")
        pairs.append((u, v))
    if not pairs:
        raise GraphError(f"{place}: no edges: a question needs one fact at least")
    edges = tuple(sorted(set(pairs)))
    try:
        reading_order(edges)
    except CycleError as error:
        shown = ", ".join(f"({u}, {v})" for u, v in pairwise(error.args[1]))
        raise GraphError(f"{place}: the edges {shown} go in a circle") from error
    reached, after, waiting = {ROOT}, successors(edges), [ROOT]
    while waiting:
        new = set(after.get(waiting.pop(), [])) - reached
        reached |= new
        waiting += new
    if lost := [edge for edge in edges if edge[0] not in reached]:
        raise GraphError(
            f"{place}: nothing leads from the question to the edges {shown_edges(lost)}; add an "
            f"edge from {ROOT}"
        )
    return edges


def checked_chain(chain: Any, edges: Sequence[Edge], place: str) -> tuple[int, ...]:
    """The facts of `edges` in the order of `chain`: each once, none before one that leads to it.

    Raises `GraphError` naming `place` and the fact otherwise.
    """
    if not isinstance(chain, Sequence) or not all(map(_whole, chain)):
        raise GraphError(f"{place}: chain {chain!r:.60} is no list of whole numbers")
    position = {fact: i for i, fact in enumerate(chain)}
    if len(position) < len(chain):
        twice = next(fact for i, fact in enumerate(chain) if position[fact] != i)
        raise GraphError(f"{place}: chain {list(chain)!r:.60} has fact {twice} twice")
    if wrong := sorted(position.keys() ^ set(nodes(edges))):
        fault = "is no gold fact" if wrong[0] in position else "is missing"
        raise GraphError(f"{place}: chain {list(chain)!r:.60}: fact {wrong[0]} {fault}")
    for u, v in edges:
        if u != ROOT and position[u] > position[v]:
            raise GraphError(f"{place}: chain reads fact {v} before fact {u}, which leads to it")
    return tuple(chain)


def along(chain: Any, facts: Sequence[str], place: str) -> list[Edge]:
    """The edges from the question along a chain of places of facts.

    Raises `GraphError` naming `place` and the entry for one that is empty, has what is no place, or
    reads one text twice.
    """
    name = f"{place}: chain"
    if isinstance(chain, Sequence) and not chain:
        raise GraphError(f"{name} is empty: a question needs one fact at least")
    places = arguments.indices(name, chain, len(facts), GraphError)
    arguments.different(name, [facts[v] for v in places], GraphError)
    return [*pairwise([ROOT, *places])]


def shown_edges(edges: Sequence[Edge]) -> str:
    """The first five edges, for a message."""
    more = f" and {len(edges) - 5} more" if len(edges) > 5 else ""
    return ", ".join(f"({u}, {v})" for u, v in edges[:5]) + more


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
