"""The published programs, and ours beside them; each a function of the window."""

from collections.abc import Callable, Sequence

from workbench.papers.neural_comprehension.language import (
    Average,
    Categorical,
    Category,
    Copy,
    Count,
    Gate,
    Index,
    Map,
    Nearest,
    Number,
    Position,
    Select,
    Token,
    Zip,
)

DIGITS = tuple("0123456789")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
BLANK, END = "_", "="


def place_of(symbol: str, token: Token, position: Position) -> Average:
    """Where the one `symbol` is."""
    return Average(Select(token, token, lambda key, _: key == symbol), position,
                   name=f"place of {symbol}")  # fmt: skip


def parity(window: int) -> Categorical:
    """Whether the number of ones is odd, at every position; one layer."""
    bits = Token(("0", "1"), name="bit")
    ones = Select(bits, bits, lambda key, _: key == "1")
    return Count(ones, lambda count: str(count % 2), name="parity")


def reverse(window: int, letters: Sequence[str] = LETTERS) -> Categorical:
    """What stands before the end mark, backwards; blanks from there on."""
    token = Token((*letters, END), end=END, name="token")
    index, position = Index(name="index"), Position(name="position")
    end = place_of(END, token, position)
    opposite = Category(lambda i: i, end - 1 - position, 0, window - 1, name="opposite")
    there = Select(index, opposite, lambda key, query: key == query)
    return Copy(there, token, default=BLANK, name="reversed")


def last_letter(window: int, letters: Sequence[str] = LETTERS) -> Categorical:
    """The letter before the end mark, at every position."""
    token = Token((*letters, END), end=END, name="token")
    index, position = Index(name="index"), Position(name="position")
    end = place_of(END, token, position)
    last = Category(lambda i: i, end - 1, 0, window - 1, name="last")
    return Copy(Select(index, last, lambda key, query: key == query), token, name="letter")


def copy(window: int, letters: Sequence[str] = LETTERS) -> Categorical:
    """What is there."""
    return Map(lambda letter: letter, Token(tuple(letters), name="token"), name="copy")


def _digit(token: str) -> int | None:
    return int(token) if token in DIGITS else None


def operands(window: int, operator: str) -> tuple[Copy, Gate, Category]:
    """(digit of a, digit of b, whether it is the last slot) at every slot of the result.

    Slot p holds the digit of 10 ** (E - p), E being the place of the end mark: the result is
    aligned with it. A digit of b is one slot to the left; one of a is fetched.
    """
    token = Token((*DIGITS, operator, END), (operator,), END, name="token")
    index, position = Index(name="index"), Position(name="position")
    sign, end = place_of(operator, token, position), place_of(END, token, position)
    before = Nearest(token, lambda _: True, lambda i, j: 0 if j == i - 1 else None)
    previous = Copy(before, token, name="previous")
    b = Gate(_digit, previous, position - 2 - sign, name="b")
    source = Category(lambda i: i, position - 1 - end + sign, 0, window - 1, name="source of a")
    last = Category(lambda d: d == 0, position - end, -window, window, name="last slot")
    a = Copy(Select(index, source, lambda key, query: key == query), token, _digit, 0, name="a")
    return a, b, last


def to_the_right(i: int, j: int) -> int | None:
    return j - i - 1 if j > i else None


def _at_or_left(i: int, j: int) -> int | None:
    return i - j if j <= i else None


def addition(window: int) -> Categorical:
    """`a+b=` → the sum, its last digit at the end mark, blanks before; always four layers."""
    a, b, last = operands(window, "+")
    total = Number(int, a) + Number(int, b)
    kind = Category(lambda s: "generates" if s > 9 else "passes" if s == 9 else "absorbs",
                    total, 0, 18, name="kind")  # fmt: skip
    decides = Nearest(kind, lambda k: k != "passes", to_the_right)
    carry = Copy(decides, kind, lambda k: k == "generates", False, name="carry")
    digit = Category(lambda s: str(s % 10), total + Number(int, carry), 0, 19, name="digit")
    begun = Nearest(digit, lambda d: d != "0", _at_or_left)
    started = Copy(begun, digit, lambda _: True, False, name="started")
    return Zip(lambda d, on, end: d if on or end else BLANK, (digit, started, last), name="sum")


def subtraction(window: int) -> Categorical:
    """`a-b=` → the difference with its sign, aligned as `addition`'s sum; four layers."""
    a, b, last = operands(window, "-")
    gap = Category(lambda d: d, Number(int, a) - Number(int, b), -9, 9, name="gap")
    differs = Nearest(gap, lambda d: d != 0, to_the_right)
    below = Copy(differs, gap, lambda d: 1 if d > 0 else -1, 0, name="sign to the right")
    first = Nearest(gap, lambda d: d != 0, lambda i, j: j)
    sign = Copy(first, gap, lambda d: 1 if d > 0 else -1, 1, name="sign")
    digit = Zip(lambda d, s, r: str((s * d - (s * r < 0)) % 10), (gap, sign, below), name="digit")

    def started(until: int) -> Copy:
        begun = Nearest(digit, lambda d: d != "0", lambda i, j: _at_or_left(i + until, j))
        return Copy(begun, digit, lambda _: True, False, name=f"started by {until}")

    def written(d: str, on: bool, soon: bool, s: int, end: bool) -> str:
        if on or end:
            return d
        return "-" if soon and s < 0 else BLANK

    return Zip(written, (digit, started(0), started(1), sign, last), name="difference")


def _round(numbers: range, carry: Callable[[int], int]) -> Categorical:
    token = Token(tuple(map(str, numbers)), name="number")
    right = Nearest(token, lambda _: True, lambda i, j: 0 if j == i + 1 else None)
    comes = Copy(right, token, lambda n: carry(int(n)), 0, name="comes from the right")
    return Zip(lambda n, c: str(int(n) - 10 * carry(int(n)) + c), (token, comes), name="carried")


def add_carry(window: int) -> Categorical:
    """One round of the published addition's carries, sums of two digits at each place (§2.3)."""
    return _round(range(20), lambda n: int(n > 9))


def sub_carry(window: int) -> Categorical:
    """One round of the published subtraction's borrows, differences at each place."""
    return _round(range(-9, 10), lambda n: -int(n < 0))
