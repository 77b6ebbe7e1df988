"""The gallery's programs: network, reference and Python give the same, on all small inputs."""

import random

import pytest

from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.reference import evaluate


@pytest.mark.parametrize(("name", "size"), {"sort": 4, "brackets": 9, "histogram": 4,
                                            "comparison": 2}.items())  # fmt: skip
def test_all_small_inputs(name, size):
    task = GALLERY[name]
    inputs = list(task.small(size))
    assert task.run(inputs) == [task.answer(given) for given in inputs]


@pytest.mark.parametrize("name", GALLERY)
def test_long_inputs_and_the_reference(name):
    task, rng = GALLERY[name], random.Random(0)
    inputs = [task.draw(rng, n) for n in (1, 2, 6, 7) for _ in range(12)]
    inputs += [each for n in (1, 2, 7) for each in task.hard(n)]
    inputs += [task.draw(rng, 22) for _ in range(8)]
    answers = task.run(inputs)
    assert answers == [task.answer(given) for given in inputs]
    for given, answer in list(zip(inputs, answers, strict=True))[::7]:
        symbols = task.symbols(given)
        program = task.program(task.window(len(symbols)))
        assert task.spelled(evaluate(program, symbols)) == answer


def test_truths_by_hand():
    answers = {name: task.answer for name, task in GALLERY.items()}
    assert answers["sort"]("3102") == "0123"
    assert [answers["brackets"](s) for s in ("()", "(())()", ")(", "(()", "())")] == [
        "yes", "yes", "no", "no", "no"]  # fmt: skip
    assert answers["histogram"]("abca") == "2 1 1 2"
    assert [answers["comparison"](s) for s in ("7?12", "12?7", "07?7")] == ["<", ">", "="]


def test_inputs_are_drawn_of_both_kinds():
    rng = random.Random(1)
    drawn = [GALLERY["brackets"].draw(rng, 12) for _ in range(40)]
    assert {len(each) for each in drawn} == {12}
    assert 8 < sum(GALLERY["brackets"].answer(each) == "yes" for each in drawn) < 32
