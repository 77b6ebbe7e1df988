"""What the nodes of a program can be at a window: the values of each, or its least and most."""

import itertools
import logging
import math
from collections.abc import Iterable
from typing import Any

from workbench.arguments import shown
from workbench.errors import CompileBudgetError, ProgramInputError
from workbench.papers.neural_comprehension import language
from workbench.papers.neural_comprehension.language import Node, nodes_of

log = logging.getLogger(__name__)

MOST_UNITS, MOST_VALUES, MOST_NUMBER, MOST_MEAN = 200_000, 2**14, 2**20, 2**16
"""Combinations of a Zip or numbers of a Category, values of a node, and the largest number: float32
is exact there, and any program here needs far less. A mean is rounded: past `MOST_MEAN`, and over
a thousand positions, it may come to be taken for the next number."""

Domain = tuple[Any, ...]
"""A categorical node's values; a numeric one's least and most."""
Table = dict[Any, Any]
"""What a node's function makes of all that it can be given; a Zip's of tuples."""


def domains(program: Node, window: int) -> tuple[dict[Node, Domain], dict[Node, Table]]:
    """(domains, tables) of the nodes, for inputs of at most `window` symbols.

    A Zip of what may have no value is logged as a warning. Raises `CompileBudgetError`, naming the
    node, for too many combinations or values, or too large numbers; `ProgramInputError` for what is
    no value.
    """
    known: dict[Node, Domain] = {}
    tables: dict[Node, Table] = {}
    absent, means = set[Node](), set[Node]()
    for node in nodes_of(program):
        table = tables[node] = _table(node, known, window)
        if isinstance(node, language.Numeric):
            known[node] = least, most = _ends(node, known, table, window)
            if isinstance(node, language.Average) or not means.isdisjoint(node.inputs):
                means.add(node)
            limit = MOST_MEAN if node in means else MOST_NUMBER
            if max(-least, most) > limit:
                raise CompileBudgetError(
                    f"{node}: numbers from {shown(least)} to {shown(most)}, {limit} at most"
                )
            continue
        values = _values(node, known, table, window)
        known[node] = _distinct(node, values)
        require_few(node, "values", len(known[node]), MOST_VALUES)
        read = [node.of] if isinstance(node, language.Copy) else node.inputs
        blank = [each for each in read if each in absent]
        if None in values or (blank and not isinstance(node, language.Count)):
            absent.add(node)
        if blank and isinstance(node, language.Zip):
            log.warning("%s: no value where %s has none", node, " or ".join(map(str, blank)))
    return known, tables


def _table(node: Any, known: dict[Node, Domain], window: int) -> Table:
    match node:
        case language.Zip(of=of):
            require_few(
                node, "combinations", math.prod(len(known[each]) for each in of), MOST_UNITS
            )
            given = itertools.product(*(known[each] for each in of))
            return {values: node.function(*values) for values in given}
        case language.Category(of=of, low=low, high=high):
            least, most = known[of]
            given = range(max(low, least), min(high, most) + 1)
            require_few(node, "numbers", len(given), MOST_UNITS)
        case language.Count(selector=selector):
            require_few(node, "numbers", window, MOST_UNITS)
            given = range(2 if isinstance(selector, language.Nearest) else window + 1)
        case language.Map() | language.Gate() | language.Copy() | language.Number():
            given = known[node.of]
        case _:
            return {}
    return {value: node.function(value) for value in given}


def _ends(node: Node, known: dict[Node, Domain], table: Table, window: int) -> tuple[int, int]:
    """The least and the most that a numeric node can be."""
    match node:
        case language.Position():
            return (0, window - 1)
        case language.Number():
            numbers = [0, *table.values()]
            if wrong := [each for each in numbers if not isinstance(each, int)]:
                raise ProgramInputError(f"{node}: {shown(wrong[0])} is no whole number")
            return (min(numbers), max(numbers))
        case language.Linear(constant=constant, terms=terms):
            ends = [[factor * end for end in known[each]] for factor, each in terms]
            return (constant + sum(map(min, ends)), constant + sum(map(max, ends)))
        case language.Average(of=of, default=default):
            return (min(known[of][0], default), max(known[of][1], default))
    raise TypeError(f"{node} has no domain")


def _values(node: Node, known: dict[Node, Domain], table: Table, window: int) -> list[Any]:
    """What a categorical node can be, None where it can be none, each as often as it comes."""
    values = list(table.values())
    match node:
        case language.Token(vocabulary=vocabulary):
            return list(vocabulary)
        case language.Index():
            require_few(node, "places", window, MOST_UNITS)
            return list(range(window))
        case language.Copy(default=default):
            return [*values, default]
        case language.Category(of=of) if len(table) > known[of][1] - known[of][0]:
            return values
        case language.Category() | language.Gate():
            return [*values, None]
    return values


def require_few(node: Node, what: str, count: int, most: int) -> None:
    """Raise `CompileBudgetError`, naming the node, for more than `most` of something."""
    if count > most:
        raise CompileBudgetError(
            f"{node}: {count:,} {what} where {most:,} are the most; use a smaller window or fewer "
            "values"
        )


def _distinct(node: Node, values: Iterable[Any]) -> Domain:
    known: dict[Any, Any] = {}
    for value in values:
        try:
            first = known.setdefault(value, value)
        except TypeError:
            raise ProgramInputError(f"{node}: {shown(value)} can change: it is no value") from None
        if value != value:
            raise ProgramInputError(f"{node}: {value!r} is no value: it is not equal to itself")
        if type(first) is not type(value):
            raise ProgramInputError(
                f"{node}: {first!r} and {value!r} are equal to Python; let its function "
                "give values of one type"
            )
    return tuple(value for value in known if value is not None)
