"""Every symbolic task: the network, the reference and Python give the same."""

import random

import pytest

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
