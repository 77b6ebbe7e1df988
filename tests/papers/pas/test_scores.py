"""Scores of a study worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pas_study import GROUP, KEYING, OWN, STUDY, X, Y, people, study, subject
from workbench.data.inventories import Inventory, Item
from workbench.data.respondents import Respondents
from workbench.errors import RunError
from workbench.papers.pas import scores
from workbench.papers.pas.search import chosen
from workbench.papers.pas.study import Group


def test_which_alpha_each_rule_takes():
    assert chosen([X, Y], "alpha 0") == [0, 0]
    assert chosen([X, Y], "validated") == [1, 0]  # a tie goes to the smaller alpha
    assert chosen([X, Y], "one alpha") == [0, 0]  # 4, 4 and 5 in all
    assert chosen([X, Y], "oracle") == [2, 1]
    later = subject("z", X.answers, [9, 1, 1], [3, 1, 0])
    assert chosen([later, Y], "one alpha") == [1, 1]
    assert scores.answers([X, Y], "validated").tolist() == [[5, 1, 3, 3], [3, 3, 3, 3]]


def test_subjects_of_all_seeds():
    other = Group(1, people([OWN[0], OWN[1]], ("y", "w")), {"pas": [X, Y]}, [])
    everybody = scores.pooled(study(GROUP, other))
    assert everybody.ids == ("x", "y", "w")
    assert everybody.values.tolist() == [OWN[0].tolist(), OWN[1].tolist(), OWN[1].tolist()]
    curves = scores.curves(study(GROUP, other), "test")
    assert curves == {"pas": {0.0: [2.5, 2.5], 1.0: [1.0, 1.0], 2.0: [2.0, 2.0]}}
    assert scores.curves(STUDY, "validation")["pas"] == {0.0: [2.0], 1.0: [2.0], 2.0: [2.5]}


def test_correlations():
    predicted = scores.answers([X, Y], "validated")
    np.testing.assert_allclose(scores.correlations(GROUP.respondents, predicted), [1.0, 0.0])
    three = people([[3, 3, 5, 1, 3, 3, 5, 2], [3, 3, 2, 3, 3, 3, 2, 0], [3, 3, 4, 4, 3, 3, 1, 4]],
                   ("a", "b", "c"))  # fmt: skip
    answered = np.array([[4, 2, 5, 1], [3, 3, 2, 2], [5, 5, 3, 4]])
    # Means of each trait, the negative item reversed, the missing answer left out.
    own = {"A": [5.0, 2.5, 3.0], "C": [4.5, 2.0, 1.5]}
    predicted = {"A": [4.0, 3.0, 3.0], "C": [5.0, 3.0, 2.5]}
    expected = [np.corrcoef(own[t], predicted[t])[0, 1] for t in "AC"]
    found = scores.correlations(three, answered)
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("count", [2, 3, 10, 30])
def test_equal_means_have_no_correlation_whatever_their_last_digit(count):
    """Means of 10/3, whose spread computed is not 0."""
    everybody = people([[3, 3, 5, 1, 3, 3, 5, 2]] * count, [str(n) for n in range(count)])
    assert np.isnan(scores.correlations(everybody, np.tile([4, 2, 5, 1], (count, 1)))).all()
    items = tuple(Item(f"q{n}", f"say {n}", "A", "f", 1, "train") for n in range(2))
    tests = tuple(Item(f"t{n}", f"tell {n}", "A", "f", 1, "test") for n in range(3))
    values = np.random.default_rng(0).integers(1, 6, (count, 5))
    values[0], values[1] = 1, 5
    names = tuple(map(str, range(count)))
    everybody = Respondents(Inventory("x", items + tests), values, names, "raw", KEYING)
    same = np.tile([3, 3, 4], (count, 1))
    assert scores.correlations(everybody, same).tolist() == [0.0]


def test_answers_that_collapse_under_steering_fail_the_run():
    assert scores.check(STUDY) == ""
    answers = subject("x", [[3, 1, 3, 4], [5] * 4, [4] * 4], [2, 1, 1], [2, 1, 1])
    with pytest.raises(RunError, match=r"^pas: .* collapsed .*\{5: 8\}\)\. Such a run"):
        scores.check(study(replace(GROUP, searched={"pas": [answers, answers]})))
    flat = subject("x", [[5] * 4] * 3, [1, 1, 1], [1, 1, 1])
    searched = {"pas": [replace(answers, validation=[1, 2, 2])] * 2, "fewshot+pas": [flat, flat]}
    with pytest.raises(RunError, match=r"^fewshot\+pas: the answers have collapsed"):
        scores.check(study(replace(GROUP, searched=searched)))


def test_answers_that_had_collapsed_before_are_a_null_result():
    """Steering moves the constant, for one person alone."""
    flat = subject("x", [[3] * 4, [3] * 4, [3] * 4], [1, 1, 1], [1, 1, 1])
    moved = subject("y", [[3] * 4, [4] * 4, [1] * 4], [2, 1, 1], [2, 1, 1])
    null = study(replace(GROUP, searched={"pas": [flat, moved], "fewshot+pas": [X, X]}))
    told = scores.check(null)
    assert told.startswith("NULL RESULT. pas: the answers have collapsed (0.00 bits")
    assert "{3: 4, 4: 4}). So it was without a persona and not steered: small answers" in told
    assert "fewshot" not in told
    assert scores.collapses(null, "oracle").keys() == {"pas"}
