"""What is no program is refused where it is written; it was compiled to a wrong network."""

import re
from pathlib import Path

import pytest

from workbench.errors import CompileBudgetError, ProgramInputError
from workbench.papers.neural_comprehension.language import (
    Category,
    Copy,
    Count,
    Gate,
    Index,
    Map,
    Number,
    Position,
    Select,
    Token,
    Zip,
)
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.reference import evaluate

TOKEN, POSITION = Token(("0", "1")), Position(name="place")
EVERY = Select(TOKEN, TOKEN, lambda *_: True)

MADE_WRONG = {
    "numbers as keys": (lambda: Select(POSITION, TOKEN, lambda *_: True), "keys is place"),
    "numbers as queries": (lambda: Select(TOKEN, POSITION, lambda *_: True), "queries is place"),
    "a map of numbers": (lambda: Map(str, POSITION), r"of is place .*must be Categorical"),
    "a zip with numbers": (lambda: Zip(min, (TOKEN, POSITION)), r"of is .*Sequence\[Categorical\]"),
    "a zip of nothing": (lambda: Zip(min, ()), r"of is \(\)"),
    "a zip of one node": (lambda: Zip(str, TOKEN), "of is Token at"),
    "a number of numbers": (lambda: Number(int, POSITION), "of is place"),
    "a copy of numbers": (lambda: Copy(EVERY, POSITION), "of is place"),
    "a copy without selector": (lambda: Copy(TOKEN, TOKEN), "selector is Token at"),
    "a node as default": (lambda: Copy(EVERY, TOKEN, default=TOKEN), "default is Token at"),
    "a gate on values": (lambda: Gate(str, TOKEN, TOKEN), "condition is Token at"),
    "a category of values": (lambda: Category(str, TOKEN, 0, 1), "must be Numeric"),
    "half a number": (lambda: POSITION + 0.5, "constant is 0.5; it must be int"),
    "half of a number": (lambda: POSITION * 0.5, "terms is"),
    "a bound as text": (lambda: Category(str, POSITION, "0", 1), "low is '0'; it must be int"),
    "no function": (lambda: Map("1", TOKEN), "function is '1'"),
    "numbers as symbols": (lambda: Token((0, 1)), r"vocabulary is \(0, 1\)"),
    "no symbols": (lambda: Token(()), r"vocabulary is \(\)"),
    "a symbol twice": (lambda: Token(("0", "1", "1")), "has a symbol twice"),
    "an end of its own": (lambda: Token(("0", "1"), end="="), "the vocabulary has no '='"),
    "a mark of its own": (lambda: Token(("0", "1"), ("+",)), r"the vocabulary has no '\+'"),
}


@pytest.mark.parametrize("case", MADE_WRONG)
def test_what_a_node_cannot_be_made_of_is_named_with_its_line(case):
    make, message = MADE_WRONG[case]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        make()
    assert re.search(rf"{Path(__file__).name}:\d+", str(caught.value))


HALF = Number(lambda bit: int(bit) / 2, TOKEN)
COMPILED_WRONG = {
    "number as program": (Number(int, TOKEN), "last node must be categorical"),
    "selector as program": (EVERY, "last node must be categorical"),
    "no program": (None, "None: .*categorical"),
    "halves": (Category(str, HALF, 0, 1), "0.5 is no whole number|0.0 is no whole number"),
    "none as number": (Category(str, Number(lambda _: None, TOKEN), 0, 1), "None is no whole"),
    "1 and True": (Map(lambda bit: True if bit == "0" else 1, TOKEN), "True and 1 are equal"),
    "1 and 1.0": (Copy(EVERY, TOKEN, lambda _: 1.0, default=1), "1.0 and 1 are equal"),
    "lists": (Map(lambda bit: [bit], TOKEN), r"\['0'\] can change"),
}


@pytest.mark.parametrize("case", COMPILED_WRONG)
def test_values_that_a_network_cannot_hold_are_named_when_it_is_compiled(case):
    program, message = COMPILED_WRONG[case]
    with pytest.raises(ProgramInputError, match=message):
        compile_program(program, 4)


def test_no_window_is_too_large_to_be_refused():
    for program in (Count(EVERY, lambda n: str(n % 2)), Copy(Select(Index(), TOKEN, min), TOKEN)):
        with pytest.raises(CompileBudgetError, match="1,000,000,000"):
            compile_program(program, 10**9)


def test_what_is_no_program_means_nothing():
    with pytest.raises(TypeError, match="its last node, not a function"):
        evaluate(lambda: TOKEN, "01")
