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
    Nearest,
    Number,
    Position,
    Select,
    Token,
    Zip,
)
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.reference import evaluate, trace

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
    "nothing taken": (lambda: POSITION - None, "constant is None; it must be int"),
    "text taken": (lambda: POSITION - "x", "constant is 'x'; it must be int"),
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
    "lists inside": (Map(lambda bit: (bit, [bit]), TOKEN), r"\('0', \['0'\]\) can change"),
    "no number": (Map(lambda bit: float("nan"), TOKEN), "nan is no value"),
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


def fails(*values):
    raise KeyError(*values)


FAILING = {
    "map": Map(fails, TOKEN, name="bad"),
    "zip": Zip(fails, (TOKEN, TOKEN), name="bad"),
    "number": Category(str, Number(fails, TOKEN, name="bad"), 0, 9),
    "category": Category(fails, POSITION, 0, 9, name="bad"),
    "gate": Gate(fails, TOKEN, POSITION, name="bad"),
    "copy": Copy(Select(TOKEN, TOKEN, lambda k, q: k == q), TOKEN, fails, name="bad"),
    "count": Count(EVERY, fails, name="bad"),
    "select": Count(Select(TOKEN, TOKEN, fails, name="bad"), str),
    "nearest": Copy(Nearest(TOKEN, fails, lambda i, j: j, name="bad"), TOKEN),
    "rank": Copy(Nearest(TOKEN, lambda _: True, fails, name="bad"), TOKEN),
    "arguments": Map(lambda: "1", TOKEN, name="bad"),
}


@pytest.mark.parametrize("case", FAILING)
def test_what_a_function_raises_is_told_with_its_node_and_what_it_was_given(case):
    role = {"select": "predicate", "nearest": "predicate", "rank": "rank"}.get(case, "function")
    error = "TypeError" if case == "arguments" else "KeyError"
    message = rf"bad \({'.*'}, {Path(__file__).name}:\d+\): its {role} raises {error} for ['\d]"
    for attempt in (
        lambda: compile_program(FAILING[case], 4),
        lambda: evaluate(FAILING[case], "01"),
    ):
        with pytest.raises(ProgramInputError, match=message) as caught:
            attempt()
        assert isinstance(caught.value.__cause__, KeyError | TypeError)


def test_programs_are_as_deep_as_they_are():
    number, mapped = POSITION, TOKEN
    for _ in range(2500):
        number = number + 2
    for _ in range(1101):
        mapped = Map(lambda bit: "10"[int(bit)], mapped)
    far = Zip(lambda bit, n: f"{bit}{n}", (TOKEN, Category(lambda n: n - 5000, number, 0, 9999)))
    for program, meant in ((far, ["00", "11", "12"]), (mapped, ["1", "0", "0"])):
        assert evaluate(program, "011") == meant
        assert compile_program(program, 3).read(["011"]) == [meant]


def test_no_message_spells_a_program_out():
    doubled = POSITION
    for _ in range(200):
        doubled = doubled + doubled
    with pytest.raises(TypeError, match=r"of is \(Token at .*, Linear at"):
        Zip(min, (TOKEN, doubled))
    with pytest.raises(ValueError, match="window=a very long int"):
        compile_program(TOKEN, 10**5000)
    with pytest.raises(CompileBudgetError, match="numbers from 0 to a very long int"):
        compile_program(Category(str, POSITION * 10**5000, 0, 9), 4)


@pytest.mark.parametrize("value", [None, "1", 0.5, float("nan"), float("inf")])
def test_the_reference_takes_whole_numbers_only(value):
    number = Number(lambda _: value, TOKEN, name="bad")
    for program in (number, number + 1, Category(str, number, 0, 1)):
        with pytest.raises(ProgramInputError, match=r"bad .*is no whole number"):
            evaluate(program, "01")


@pytest.mark.parametrize(
    "place", [5, (TOKEN, 2), (TOKEN, -1), (POSITION, 0), ("place", 0)], ids=repr
)
def test_what_is_held_is_a_node_at_a_position(place):
    copied = Map(lambda bit: bit, TOKEN)
    assert trace(copied, "01", {(TOKEN, 0): "1"})[copied] == ["1", "1"]
    with pytest.raises(ProgramInputError, match=r"held: .*no \(node, position\) of the program"):
        trace(copied, "01", {place: "1"})
