"""Programs of the language put together by chance, for Hypothesis."""

from zlib import crc32

from hypothesis import strategies as st

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
    Number,
    Position,
    Select,
    Token,
    Zip,
)

ALPHABET = ("a", "b", "c")
VALUES = ("p", "q", 3, None)
RANKS = {
    "left": lambda i, j: i - j if j <= i else None,
    "right": lambda i, j: j - i - 1 if j > i else None,
    "first": lambda i, j: j,
    "previous": lambda i, j: 0 if j == i - 1 else None,
    "any": lambda i, j: (j - i) % 5,
}


def table(seed, results):
    """A function of any values, the same in every process."""
    return lambda *values: results[crc32(repr((seed, values)).encode()) % len(results)]


@st.composite
def programs(draw):
    """A program of up to eight steps; its inputs are texts of `ALPHABET`, at most five long."""
    categorical, numeric = [Token(ALPHABET), Index()], [Position()]

    def some(pool):
        # Late nodes more often, so that programs grow deep.
        return pool[-1 - min(draw(st.integers(0, len(pool) - 1)), draw(st.integers(0, 9)))]

    def function(results=VALUES):
        return table(draw(st.integers(0, 99)), results)

    def selector():
        kind = draw(st.sampled_from(["nearest", "nearest", "equal", "any"]))
        if kind == "nearest":
            rank = RANKS[draw(st.sampled_from(sorted(RANKS)))]
            return Nearest(some(categorical), function((True, True, False)), rank)
        if kind == "equal":
            shift = draw(st.integers(-1, 1))
            return Select(categorical[1], categorical[1], lambda key, query: key == query + shift)
        return Select(some(categorical), some(categorical), function((True, False, False)))

    kinds = ("Map", "Zip", "Number", "Linear", "Category", "Gate", "Copy", "Copy", "Count",
             "Average")  # fmt: skip
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(kinds))
        if kind == "Map":
            categorical.append(Map(function(), some(categorical)))
        elif kind == "Zip":
            count = draw(st.integers(1, 3))
            categorical.append(Zip(function(), [some(categorical) for _ in range(count)]))
        elif kind == "Number":
            numeric.append(Number(function((-2, 0, 1, 3)), some(categorical)))
        elif kind == "Linear":
            factors = draw(st.lists(st.integers(-2, 2), min_size=1, max_size=3))
            terms = tuple((factor, some(numeric)) for factor in factors)
            numeric.append(Linear(draw(st.integers(-3, 3)), terms))
        elif kind == "Category":
            low = draw(st.integers(-4, 2))
            high = low + draw(st.integers(0, 6))
            categorical.append(Category(function(), some(numeric), low, high))
        elif kind == "Gate":
            categorical.append(Gate(function(), some(categorical), some(numeric)))
        elif kind == "Copy":
            default = draw(st.sampled_from(VALUES))
            categorical.append(Copy(selector(), some(categorical), function(), default))
        elif kind == "Count":
            categorical.append(Count(selector(), function()))
        else:
            numeric.append(Average(selector(), some(numeric), draw(st.integers(-2, 2))))
    token = categorical[0]
    last = categorical[-1]
    # A program reads its input, and one that was drawn need not.
    return Zip(lambda letter, value: value, (token, last)) if last is not token else last
