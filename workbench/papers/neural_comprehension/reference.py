"""What a program means: every node in plain Python, which the compiled network must equal.

It shares nothing with the compiler but the nodes.
"""

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from workbench.arguments import shown
from workbench.errors import AmbiguousAggregateError, ProgramInputError
from workbench.papers.neural_comprehension import language
from workbench.papers.neural_comprehension.inputs import input_fault
from workbench.papers.neural_comprehension.language import Node, nodes_of

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

    Raises `ProgramInputError` for what is no input of it, for a number that is not whole, and for
    a node or position in `held` that is not there; `AmbiguousAggregateError`, naming node and
    position, where selected values differ.
    """
    nodes, values = nodes_of(program), dict[Node, Values]()
    nodes.sort(key=lambda node: not isinstance(node, language.Index))  # `Nearest` looks there
    for node in nodes:
        if isinstance(node, language.Token) and (
            fault := input_fault(tokens, node.vocabulary, node.between, node.end)
        ):
            raise ProgramInputError(f"{shown(tokens)}: {fault}")
    for each in held or {}:
        if each not in itertools.product(nodes, range(len(tokens))):
            raise ProgramInputError(f"held: {shown(each)} is no (node, position) of the program")
    for node in nodes:
        if isinstance(node, language.Copy | language.Average | language.Count):
            values[node.selector] = _values(node.selector, values, tokens)
        values[node] = _values(node, values, tokens)
        for (patched, place), value in (held or {}).items():
            if patched is node:
                values[node][place] = value
    return values


def _values(node: Node, values: dict[Node, Values], tokens: Sequence[str]) -> Values:
    """A node at each position, from those before it."""
    places = range(len(tokens))
    match node:
        case language.Token():
            return list(tokens)
        case language.Index() | language.Position():
            return list(places)
        case language.Map(function=function) | language.Zip(function=function):
            rows = zip(*(values[each] for each in node.inputs), strict=True)
            return [None if None in row else function(*row) for row in rows]
        case language.Number(function=function, of=of):
            return [0 if v is None else _whole(function(v), node) for v in values[of]]
        case language.Linear(constant=constant, terms=terms):
            return [constant + sum(c * values[each][i] for c, each in terms) for i in places]
        case language.Category(function=function, of=of, low=low, high=high):
            numbers = [_whole(v, node) for v in values[of]]
            return [function(v) if low <= v <= high else None for v in numbers]
        case language.Gate(function=function, of=of, condition=condition):
            shut = [_whole(v, node) < 0 for v in values[condition]]
            passed = [None if shut[i] else values[of][i] for i in places]
            return [None if v is None else function(v) for v in passed]
        case language.Select(keys=keys, queries=queries, predicate=predicate):
            keyed = [(j, key) for j, key in enumerate(values[keys]) if key is not None]
            return [
                [j for j, key in keyed if query is not None and predicate(key, query)]
                for query in values[queries]
            ]
        case language.Nearest(keys=keys, predicate=predicate, rank=rank):
            eligible = [j for j, v in enumerate(values[keys]) if v is not None and predicate(v)]
            at = next((values[n] for n in values if isinstance(n, language.Index)), places)
            rows = [[(rank(at[i], at[j]), j) for j in eligible] for i in places]
            allowed = [[(_whole(r, node), j) for r, j in row if r is not None] for row in rows]
            least = [min(row, default=(0, 0))[0] for row in allowed]
            return [[j for r, j in allowed[i] if r == least[i]] for i in places]
        case language.Copy(selector=selector):
            return [_agreed(node, i, keys, values) for i, keys in enumerate(values[selector])]
        case language.Average(selector=selector, of=of, default=default):
            shares = [
                [Fraction(values[of][j]) / len(keys) for j in keys] for keys in values[selector]
            ]
            return [sum(each) if each else default for each in shares]
        case language.Count(selector=selector, function=function):
            return [function(len(keys)) for keys in values[selector]]
    raise TypeError(f"{node} has no meaning")


def _agreed(node: language.Copy, place: int, keys: list[int], values: dict[Node, Values]) -> Any:
    chosen = [values[node.of][j] for j in keys]
    read = [None if v is None else node.function(v) for v in chosen]
    if others := [each for each in read if each != read[0]]:
        raise AmbiguousAggregateError(
            f"{node}: at position {place} it selects positions that differ: "
            f"{shown(read[0])}, {shown(others[0])}"
        )
    return read[0] if read else node.default


def _whole(value: Any, node: Node) -> int:
    if not isinstance(value, int | float | Fraction) or value % 1 != 0:
        raise ProgramInputError(f"{node}: {value} is no whole number")
    return int(value)
