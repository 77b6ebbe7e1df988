"""Scores of a study worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pas_study import GROUP, OWN, STUDY, X, Y, people, study, subject
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


def test_collapsed_answers_fail_the_run():
    scores.check(STUDY)
    flat = subject("x", [[5] * 4] * 3, [1, 1, 1], [1, 1, 1])
    with pytest.raises(RunError, match=r"fewshot\+pas: the answers have collapsed"):
        scores.check(study(replace(GROUP, searched={"pas": [X, Y], "fewshot+pas": [flat, flat]})))
