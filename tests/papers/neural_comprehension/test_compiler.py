"""Compiled programs mean what the reference says they do; what cannot be compiled is named."""

import random
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.helpers.random_programs import ALPHABET, programs
from workbench.errors import AmbiguousAggregateError, CompileBudgetError, ProgramInputError
from workbench.papers.neural_comprehension import compiler, domains
from workbench.papers.neural_comprehension.compiler import Compiled
from workbench.papers.neural_comprehension.language import (
    Average,
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
from workbench.papers.neural_comprehension.layers import ONE, ONE2, plus
from workbench.papers.neural_comprehension.network import compile_program
from workbench.papers.neural_comprehension.reference import evaluate
from workbench.papers.neural_comprehension.tasks import TASKS

INPUTS = [
    *("".join(letters) for n in (1, 2, 3) for letters in product(ALPHABET, repeat=n)),
    *("".join(random.Random(n).choices(ALPHABET, k=4 + n % 2)) for n in range(12)),
]


def meant(program, inputs):
    """(input, the reference's values as text) of those on which the program has a meaning."""
    for text in inputs:
        try:
            values = evaluate(program, text)
        except (AmbiguousAggregateError, ValueError):
            continue  # copies differ, or a mean is no whole number
        yield text, [None if value is None else str(value) for value in values]


@settings(max_examples=150, deadline=None)
@given(programs(), st.integers(3, 5))
def test_random_programs_compute_what_the_reference_does(program, window):
    pairs = list(meant(program, [text for text in INPUTS if len(text) <= window]))
    assume(pairs)
    try:
        network = compile_program(program, window)
    except (CompileBudgetError, ProgramInputError):
        assume(False)  # numbers beyond all need, or no value anywhere
    assert network.read([text for text, _ in pairs]) == [values for _, values in pairs]


def previous(token, default=None):
    return Copy(Nearest(token, lambda _: True, lambda i, j: 0 if j == i - 1 else None), token,
                default=default)  # fmt: skip


def alone(program, inputs, window=4):
    """Network and reference agree; what they say."""
    rows = compile_program(program, window).read(inputs)
    assert rows == [values for _, values in meant(program, inputs)]
    return rows


def test_none_makes_none_and_a_default_stands_in():
    token = Token(ALPHABET)
    other = Map(lambda letter: None if letter == "a" else letter, token)
    assert alone(other, ["abc"]) == [[None, "b", "c"]]
    assert alone(Zip(lambda x, y: x + y, (token, other)), ["abc"]) == [[None, "bb", "cc"]]
    assert alone(previous(token), ["abc"]) == [[None, "a", "b"]]
    assert alone(previous(token, "z"), ["abc"]) == [["z", "a", "b"]]
    # Nothing there counts as 0 for a number, and as no value where it is copied from.
    count = Number(lambda letter: 5, other)
    assert alone(Category(lambda n: n, count, 0, 9), ["ab"]) == [["0", "5"]]
    before = Nearest(token, lambda _: True, lambda i, j: 0 if j == i - 1 else None)
    assert alone(Copy(before, other, default="z"), ["ab"]) == [["z", None]]
    assert alone(previous(other, "z"), ["ab"]) == [["z", "z"]]


def test_the_row_of_bos_counts_as_nothing_behind_any_default():
    token = Token(ALPHABET)
    before = previous(token, "z")
    again = previous(before, "y")
    assert alone(again, ["abc"]) == [["y", "z", "a"]]
    same = Select(before, before, lambda key, query: key == query)
    assert alone(Count(same, lambda n: n), ["abc", "aab"]) == [["1"] * 3, ["1", "2", "2"]]
    number = Average(Select(token, token, lambda key, _: key == "c"), Position(), default=-3)
    assert alone(Category(lambda n: n, number, -9, 9), ["abc", "ab"]) == [["2"] * 3, ["-3"] * 2]
    far = Average(Select(token, token, lambda key, _: key == "c"), Position(), default=90)
    place = Category(lambda n: n, far, -9, 99)
    alike = Count(Select(place, place, lambda key, query: key == query), lambda n: n)
    assert alone(alike, ["abc", "ab"]) == [["3"] * 3, ["2"] * 2]
    held = Gate(lambda z: z, before, number * -1)
    assert alone(held, ["ab", "abc"]) == [["z", "a"], [None] * 3]


def test_a_node_twice_in_a_zip_and_a_count_of_none():
    token = Token(ALPHABET)
    assert alone(Zip(lambda x, y: x + y, (token, token)), ["ab"]) == [["aa", "bb"]]
    every = Select(token, token, lambda *_: True)
    assert alone(Count(every, lambda n: n if n % 2 else None), ["abc", "ab"]) == [
        ["3"] * 3, [None] * 2]  # fmt: skip


def test_places_that_only_an_ordered_head_needs_and_a_window_of_one():
    token = Token(ALPHABET)
    index = Index()
    late = Zip(lambda letter, i: f"{letter}{i}", (previous(token, "z"), index))
    assert alone(late, ["abc"]) == [["z0", "a1", "b2"]]
    assert alone(previous(token, "z"), ["a"], window=1) == [["z"]]
    last = Copy(Nearest(token, lambda x: x == "a", lambda i, j: j), token, default="-")
    network = compile_program(last, 1)
    assert network.read(["a", "b"]) == [["a"], ["-"]]
    states = network(network.encode(["b"]), output_hidden_states=True).hidden_states
    assert states[-1].frac().eq(0).all()


def test_the_least_rank_wins_exactly_over_many_near_ones():
    token = Token(ALPHABET)
    nearest = Nearest(token, lambda x: x != "a", lambda i, j: i - j if j <= i else None)
    program = Copy(nearest, token, default="-")
    inputs = ["".join(random.Random(n).choices(ALPHABET, k=60)) for n in range(6)]
    rows = compile_program(program, 60).read(inputs)
    assert rows == [evaluate(program, text) for text in inputs]


def test_nodes_take_the_first_sublayer_behind_their_inputs():
    layers = {name: Compiled(task.program(16), 16).n_layers for name, task in TASKS.items()}
    assert layers == {
        "parity": 1, "reverse": 2, "last_letter": 2, "copy": 1, "addition": 4, "subtraction": 4
    }  # fmt: skip
    token = Token(ALPHABET)
    mapped = Map(lambda x: x, token)
    compiled = Compiled(previous(mapped), 4)
    assert [compiled.depth[node] for node in (token, mapped, compiled.program)] == [0, 2, 3]
    count = Count(Select(token, token, lambda *_: True), lambda n: n)
    twice = Number(lambda n: n, count) * 2
    program = Category(lambda n: n, twice, 0, 9)
    compiled = Compiled(program, 4)
    assert [compiled.depth[node] for node in (count, twice, program)] == [2, 2, 4]
    assert [len(compiled.layers[i].heads) for i in range(compiled.n_layers)] == [1, 0]


def test_labels_say_what_every_dimension_is():
    network = TASKS["addition"].network(16)
    assert len(network.config.labels) == network.config.d_model
    assert {"one", "bos", "digit=7", "carry=True", "position"} <= set(network.config.labels)


def test_copies_of_positions_that_differ_name_node_and_position():
    token = Token(ALPHABET)
    every = Select(token, token, lambda *_: True)
    program = Copy(every, token, name="any letter")
    assert evaluate(program, "aaa") == ["a"] * 3
    with pytest.raises(
        AmbiguousAggregateError, match=r"any letter \(Copy, .*:\d+\).*position 0.*'a', 'b'"
    ):
        evaluate(program, "ab")
    half = Category(lambda n: n, Average(every, Position()), 0, 9, name="middle")
    with pytest.raises(ValueError, match=r"middle .*1/2 is no whole number"):
        evaluate(half, "ab")


def ranked(rank):
    return lambda token: Copy(Nearest(token, bool, rank), token)


BUDGETS = {
    "zip": (30, lambda _: Zip(lambda *i: i[0], [Index()] * 4, name="many"), "many.*810,000 comb"),
    "head": (5000, previous, "5,002 dimensions of a head"),
    "large": (
        5000,
        lambda _: Category(lambda n: n, Position() * 10**6, 0, 9),
        "to 4999000000, 1048576 at most",
    ),
    "wide": (5000, lambda _: Category(lambda n: n, Position() * 200, 0, 10**9), "999,801 numbers"),
    "pairs": (
        5000,
        lambda token: Copy(Select(Index(), Index(), lambda k, q: k == q), token),
        "25,000,000 pairs",
    ),
    "same rank": (30, ranked(lambda i, j: 0), "different whole numbers"),
    "negative rank": (30, ranked(lambda i, j: -j), "numbers from 0 to 30"),
    "half a rank": (30, ranked(lambda i, j: j + 0.5), "different whole numbers"),
}


@pytest.mark.parametrize("case", BUDGETS)
def test_programs_that_are_too_large_or_ranked_wrongly_are_named_with_their_line(case):
    window, make, message = BUDGETS[case]
    with pytest.raises(CompileBudgetError, match=message) as caught:
        Compiled(make(Token(ALPHABET)), window)
    assert re.search(rf"{Path(__file__).name}:\d+", str(caught.value))


def test_weights_beyond_what_a_machine_holds_are_refused_before_they_are_made(monkeypatch):
    monkeypatch.setattr(compiler, "MOST_WEIGHTS", 10_000)
    with pytest.raises(CompileBudgetError, match=r"index .*weights"):
        Compiled(TASKS["reverse"].program(40), 40)


def test_a_program_reads_one_token_and_has_values():
    with pytest.raises(ProgramInputError, match="has 0"):
        Compiled(Index(), 4)
    with pytest.raises(ProgramInputError, match="has 2"):
        Compiled(Zip(lambda x, y: x, (Token(ALPHABET), Token(ALPHABET))), 4)
    with pytest.raises(ProgramInputError, match=r"nothing \(Map, .* no value"):
        Compiled(Map(lambda _: None, Token(ALPHABET), name="nothing"), 4)


def test_a_zip_of_what_may_be_none_is_warned_of(caplog):
    token = Token(ALPHABET)
    blank = previous(token)
    program = Zip(lambda x, y: x, (token, blank), name="both")
    domains.domains(program, 4)
    assert "both (Zip, " in caplog.text
    assert str(blank) in caplog.text
    caplog.clear()
    domains.domains(Zip(lambda x, y: x, (token, previous(token, "z"))), 4)
    for task in TASKS.values():
        domains.domains(task.program(16), 16)
    assert not caplog.text
    for low, high in ((1, 9), (0, 2)):
        outside = Category(lambda n: n, Position(), low, high, name=f"{low} to {high}")
        domains.domains(Zip(lambda x, y: x, (token, outside)), 4)
        assert f"{low} to {high} (Category" in caplog.text


def test_constants_of_more_than_eight_bits_are_in_two_parts_that_bfloat16_holds():
    for task in TASKS.values():
        if task.name != "parity":  # counts are what bfloat16 cannot hold
            for name, weight in task.network(96).named_parameters():
                assert weight.equal(weight.bfloat16().float()), f"{task.name} {name}"
    numbers = torch.arange(-65_535.0, 65_536)
    parts = torch.tensor(
        [[plus({}, n).get(dim, 0) for dim in (ONE, ONE2)] for n in numbers.tolist()]
    )
    assert parts.sum(1).equal(numbers)
    assert parts.equal(parts.bfloat16().float())


def test_many_numbers_are_compiled_or_refused_before_anything_is_made_of_them():
    token = Token(("a",))
    place = Category(lambda n: n // 60_000, Position() * 2000, 0, 180_000)
    rows = compile_program(Zip(lambda _, n: n, (token, place)), 91).read(["a" * 91])
    assert rows == [[str(2000 * i // 60_000) for i in range(91)]]
    large = {
        "180,00": (91, Category(lambda n: n, Position() * 2000, 0, 180_000)),
        "100,00": (100_000, Map(lambda i: i % 2, Index())),
        "150,00": (150_000, Count(Select(token, token, lambda *_: True), lambda n: n)),
    }
    for most, (window, node) in large.items():
        with pytest.raises(CompileBudgetError, match=rf"{Path(__file__).name}:\d+: {most}\d val"):
            Compiled(Zip(lambda _, value: value, (token, Map(lambda v: v, node))), window)
    with pytest.raises(CompileBudgetError, match=r"Token at .*: 50,000 val"):
        Compiled(Token(tuple(map(str, range(50_000)))), 4)


def test_means_are_refused_where_float32_would_round_them_to_another_number():
    token = Token(("1",))
    every = Select(token, token, lambda *_: True)

    def middle(factor, after=1):
        mean = Average(every, Position() * factor, name="mean") * after
        high = 500 * factor * after
        return Zip(lambda _, n: n, (token, Category(lambda n: n, mean, high - 40, high + 40)))

    assert compile_program(middle(65), 1001).read(["1" * 1001]) == [["32500"] * 1001]
    for program in (middle(1000), middle(10, 100)):
        with pytest.raises(CompileBudgetError, match=r"numbers from 0 to 1000000, 65536 at most"):
            Compiled(program, 1001)
