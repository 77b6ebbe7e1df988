"""Measures of comparisons against counts made by hand."""

from dataclasses import replace

import pytest

from tests.helpers.comparisons import AGREED, HOPELESS, OTHER, PROBLEM, RIGHT, WRONG, comparison
from workbench.papers.self_verification import measures
from workbench.papers.self_verification.conditions import Condition
from workbench.papers.self_verification.decision import Verified


def test_picks_are_table_2_by_hand():
    row = measures.picks([comparison(RIGHT, WRONG, AGREED, HOPELESS)])
    # Contested with one right and one wrong candidate: the first two only.
    assert (row["contested"], row["scored"], row["distinct"]) == (2, 4, 2.0)
    assert row["random_pick"] == 0.5
    assert row["greedy_pick"] == 0.5
    assert row["sv_pick"] == 0.5
    # Scores right: 3/4 and 1/4; wrong: 1/4 and 2/4. Pairs won: 2 + (0 + half a tie).
    assert row["auroc"] == pytest.approx((2 + 0.5) / 4)
    assert (row["score_right"], row["score_wrong"]) == (0.5, 0.375)


def test_no_contested_question_leaves_counts_only():
    assert measures.picks([comparison(AGREED)]) == {"contested": 0, "scored": 1}


def test_recovery_splits_conditions_by_conclusion():
    first, second = measures.recovery([comparison(RIGHT, WRONG)])
    assert (first["family"], first["condition"]) == ("1", 1)
    assert (first["n right"], first["n wrong"]) == (2, 2)
    assert (first["right conclusion"], first["wrong conclusion"]) == (0.5, 0.25)
    assert (second["right conclusion"], second["wrong conclusion"]) == (0.5, 0.5)


def test_right_readings_need_both_answers_and_a_verified_question():
    conditions = [Condition(0, 1, v) for v in ("12", "30", "5")]

    def read(candidates, answer, hits=1):
        problem = replace(PROBLEM, answer="35")
        verified = Verified(problem, [], [], candidates, conditions=conditions, answer=answer)
        verified.hits = [[[1]]] * hits
        return measures.right_readings([verified])

    assert read(["35", "17"], "35") == {PROBLEM.id: 1.0}
    assert read(["17", "35", "4"], "17") == {PROBLEM.id: 0.0}
    assert read(["35", "4"], "35") == {}
    assert read(["35", "17"], "35", hits=0) == {}


def test_gains_are_the_methods_less_the_others():
    assert measures.gains([comparison(OTHER, RIGHT)], "greedy") == [[-1.0, 1.0]]


def test_a_question_counts_as_its_first_seed_answered_it():
    seeds = [comparison(RIGHT), comparison(WRONG, OTHER)]
    assert measures.first_right(seeds, "sv") == [1.0, 0.0]


def test_cost_curves_by_hand():
    """Forward samples have 2 tokens each, the verifier's replies as many as is said here."""
    right = replace(RIGHT, reply_tokens=[[[3, 4], [5, 6]], [[1, 2], [7, 8]]])
    wrong = replace(OTHER, reply_tokens=[[[1, 1], [1, 1]], [[1, 1], [1, 1]]])
    curves = measures.cost_curves(comparison(right, wrong))
    assert curves["SC"] == [(2.0, 1.0), (4.0, 1.0), (6.0, 0.5)]
    # 10 forward; with one sample for each prompt 16 and 4 behind it, with two 36 and 8.
    # Of one sample each, the first question's two answers score alike, the second's 0 and 2.
    assert curves["SV"] == [(20.0, 0.5), (32.0, 0.5)]
    assert curves["SC + SV"] == [(26.0, 0.5), (38.0, 0.5)]
