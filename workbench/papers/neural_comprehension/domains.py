"""What the nodes of a program can be at a window: the values of each, or its least and most."""

import itertools
import math
from collections.abc import Iterable
from typing import Any

from workbench.errors import CompileBudgetError
from workbench.papers.neural_comprehension.language import (
    Average,
    Category,
    Copy,
    Count,
    Gate,
    Index,
    Linear,
    Map,
    Node,
    Number,
    Position,
    Token,
    Zip,
    nodes_of,
)

MOST_UNITS = 200_000
"""Combinations of a Zip: more than any program here needs by far."""

Domain = tuple[Any, ...]
"""A categorical node's values; a numeric one's least and most."""


def domains(program: Node, window: int) -> dict[Node, Domain]:
    """Every node's domain for inputs of at most `window` symbols.

    Raises `CompileBudgetError`, naming the node, for a Zip of too many combinations.
    """
    known: dict[Node, Domain] = {}
    for node in nodes_of(program):
        known[node] = _domain(node, known, window)
    return known


def _domain(node: Node, known: dict[Node, Domain], window: int) -> Domain:
    match node:
        case Token(vocabulary=vocabulary):
            return vocabulary
        case Index():
            return tuple(range(window))
        case Position():
            return (0, window - 1)
        case Map(function=function, of=of) | Gate(function=function, of=of):
            return _distinct(map(function, known[of]))
        case Zip(function=function, of=of):
            if (size := math.prod(len(known[each]) for each in of)) > MOST_UNITS:
                raise CompileBudgetError(
                    f"{node}: {size:,} combinations, {MOST_UNITS:,} at most; zip fewer values"
                )
            return _distinct(itertools.starmap(function, combinations(node, known)))
        case Number(function=function, of=of):
            numbers = [0, *map(function, known[of])]
            return (min(numbers), max(numbers))
        case Linear(constant=constant, terms=terms):
            ends = [[c * end for end in known[each]] for c, each in terms]
            return (constant + sum(map(min, ends)), constant + sum(map(max, ends)))
        case Category(function=function):
            return _distinct(map(function, reached(node, known)))
        case Copy(function=function, of=of, default=default):
            return _distinct([*map(function, known[of]), default])
        case Average(of=of, default=default):
            return (min(known[of][0], default), max(known[of][1], default))
        case Count(function=function):
            return _distinct(map(function, range(window + 1)))
    raise TypeError(f"{node} has no domain")


def combinations(node: Zip, known: dict[Node, Domain]) -> Iterable[tuple[Any, ...]]:
    """All that a Zip's nodes can be together."""
    return itertools.product(*(known[each] for each in node.of))


def reached(node: Category, known: dict[Node, Domain]) -> range:
    """The numbers of a Category that its node can be."""
    least, most = known[node.of]
    return range(max(node.low, least), min(node.high, most) + 1)


def _distinct(values: Iterable[Any]) -> Domain:
    return tuple(value for value in dict.fromkeys(values) if value is not None)
