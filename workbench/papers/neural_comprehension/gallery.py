"""Programs that the paper does not have: sort, balanced brackets, histogram, comparison."""

import random
from collections.abc import Iterator, Sequence
from functools import partial

from workbench.papers.neural_comprehension import tasks
from workbench.papers.neural_comprehension.language import (
    Categorical,
    Category,
    Copy,
    Count,
    Index,
    Nearest,
    Number,
    Select,
    Token,
    Zip,
)
from workbench.papers.neural_comprehension.programs import DIGITS, LETTERS, operands
from workbench.papers.neural_comprehension.tasks import Task, aligned, first


def sort(window: int, symbols: Sequence[str] = DIGITS) -> Categorical:
    """The symbols in their order; three layers.

    Each counts those before it in the order, equal ones by place: that is where it goes.
    """
    token, index = Token(tuple(symbols), name="token"), Index(name="index")
    both = Zip(lambda symbol, i: (symbols.index(symbol), i), (token, index), name="symbol, place")
    before = Select(both, both, lambda key, query: key < query, name="before")
    goal = Count(before, lambda count: count, name="goal")
    comes = Select(goal, index, lambda key, query: key == query, name="comes here")
    return Copy(comes, token, name="sorted")


def brackets(window: int) -> Categorical:
    """Whether brackets are balanced, at every position; five layers.

    They are where no beginning closes more than it opens, and as many close as open.
    """
    token, index = Token(("(", ")"), name="bracket"), Index(name="index")
    both = Zip(lambda symbol, i: (symbol, i), (token, index), name="bracket, place")

    def height(name: str, until: bool) -> Number:
        def counted(symbol: str) -> Number:
            if until:
                chosen = Select(both, index, lambda key, i: key[0] == symbol and key[1] <= i)
            else:
                chosen = Select(token, token, lambda key, _: key == symbol)
            return Number(int, Count(chosen, lambda count: count, name=f"{name} {symbol}"))

        return counted("(") - counted(")")

    below = Category(lambda h: h < 0, height("so far", True), -window, window, name="below")
    level = Category(lambda h: h == 0, height("in all", False), -window, window, name="level")
    never = Count(Select(below, below, lambda key, _: key), lambda count: not count, name="never")
    return Zip(lambda a, b: "yes" if a and b else "no", (never, level), name="balanced")


def histogram(window: int, letters: Sequence[str] = LETTERS) -> Categorical:
    """How often each position's symbol is there; one layer."""
    token = Token(tuple(letters), name="token")
    return Count(Select(token, token, lambda key, query: key == query), str, name="times")


def comparison(window: int) -> Categorical:
    """`a?b=` → `<`, `=` or `>`, at every position; three layers.

    The sign of the leftmost difference of two digits.
    """
    a, b, _ = operands(window, "?")
    gap = Category(lambda d: d, Number(int, a) - Number(int, b), -9, 9, name="gap")
    leftmost = Nearest(gap, lambda d: d != 0, lambda i, j: j)
    return Copy(leftmost, gap, lambda d: ">" if d > 0 else "<", "=", name="order")


def _balanced(given: str) -> str:
    while "()" in given:
        given = given.replace("()", "")
    return "no" if given else "yes"


def _nested(rng: random.Random, length: int) -> str:
    """As often balanced as drawn without care."""
    if rng.random() < 0.5 or length % 2:
        return tasks.text("()", rng, length)
    out, height = "", 0
    while len(out) < length:
        opens = height == 0 or (height < length - len(out) and rng.random() < 0.5)
        out, height = out + ")("[opens], height + (1 if opens else -1)
    return out


def _deep(size: int) -> Iterator[str]:
    half = size // 2
    yield "(" * size
    if half:
        yield from ("(" * half + ")" * half, "()" * half, ")" * half + "(" * half)
        yield from ("()" * (half - 1) + ")(", "(" * half + ")" * (half - 1) + "(")


def _shuffled(symbols: str, size: int) -> Iterator[str]:
    for unit in (symbols, symbols[::-1], symbols[0], symbols[-1], symbols[-1] + symbols[0]):
        yield (unit * size)[:size]


def _compared(given: str) -> str:
    a, b = map(int, given.split("?"))
    return "<=>"[(a > b) - (a < b) + 1]


NUMERALS, ALPHABET = "".join(DIGITS), "".join(LETTERS)
GALLERY = {
    each.name: each
    for each in (
        Task("sort", sort, lambda s: "".join(sorted(s)), partial(tasks.text, NUMERALS),
             partial(tasks.texts, "059"), partial(_shuffled, NUMERALS), aligned, False),
        Task("brackets", brackets, _balanced, _nested,
             partial(tasks.texts, "()"), _deep, first, False),
        Task("histogram", histogram, lambda s: " ".join(str(s.count(each)) for each in s),
             partial(tasks.text, ALPHABET), partial(tasks.texts, "abz"),
             partial(_shuffled, ALPHABET),
             lambda row: " ".join(value or "" for value in row), False),
        Task("comparison", comparison, _compared, partial(tasks.pair, "?"),
             partial(tasks.pairs, "?"), partial(tasks.chains, "?"), first, True),
    )
}  # fmt: skip
