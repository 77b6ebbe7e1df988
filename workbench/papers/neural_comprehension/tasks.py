"""The symbolic tasks: program, published size, what a right answer is, and inputs to try it on."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import product
from operator import add, sub

import torch

from workbench.arguments import listed, one_of, shown
from workbench.errors import ProgramInputError
from workbench.papers.neural_comprehension import programs
from workbench.papers.neural_comprehension.language import Categorical
from workbench.papers.neural_comprehension.network import CoNNModel, compile_program

WINDOWS = (16, 48, 96, 192)
"""A network is compiled at the least of these that holds its input: cost follows the operands."""


@dataclass(frozen=True)
class Task:
    """One symbolic task.

    `program`: of a window. `answer`: the right answer of an input without its end mark, by Python.
    `draw(rng, length)`: an input of a length in symbols (arithmetic: digits of each operand).
    `small(size)`: all inputs up to a size; `hard(size)`: adversarial ones of it. `spelled`: the
    answer in the values at an input's positions. `anchored`: inputs end in `=`. `published`:
    parameters (Table 3), 0 for a task that is not the paper's.
    """

    name: str
    program: Callable[[int], Categorical]
    answer: Callable[[str], str]
    draw: Callable[[random.Random, int], str]
    small: Callable[[int], Iterator[str]]
    hard: Callable[[int], Iterator[str]]
    spelled: Callable[[Sequence[str | None]], str]
    anchored: bool
    published: int = 0

    def symbols(self, given: str) -> str:
        """What the network reads. Raises `ProgramInputError` for an end mark of one's own."""
        if not isinstance(given, str):
            raise ProgramInputError(f"{self.name}: {shown(given)} is no text")
        if programs.END in given:
            raise ProgramInputError(
                f"{self.name}: {given!r:.60} holds {programs.END!r}, which is set behind the input"
            )
        return given + programs.END if self.anchored else given

    def run(self, given: Sequence[str]) -> list[str]:
        """The network's answers, one batch per window.

        Raises `ProgramInputError`, naming the input, for what the program does not read, or is
        longer than the largest window.
        """
        read = [self.symbols(each) for each in listed("given", given, empty=True)]
        answers = [""] * len(read)
        windows = [self.window(len(each)) for each in read]
        for i, (symbols, window) in enumerate(zip(read, windows, strict=True)):
            if fault := self.network(window).fault(symbols):
                raise ProgramInputError(f"{self.name}, input {i}: {fault}")
        for window in sorted(set(windows)):
            places = [i for i, each in enumerate(windows) if each == window]
            rows = self.network(window).read([read[i] for i in places])
            for i, row in zip(places, rows, strict=True):
                answers[i] = self.spelled(row)
        return answers

    def window(self, length: int) -> int:
        """The least window that holds so many symbols."""
        for window in WINDOWS:
            if length <= window:
                return window
        raise ProgramInputError(
            f"{self.name}: {length} symbols; the largest network reads {WINDOWS[-1]}"
        )

    def network(self, window: int) -> CoNNModel:
        """The compiled network, made once."""
        return _compiled(self, window)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # asked for by a gate, say: its weights may be changed all the same
def _compiled(task: Task, window: int) -> CoNNModel:
    return compile_program(task.program(window), window, task.name)


def first(row: Sequence[str | None]) -> str:
    """An answer that stands at every position."""
    return row[0] or ""


def aligned(row: Sequence[str | None]) -> str:
    """An answer of a symbol a position, with blanks around it."""
    return "".join(value or "" for value in row).strip(programs.BLANK)


def task(name: str) -> Task:
    """A task by name. Raises `ValueError` for an unknown one."""
    return TASKS[one_of("task", name, tuple(TASKS))]


def text(alphabet: str, rng: random.Random, length: int) -> str:
    return "".join(rng.choices(alphabet, k=length))


def _bits(rng: random.Random, length: int) -> str:
    """As many ones as drawn uniformly, in any order (§4: the text, not the printed code)."""
    ones = rng.randint(0, length)
    bits = ["1"] * ones + ["0"] * (length - ones)
    rng.shuffle(bits)
    return "".join(bits)


def texts(alphabet: str, size: int) -> Iterator[str]:
    for length in range(1, size + 1):
        yield from map("".join, product(alphabet, repeat=length))


def _counts(size: int) -> Iterator[str]:
    """Every number of ones: a count sees nothing else."""
    for ones in range(size, -1, -1):
        yield "1" * ones + "0" * (size - ones)


def _runs(size: int) -> Iterator[str]:
    for unit in ("a", "z", LETTERS):
        yield (unit * size)[:size]


def pair(operator: str, rng: random.Random, digits: int) -> str:
    low = 10 ** (digits - 1) if digits > 1 else 0
    a, b = (rng.randint(low, 10**digits - 1) for _ in range(2))
    return f"{a}{operator}{b}"


def pairs(operator: str, size: int) -> Iterator[str]:
    for a, b in product(range(10**size), repeat=2):
        yield f"{a}{operator}{b}"


def chains(operator: str, digits: int) -> Iterator[str]:
    """Carries and borrows through all digits, and through all but one."""
    nines, one = "9" * digits, "1" + "0" * (digits - 1)
    near = (str(int(one) + 1), str(int(nines) - 1))
    ends = [nines, one, *near, "5" * digits, "4" * digits, "1", "0"]
    for a, b in product(ends, repeat=2):
        yield f"{a}{operator}{b}"
    yield f"{'9' * (2 * digits - 1)}{operator}1"
    for place in range(digits):
        broken = nines[:place] + "8" + nines[place + 1 :]
        yield f"{broken}{operator}1"
        yield f"{one}{operator}{broken.lstrip('0') or '0'}"


LETTERS = "".join(programs.LETTERS)
TASKS = {
    each.name: each
    for each in (
        Task("parity", programs.parity, lambda s: str(s.count("1") % 2), _bits,
             partial(texts, "01"), _counts, first, False, 2_200_000),
        Task("reverse", programs.reverse, lambda s: s[::-1], partial(text, LETTERS),
             partial(texts, "abz"), _runs, aligned, True, 4_300_000),
        Task("last_letter", programs.last_letter, lambda s: s[-1], partial(text, LETTERS),
             partial(texts, "abz"), _runs, first, True, 62_600),
        Task("copy", programs.copy, lambda s: s, partial(text, LETTERS),
             partial(texts, "abz"), _runs, aligned, False, 8_800),
        Task("addition", programs.addition,
             lambda s: str(add(*map(int, s.split("+")))), partial(pair, "+"),
             partial(pairs, "+"), partial(chains, "+"), aligned, True, 51_800_000 + 117_000),
        Task("subtraction", programs.subtraction,
             lambda s: str(sub(*map(int, s.split("-")))), partial(pair, "-"),
             partial(pairs, "-"), partial(chains, "-"), aligned, True, 51_800_000 + 117_000),
    )
}  # fmt: skip
