"""Every symbolic task: the network, the reference and Python give the same."""

import random

import hypothesis
import pytest
from hypothesis import strategies as st

from workbench.papers.neural_comprehension.reference import evaluate
from workbench.papers.neural_comprehension.tasks import TASKS, task


@pytest.mark.parametrize("name", TASKS)
def test_networks_answer_as_python_and_as_the_reference_do(name):
    rng, each = random.Random(0), task(name)
    inputs = [each.draw(rng, length) for length in (1, 2, 3, 5, 9, 14, 21) for _ in range(12)]
    inputs += list(each.hard(6))
    answers = each.run(inputs)
    assert answers == [each.answer(given) for given in inputs]
    for given, answer in zip(inputs[::5], answers[::5], strict=True):
        read = each.symbols(given)
        assert each.spelled(evaluate(each.program(each.window(len(read))), read)) == answer


@pytest.mark.parametrize("name", ["addition", "subtraction"])
def test_all_operands_of_two_digits(name):
    each = task(name)
    inputs = list(each.small(2))
    assert each.run(inputs) == [each.answer(given) for given in inputs]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.lists(st.tuples(*[st.integers(0, 10**95 - 1)] * 2), min_size=1, max_size=8))
def test_operands_of_up_to_95_digits(operands):
    assert task("addition").run([f"{a}+{b}" for a, b in operands]) == [
        str(a + b) for a, b in operands]  # fmt: skip
    assert task("subtraction").run([f"{a}-{b}" for a, b in operands]) == [
        str(a - b) for a, b in operands]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("copy", ["a" * 20, "ab", "aB"], r"copy, input 2: 'B' at position 1"),
        ("reverse", ["a" * 20, "ab", ""], "reverse, input 2: it is empty"),
        ("addition", ["1+1", "1+1+1"], r"addition, input 1: it has 2 '\+'"),
        ("addition", ["1+1="], "'=', which is set behind"),
        ("subtraction", ["-1-1"], "input 0: it has 2 '-'"),
        ("parity", ["1" * 193], "193 symbols; the largest network reads 192"),
        ("parity", "101", "not one string"),
        ("parity", ["101", None], "parity: None is no text"),
        ("addition", [["1", "+", "1"]], "is no text"),
    ],
)
def test_inputs_that_a_task_does_not_read_are_named(name, given, message):
    with pytest.raises(ValueError, match=message):
        task(name).run(given)


def test_networks_are_made_at_the_least_window_and_once():
    each = task("parity")
    assert [each.window(n) for n in (1, 16, 17, 96, 97, 192)] == [16, 16, 48, 96, 192, 192]
    assert each.network(48) is each.network(48)
    assert each.run([]) == []
