"""The language of programs: each node is a value per position of the input, or none there.

A program is its last node. Categorical nodes have finitely many values, numeric ones integers;
`None` is no value, and what is computed from it is none, too.

>>> bits = Token(("0", "1"))
>>> parity = Count(Select(bits, bits, lambda key, query: key == "1"), lambda ones: str(ones % 2))
"""

import sys
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from functools import lru_cache
from traceback import walk_stack
from typing import Any, get_type_hints

from workbench.arguments import shown
from workbench.errors import ProgramInputError, WorkbenchError
from workbench.papers.neural_comprehension.kinds import fits, kind_name

Value = Hashable
"""Of a categorical node: text or a whole number."""


def _written() -> str:
    """File and line outside this module where a node is being made."""
    places = (
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line}"
        for frame, line in walk_stack(sys._getframe())
        if frame.f_code.co_filename not in (__file__, "<string>")
    )
    return next(places, "<string>")


def guarded(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is anyone's program: what it raises becomes a `ProgramInputError` on `what`.

    Errors of the workbench's own, which say enough, stay what they are.
    """

    def call(*values: Any) -> Any:
        try:
            return function(*values)
        except WorkbenchError:
            raise
        except Exception as error:
            given = ", ".join(map(shown, values))
            raise ProgramInputError(
                f"{what} raises {type(error).__name__} for {given}: {error}"
            ) from error

    return call


hints_of = lru_cache(get_type_hints)


@dataclass(frozen=True, eq=False, repr=False)
class Node:
    """One step of a program. `name`: what it stands for; `where`: the line that made it.

    Raises `TypeError`, naming the field, for what is not of the kind that the field says. What its
    functions raise becomes a `ProgramInputError` that names it.
    """

    _: KW_ONLY
    name: str = ""
    where: str = field(default_factory=_written)

    def __post_init__(self) -> None:
        for each in fields(self):
            value, hint = getattr(self, each.name), hints_of(type(self))[each.name]
            if value is not each.default and not fits(value, hint):
                wanted = kind_name(hint)
                raise TypeError(f"{self}: {each.name} is {described(value)}; it must be {wanted}")
            if callable(value):
                object.__setattr__(self, each.name, guarded(f"{self}: its {each.name}", value))

    @property
    def inputs(self) -> tuple["Node", ...]:
        """The nodes that it is computed from; of a selector, those that this looks at."""
        return tuple(_nodes_in([getattr(self, each.name) for each in fields(self)]))

    def __repr__(self) -> str:
        kind = type(self).__name__
        return f"{self.name} ({kind}, {self.where})" if self.name else f"{kind} at {self.where}"


class Categorical(Node):
    """A node with finitely many values."""


class Numeric(Node):
    """A node with whole numbers; `+`, `-` and `*` by a whole number make others, for free."""

    def __add__(self, other: "Numeric | int") -> "Linear":
        if isinstance(other, Numeric):
            return Linear(0, ((1, self), (1, other)))
        return Linear(other, ((1, self),))

    def __mul__(self, factor: int) -> "Linear":
        return Linear(0, ((factor, self),))

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self) -> "Linear":
        return self * -1

    def __sub__(self, other: "Numeric | int") -> "Linear":
        return self + (-other if isinstance(other, Numeric | int) else other)

    def __rsub__(self, other: int) -> "Linear":
        return other + -self


class Selector(Node):
    """For each position, as query, which positions it selects as keys."""


@dataclass(frozen=True, eq=False, repr=False)
class Token(Categorical):
    """The symbols of the input: those of a vocabulary.

    `between`: such as an input has exactly once each, with others on both sides. `end`: the one
    that it ends with, and has nowhere else.
    """

    vocabulary: tuple[str, ...]
    between: tuple[str, ...] = ()
    end: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))
        known = set(self.vocabulary)
        if len(known) < len(self.vocabulary):
            raise ValueError(f"{self}: vocabulary {shown(self.vocabulary)} has a symbol twice")
        if lacking := {*self.between, *filter(None, [self.end])} - known:
            raise ValueError(f"{self}: the vocabulary has no {min(lacking)!r}")


@dataclass(frozen=True, eq=False, repr=False)
class Index(Categorical):
    """The place in the input, from 0 on, as one of finitely many."""


@dataclass(frozen=True, eq=False, repr=False)
class Position(Numeric):
    """The place in the input, from 0 on, as a number."""


@dataclass(frozen=True, eq=False, repr=False)
class Map(Categorical):
    """`function` of each value; None makes none."""

    function: Callable[[Any], Value | None]
    of: Categorical


@dataclass(frozen=True, eq=False, repr=False)
class Zip(Categorical):
    """`function` of several nodes' values at the same position; none where one has none."""

    function: Callable[..., Value | None]
    of: Sequence[Categorical]


@dataclass(frozen=True, eq=False, repr=False)
class Number(Numeric):
    """A whole number for each value, 0 where there is none; a linear reading, which is free."""

    function: Callable[[Any], int]
    of: Categorical


@dataclass(frozen=True, eq=False, repr=False)
class Linear(Numeric):
    """`constant` + the sum of factor × node; free, too."""

    constant: int
    terms: tuple[tuple[int, Numeric], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Category(Categorical):
    """`function` of a number from `low` to `high`; none outside."""

    function: Callable[[int], Value | None]
    of: Numeric
    low: int
    high: int


@dataclass(frozen=True, eq=False, repr=False)
class Gate(Categorical):
    """`function` of a value where `condition` is 0 or more; none elsewhere."""

    function: Callable[[Any], Value | None]
    of: Categorical
    condition: Numeric


@dataclass(frozen=True, eq=False, repr=False)
class Select(Selector):
    """Every key for which `predicate(key, query)` holds; none where either has no value."""

    keys: Categorical
    queries: Categorical
    predicate: Callable[[Any, Any], bool]


@dataclass(frozen=True, eq=False, repr=False)
class Nearest(Selector):
    """The one key of least `rank` among those whose value `predicate` holds for.

    `rank(query, key)` of two places: a whole number from 0 to the window, different for the keys
    of a query, or None for a key that it must not select.
    """

    keys: Categorical
    predicate: Callable[[Any], bool]
    rank: Callable[[int, int], int | None]


@dataclass(frozen=True, eq=False, repr=False)
class Copy(Categorical):
    """`function` of the selected position's value, `default` where nothing is selected.

    Where several positions are selected they must agree.
    """

    selector: Selector
    of: Categorical
    function: Callable[[Any], Value | None] = lambda value: value
    default: Value | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Average(Numeric):
    """The mean of the selected positions' numbers, `default` where nothing is selected."""

    selector: Selector
    of: Numeric
    default: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Count(Categorical):
    """`function` of how many positions are selected."""

    selector: Selector
    function: Callable[[int], Value]


def described(value: Any) -> str:
    """A value in a message."""
    return "a function" if callable(value) else shown(value)


def _nodes_in(value: Any) -> Iterator[Node]:
    if isinstance(value, Selector):
        yield from value.inputs
    elif isinstance(value, Node):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for each in value:
            yield from _nodes_in(each)


def nodes_of(program: Node) -> list[Node]:
    """A program's nodes, each once, after those that it is computed from.

    Raises `TypeError` for what is no node.
    """
    if not isinstance(program, Node):
        raise TypeError(f"a program is its last node, not {described(program)}")
    ordered: dict[Node, None] = {}
    waiting = [program]  # a program may be deeper than Python's calls
    while waiting:
        missing = [each for each in waiting[-1].inputs if each not in ordered]
        if missing:
            waiting += reversed(missing)
        else:
            ordered[waiting.pop()] = None
    return list(ordered)
