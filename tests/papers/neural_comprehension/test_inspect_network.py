"""A network is looked into in its program's words, which the reference and arithmetic confirm."""

import math
import random

import pytest
import torch

from workbench.errors import AmbiguousAggregateError, ProgramInputError
from workbench.papers.neural_comprehension.inspect_network import (
    attending,
    attention,
    decoded,
    differing,
    inspected,
    listing,
    margin,
    read,
)
from workbench.papers.neural_comprehension.language import (
    Average,
    Category,
    Count,
    Map,
    Nearest,
    Number,
    Position,
    Select,
    Token,
    Zip,
)
from workbench.papers.neural_comprehension.tasks import TASKS, task

WINDOW = 16


@pytest.fixture(scope="module")
def looked():
    return {name: inspected(task(name).program(WINDOW), WINDOW, name) for name in TASKS}


def answer(run):
    return task(run.inspected.network.config.program).spelled(list(decoded(run).values())[-1])


@pytest.mark.parametrize("name", list(TASKS))
def test_every_variable_is_what_the_reference_means(looked, name):
    rng, symbolic = random.Random(0), task(name)
    for length in range(1, 7):
        given = symbolic.draw(rng, length)
        run = read(looked[name], symbolic.symbols(given))
        assert differing(run) == []
        assert set(decoded(run)) == set(looked[name].variables)
        assert answer(run) == symbolic.answer(given)
        for variable in attending(looked[name]):
            measured, predicted = attention(run, variable)
            torch.testing.assert_close(measured, predicted, atol=1e-6, rtol=0)
            torch.testing.assert_close(measured.sum(1), torch.ones(len(run.symbols)))


def test_a_variable_is_there_once_it_is_written(looked):
    run = read(looked["addition"], "57+68=")
    steps = looked["addition"].steps
    assert steps[:3] == ["embedding", "layer 0 heads", "layer 0 units"]
    assert len(steps) == len(run.streams) == 9
    by_step = {row["variable"]: row["written by"] for row in listing(looked["addition"])}
    for i in range(len(steps)):
        assert list(decoded(run, i)) == [v for v, s in by_step.items() if steps.index(s) <= i]
    assert set(decoded(run, 0)) == {"token", "index", "position"}
    assert decoded(run, 0)["token"] == list("57+68=")
    assert decoded(run)["kind"][-2:] == ["generates", "generates"]
    assert decoded(run)["carry"][-2:] == [True, False]
    assert by_step["carry"] == "layer 2 heads"


def test_the_listing_names_heads_units_and_dimensions(looked):
    compiled, config = looked["addition"].compiled, looked["addition"].network.config
    rows = {row["variable"]: row for row in listing(looked["addition"])}
    labels = config.labels
    for name, row in rows.items():
        first, _, last = row["dimensions"].partition("–")
        places = range(int(first), int(last or first) + 1)
        assert all(labels[i] == name or labels[i].startswith(f"{name}=") for i in places)
        assert list(places) == list(compiled.of[looked["addition"].variables[name]].values())
    assert rows["b"]["written by"] == "layer 0 units"
    assert rows["b"]["is"] == "Gate(previous, position, place of +)"
    assert rows["a"]["is"] == "Copy(index, source of a, token)"
    assert rows["b"]["line"].startswith("programs.py:")
    assert rows["carry"]["heads"] == "0"
    assert rows["carry"]["units"] == ""
    assert rows["position"]["values"] == "0 to 15"
    units = [row["units"] for row in rows.values() if row["written by"] == "layer 0 units"]
    assert units[0].startswith("0–")
    assert units[-1].endswith(f"–{config.units[0] - 1}")


@pytest.mark.parametrize("name", ["addition", "subtraction", "reverse", "parity"])
def test_a_patched_network_is_the_patched_program(looked, name):
    rng, symbolic, parts = random.Random(1), task(name), looked[name]
    for _ in range(40):
        symbols = symbolic.symbols(symbolic.draw(rng, rng.randint(1, 6)))
        variable, place = rng.choice(list(parts.variables)), rng.randrange(len(symbols))
        domain = parts.compiled.domain[parts.variables[variable]]
        try:
            run = read(parts, symbols, {(variable, place): rng.choice(domain)})
        except (ValueError, AmbiguousAggregateError):  # it means nothing
            continue
        assert differing(run) == [], (symbols, variable, place)


@pytest.mark.parametrize(("a", "b"), [(999, 1), (458, 367), (123, 456), (905, 96)])
def test_a_flipped_carry_travels_as_in_arithmetic(looked, a, b):
    """A digit that carries where it does not, or not where it does, is ten of its kind."""
    width = max(len(str(a)), len(str(b))) + 1
    symbols = f"{a:0{width}}+{b:0{width}}="
    whole = read(looked["addition"], symbols)
    for power in range(width - 1):
        place = len(symbols) - 1 - power
        carries = decoded(whole)["kind"][place]
        flipped = "absorbs" if carries == "generates" else "generates"
        below = (a % 10**power) + (b % 10**power) >= 10**power
        if carries == "passes":
            carries = "generates" if below else "absorbs"
            flipped = "absorbs" if below else "generates"
        run = read(looked["addition"], symbols, {("kind", place): flipped})
        change = 10 ** (power + 1) * (-1 if carries == "generates" else 1)
        assert int(answer(run)) == a + b + change
        changed = differing(run, whole)
        assert {row["variable"] for row in changed} <= {"kind", "carry", "digit", "started", "sum"}
        carried = [row for row in changed if row["variable"] in ("kind", "carry", "digit")]
        assert all(row["position"] <= place for row in carried)
        assert changed[0] == {"variable": "kind", "position": place, "was": whole.meant[
            looked["addition"].variables["kind"]][place], "is": flipped}  # fmt: skip


def test_a_patched_symbol_is_another_sum(looked):
    run = read(looked["addition"], "478+256=", {("token", 0): "9", ("token", 6): "0"})
    assert int(answer(run)) == 978 + 250
    assert differing(run) == []


def test_nothing_of_a_patch_is_left(looked):
    symbols = "999+001="
    before = read(looked["addition"], symbols)
    read(looked["addition"], symbols, {("kind", 7): "absorbs", ("position", 0): 3})
    with pytest.raises(ValueError, match="never"):
        read(looked["addition"], symbols, {("kind", 7): "absorbs", ("carry", 7): "x"})
    after = read(looked["addition"], symbols)
    assert torch.equal(before.streams, after.streams)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({("cary", 0): True}, "did you mean 'carry'"),
        ({("carry", 8): True}, "position=8"),
        ({("carry", -1): True}, "position=-1"),
        ({("carry", 0): "yes"}, "carry .* is never 'yes'"),
        ({("position", 0): 99}, "position .* is never 99"),
        ({("token", 0): None}, "token .* is never None"),
        ({"kind": "absorbs"}, "patch=.*kind"),
        ({("kind", 7, 1): "absorbs"}, "patch=.*position.: value"),
        ([("kind", 7, "absorbs")], "patch=.*position.: value"),
    ],
    ids=range(9),
)
def test_a_patch_that_cannot_be_is_refused(looked, patch, message):
    with pytest.raises(ValueError, match=message):
        read(looked["addition"], "999+001=", patch)


def test_inputs_and_variables_that_are_not_read_are_refused(looked):
    with pytest.raises(ProgramInputError, match="'x' at position 1"):
        read(looked["addition"], "1x1=")
    run = read(looked["addition"], "1+1=")
    with pytest.raises(ValueError, match="use one of"):
        attention(run, "token")


def test_equal_names_are_told_apart():
    token = Token(("0", "1"))
    twice = Map(lambda n: n, Map(lambda n: n, Count(Select(token, token, lambda k, q: True), str)))
    assert list(inspected(twice, 4).variables) == ["token", "count", "map", "map 2"]


def test_the_margin_says_whether_the_network_reads_right():
    parts = inspected(task("parity").program(128), 128, "parity")
    network = inspected(task("parity").program(128), 128, "parity").network.to(torch.bfloat16)
    network.allow_uncertified = True
    wrong = 0
    for count in range(1, 129, 3):
        symbols = "1" * count
        run = read(parts, symbols, dtype=torch.bfloat16)
        in_half = margin(run)
        logits = network(network.encode([symbols]), output_attentions=True).logits
        told = network.decode(logits, [count])[0]
        assert (told == [str(count % 2)] * count) == (in_half > 0) == (differing(run) == [])
        assert decoded(run)["parity"] == told
        assert margin(read(parts, symbols)) > 0.99
        logits = logits[0, 1:].tolist()
        right = network.config.outputs.index(str(count % 2))
        clear = [2 * row[right] - 1 for row in logits] + [1 - 2 * row[1 - right] for row in logits]
        assert in_half == min(1.0, *clear)
        wrong += in_half < 0
    assert wrong > 0
    added = inspected(task("addition").program(WINDOW), WINDOW)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert margin(read(added, "57+68=", dtype=dtype)) == 1.0
        assert margin(read(added, "57+68=", {("kind", 5): "absorbs"}, dtype)) == 1.0


def test_variables_have_names_of_their_own_whatever_the_nodes_are_called():
    token = Token(("0", "1"), name="a 3")
    twice = Map(lambda bit: bit, Map(lambda bit: bit, token, name="a"), name="a")
    assert set(inspected(twice, 2).variables) == {"a 3", "a", "a 2"}


def test_a_count_of_the_nearest_shares_nothing_with_bos():
    token = Token(("0", "1"))
    right = Nearest(token, lambda bit: bit == "1", lambda i, j: j - i if j >= i else None)
    parts = inspected(Count(right, str), 4)
    run = read(parts, "0110")
    measured, predicted = attention(run, "count")
    assert predicted.tolist() == [
        [0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [1, 0, 0, 0, 0],
    ]
    assert measured.equal(predicted)


@pytest.mark.parametrize("patch", [{("carry", 0): [1]}, {("position", 0): "x"},
                                   {("position", 0): None}], ids=repr)  # fmt: skip
def test_values_of_another_kind_are_refused(patch, looked):
    with pytest.raises(ValueError, match="is never"):
        read(looked["addition"], "5+6=", patch)


def test_numbers_that_are_too_large_for_a_dtype_are_no_margin():
    token = Token(("0", "1"))
    high = Category(lambda n: n > 0, 70_000 * Number(int, token) - 1, -1, 70_000)
    parts = inspected(Map(str, high), 2)
    assert margin(read(parts, "01")) == 1
    run = read(parts, "01", dtype=torch.float16)
    assert math.isnan(margin(run))
    assert decoded(run)["map"] == [None, None]


def test_a_mean_is_the_reference_s_but_for_rounding():
    token = Token(("0", "1"))
    every = Select(token, token, lambda key, query: True)
    middle = Average(every, Position(), name="middle")
    parts = inspected(Category(str, middle, 0, 64), 65)
    for n in range(1, 66, 2):
        run = read(parts, "0" * n)
        assert differing(run) == []
        assert decoded(run)["middle"] == pytest.approx([n // 2] * n, rel=1e-5)
    with pytest.raises(ValueError, match="1/2 is no whole number"):
        read(parts, "00")


@pytest.mark.parametrize("step", [9, -10, 1.0, "embedding"])
def test_a_step_that_is_none_is_named(looked, step):
    run = read(looked["addition"], "5+6=")
    with pytest.raises(ValueError, match="step="):
        decoded(run, step)


def test_runs_of_two_lengths_or_programs_are_not_compared(looked):
    run = read(looked["addition"], "5+6=")
    for other in (read(looked["addition"], "15+6="), read(looked["subtraction"], "5-6=")):
        with pytest.raises(ValueError, match=r"cannot be held beside \('5', '\+', '6', '='\)"):
            differing(run, other)


def test_a_dtype_may_be_named_and_must_be_one_of_floating_point(looked):
    assert margin(read(looked["addition"], "5+6=", dtype="bfloat16")) == 1.0
    for dtype in ("half a float", torch.int8, 5, None):
        with pytest.raises(ValueError, match="must be one of floating point"):
            read(looked["addition"], "5+6=", dtype=dtype)


def test_sums_of_sums_are_listed_once():
    number = Position(name="place")
    doubled = number * 0
    for _ in range(2000):
        number = number + 1
        doubled = doubled + doubled
    token = Token(("0",), name="token")
    place = Category(str, number - 2000, 0, 9, name="far")
    both = Zip(lambda *_: "x", (token, place, Category(str, doubled, 0, 9)), name="both")
    rows = {row["variable"]: row["is"] for row in listing(inspected(both, 3))}
    assert rows["far"] == rows["category"] == "Category(place)"
    assert rows["both"] == "Zip(token, far, category)"
