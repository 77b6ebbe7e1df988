"""What a program means: every node in plain Python, which the compiled network must equal.

It shares nothing with the compiler but the nodes.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from workbench.arguments import shown
from workbench.errors import AmbiguousAggregateError, ProgramInputError
from workbench.papers.neural_comprehension.inputs import input_fault
from workbench.papers.neural_comprehension.language import (
    Average,
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
    Position,
    Select,
    Selector,
    Token,
    Zip,
    nodes_of,
)

Values = list[Any]
"""A node's value per position."""


def evaluate(program: Node, tokens: Sequence[str]) -> Values:
    """The program's value at each position of `tokens`.

    >>> evaluate(parity, ["1", "0", "1", "1"])
    ['1', '1', '1', '1']

    Raises as `trace`.
    """
    return trace(program, tokens)[program]


def trace(
    program: Node, tokens: Sequence[str], held: Mapping[tuple[Node, int], Any] | None = None
) -> dict[Node, Values]:
    """Every node's value at each position; of a selector, per position the keys that it selects.

    `held`: values that nodes shall have at positions, whatever they are computed from.

    Raises `ProgramInputError` for what is no input of it; `AmbiguousAggregateError`, naming node
    and position, where selected values differ; `ValueError` for a number that is not whole.
    """
    values: dict[Node, Values] = {}
    for node in nodes_of(program):
        if isinstance(node, Copy | Average | Count):
            chosen = _selected(node.selector, values, len(tokens))
            values[node.selector] = chosen
            values[node] = _aggregated(node, chosen, values)
        else:
            values[node] = _local(node, values, tokens)
        for (patched, place), value in (held or {}).items():
            if patched is node:
                values[node][place] = value
    return values


def _local(node: Node, values: dict[Node, Values], tokens: Sequence[str]) -> Values:
    """A node that looks at one position at a time."""
    places = range(len(tokens))
    match node:
        case Token(vocabulary=vocabulary, between=between, end=end):
            if fault := input_fault(tokens, vocabulary, between, end):
                raise ProgramInputError(f"{shown(tokens)}: {fault}")
            return list(tokens)
        case Index() | Position():
            return list(places)
        case Map(function=function, of=of):
            return [None if v is None else function(v) for v in values[of]]
        case Zip(function=function, of=of):
            rows = zip(*(values[each] for each in of), strict=True)
            return [None if None in row else function(*row) for row in rows]
        case Number(function=function, of=of):
            return [0 if v is None else function(v) for v in values[of]]
        case Linear(constant=constant, terms=terms):
            return [constant + sum(c * values[each][i] for c, each in terms) for i in places]
        case Category(function=function, of=of, low=low, high=high):
            whole = [_whole(v, node) for v in values[of]]
            return [function(v) if low <= v <= high else None for v in whole]
        case Gate(function=function, of=of, condition=condition):
            opened = [_whole(v, node) >= 0 for v in values[condition]]
            return [
                function(v) if on and v is not None else None
                for v, on in zip(values[of], opened, strict=True)
            ]
    raise TypeError(f"{node} has no meaning here")


def _selected(selector: Selector, values: dict[Node, Values], n: int) -> list[list[int]]:
    """Per query the places of the keys that it selects."""
    match selector:
        case Select(keys=keys, queries=queries, predicate=predicate):
            return [
                [
                    j
                    for j, key in enumerate(values[keys])
                    if query is not None and key is not None and predicate(key, query)
                ]
                for query in values[queries]
            ]
        case Nearest(keys=keys, predicate=predicate, rank=rank):
            out = []
            for i in range(n):
                eligible = (j for j, v in enumerate(values[keys]) if v is not None and predicate(v))
                ranked = [(r, j) for j in eligible if (r := rank(i, j)) is not None]
                out.append([min(ranked)[1]] if ranked else [])
            return out
    raise TypeError(f"{selector} selects nothing")


def _aggregated(node: Node, chosen: list[list[int]], values: dict[Node, Values]) -> Values:
    match node:
        case Copy(of=of, function=function, default=default):
            return [_agreed(node, i, [values[of][j] for j in keys], function, default)
                    for i, keys in enumerate(chosen)]  # fmt: skip
        case Average(of=of, default=default):
            return [
                Fraction(sum(values[of][j] for j in keys), len(keys)) if keys else default
                for keys in chosen
            ]
        case Count(function=function):
            return [function(len(keys)) for keys in chosen]
    raise TypeError(f"{node} aggregates nothing")


def _agreed(node: Node, place: int, values: Values, function: Any, default: Any) -> Any:
    if not values:
        return default
    read = list(dict.fromkeys(None if v is None else function(v) for v in values))
    if len(read) > 1:
        raise AmbiguousAggregateError(
            f"{node}: at position {place} it selects positions that differ: "
            f"{', '.join(map(repr, read[:4]))}"
        )
    return read[0]


def _whole(value: Any, node: Node) -> int:
    if value != int(value):
        raise ValueError(f"{node}: {value} is no whole number")
    return int(value)
