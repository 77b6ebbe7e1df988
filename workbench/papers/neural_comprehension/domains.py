"""What the nodes of a program can be at a window: the values of each, or its least and most."""

import itertools
import logging
import math
from collections.abc import Hashable, Iterable
from typing import Any

from workbench.arguments import shown
from workbench.errors import CompileBudgetError, ProgramInputError
from workbench.papers.neural_comprehension.language import (
    Average,
    Categorical,
    Category,
    Copy,
    Count,
    Gate,
    Index,
    Linear,
    Map,
    Nearest,
    Node,
    Number,
    Numeric,
    Position,
    Token,
    Zip,
    nodes_of,
)

log = logging.getLogger(__name__)

MOST_UNITS, MOST_NUMBER = 200_000, 2**20
"""Combinations of a Zip or numbers of a Category, and the largest number: float32 is exact there,
and any program here needs far less."""

Domain = tuple[Any, ...]
"""A categorical node's values; a numeric one's least and most."""


def domains(program: Node, window: int) -> dict[Node, Domain]:
    """Every node's domain for inputs of at most `window` symbols.

    A Zip of what may have no value is logged as a warning. Raises `CompileBudgetError`, naming the
    node, for too many combinations or too large numbers.
    """
    known: dict[Node, Domain] = {}
    absent: set[Node] = set()
    for node in nodes_of(program):
        known[node] = values = _domain(node, known, window)
        if isinstance(node, Numeric) and max(map(abs, values)) > MOST_NUMBER:
            raise CompileBudgetError(
                f"{node}: numbers from {values[0]:,} to {values[1]:,}, {MOST_NUMBER:,} at most"
            )
        if isinstance(node, Categorical) and _may_be_none(node, known, absent, window):
            absent.add(node)
            if isinstance(node, Zip) and (blank := [str(n) for n in node.of if n in absent]):
                log.warning("%s: no value where %s has none", node, " or ".join(blank))
    return known


def _may_be_none(
    node: Categorical, known: dict[Node, Domain], absent: set[Node], window: int
) -> bool:
    """Whether a node may have no value somewhere; what it is computed from is known."""
    match node:
        case Map(function=function, of=of):
            return of in absent or None in map(function, known[of])
        case Zip(function=function, of=of):
            results = itertools.starmap(function, combinations(node, known))
            return not absent.isdisjoint(of) or None in results
        case Category(function=function, of=of, low=low, high=high):
            least, most = known[of]
            return least < low or most > high or None in map(function, reached(node, known))
        case Copy(function=function, of=of, default=default):
            return default is None or of in absent or None in map(function, known[of])
        case Count(function=function):
            return None in map(function, counted(node, window))
    return isinstance(node, Gate)


def _domain(node: Node, known: dict[Node, Domain], window: int) -> Domain:
    match node:
        case Token(vocabulary=vocabulary):
            return vocabulary
        case Index():
            require_few(node, "places", window, MOST_UNITS)
            return tuple(range(window))
        case Position():
            return (0, window - 1)
        case Map(function=function, of=of) | Gate(function=function, of=of):
            return _distinct(node, map(function, known[of]))
        case Zip(function=function, of=of):
            size = math.prod(len(known[each]) for each in of)
            require_few(node, "combinations", size, MOST_UNITS)
            return _distinct(node, itertools.starmap(function, combinations(node, known)))
        case Number(function=function, of=of):
            numbers = [0, *map(function, known[of])]
            if wrong := [each for each in numbers if not isinstance(each, int)]:
                raise ProgramInputError(f"{node}: {wrong[0]!r} is no whole number")
            return (min(numbers), max(numbers))
        case Linear(constant=constant, terms=terms):
            ends = [[c * end for end in known[each]] for c, each in terms]
            return (constant + sum(map(min, ends)), constant + sum(map(max, ends)))
        case Category(function=function):
            require_few(node, "numbers", len(reached(node, known)), MOST_UNITS)
            return _distinct(node, map(function, reached(node, known)))
        case Copy(function=function, of=of, default=default):
            return _distinct(node, [*map(function, known[of]), default])
        case Average(of=of, default=default):
            return (min(known[of][0], default), max(known[of][1], default))
        case Count(function=function):
            require_few(node, "numbers", window, MOST_UNITS)
            return _distinct(node, map(function, counted(node, window)))
    raise TypeError(f"{node} has no domain")


def require_few(node: Node, what: str, count: int, most: int) -> None:
    """Raise `CompileBudgetError`, naming the node, for more than `most` of something."""
    if count > most:
        raise CompileBudgetError(
            f"{node}: {count:,} {what} where {most:,} are the most; use a smaller window or fewer "
            "values"
        )


def combinations(node: Zip, known: dict[Node, Domain]) -> Iterable[tuple[Any, ...]]:
    """All that a Zip's nodes can be together."""
    return itertools.product(*(known[each] for each in node.of))


def counted(node: Count, window: int) -> range:
    """What a Count may count: of ordered keys one is selected, or none."""
    return range(2 if isinstance(node.selector, Nearest) else window + 1)


def reached(node: Category, known: dict[Node, Domain]) -> range:
    """The numbers of a Category that its node can be."""
    least, most = known[node.of]
    return range(max(node.low, least), min(node.high, most) + 1)


def _distinct(node: Node, values: Iterable[Any]) -> Domain:
    known: dict[Any, Any] = {}
    for value in values:
        if not isinstance(value, Hashable):
            raise ProgramInputError(f"{node}: {shown(value)} can change: it is no value")
        if type(known.setdefault(value, value)) is not type(value):
            raise ProgramInputError(
                f"{node}: {known[value]!r} and {value!r} are equal to Python; let its function "
                "give values of one type"
            )
    return tuple(value for value in known if value is not None)
