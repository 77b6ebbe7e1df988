"""Conclusions: candidates as declarative sentences, and the fallbacks where rewriting fails."""

from dataclasses import replace

import pytest

from tests.helpers.solvers import BARE, PENS, answers, last_question, script, statements
from workbench.data.problems import Problem
from workbench.papers.self_verification.conclusions import swap
from workbench.papers.self_verification.verify import self_verify

SWAPS = [
    ("Of 50 pens, 5 are left, 5.", "5", "7", "Of 50 pens, 5 are left, 7."),  # the last one
    ("He has 5 of 50 pens.", "5", "7", "He has 7 of 50 pens."),
    ("He has 50 pens.", "5", "7", None),
    ("He has 3.5 pens, from 5:30.", "5", "7", None),
    ("He has 1,005 pens of 2,005.", "5", "7", None),
    ("He pays $1,200.00.", "1200", "90", "He pays $90."),
    ("He has five pens.", "5", "7", "He has 7 pens."),
    ("It is 5%.", "5", "2.5", "It is 2.5%."),
    ("It is -5.", "5", "7", None),
    ("It is -5.", "-5", "7", "It is 7."),
    ("It is 1/2.", "0.5", "1/3", "It is 1/3."),
    ("It is 25%.", "5%", "7%", None),
    ("It is $5.20.", "$5", "$7", None),
    ("It is 5cm, not 5 m.", "5 m", "7 m", "It is 5cm, not 7 m."),
    ("He walks 5cm.", "5cm", "x\\1", "He walks x\\1."),
    ("The Yes is yes.", "yes", "no", "The Yes is no."),
    ("Eyes only.", "yes", "no", None),
    ("", "5", "7", None),
]


@pytest.mark.parametrize(("sentence", "old", "new", "expected"), SWAPS)
def test_swap(sentence, old, new, expected):
    assert swap(sentence, old, new) == expected


def test_other_candidates_take_the_first_ones_place():
    solver = script(answers(5, 7, 9), " Of 50 pens he has 5 now.")
    (found,) = self_verify(solver, [PENS], replace(BARE, k=3))
    assert found.conclusions == [f"Of 50 pens he has {x} now." for x in (5, 7, 9)]
    assert solver.stages().count("rewrite") == 1


def test_a_rewriting_without_the_answer_is_asked_again_then_given_up():
    def rewrite(text):
        return " He has 7 pens." if "answer is 7." in text else "  Of 50 pens,\n he keeps some. "

    solver = script(answers(5, 7, 9), rewrite)
    (found,) = self_verify(solver, [PENS], replace(BARE, k=3))
    assert solver.stages().count("rewrite") == 3
    assert found.conclusions == [
        "How many has he? The answer is 5.",
        "He has 7 pens.",
        "How many has he? The answer is 9.",
    ]
    assert found.tokens["rewrite"] == len("Of 50 pens, he keeps some.".split()) * 2 + 4
    empty = script(answers(5, 7), "")
    (found,) = self_verify(empty, [PENS], BARE)
    assert found.conclusions == [f"How many has he? The answer is {x}." for x in (5, 7)]


def test_choices_conclude_with_their_texts():
    one = Problem("1", "aqua", "A lamp costs 80 dollars.", "What do 2 cost?", "B",
                  ("$16", "$160", "$160", "none of these"), "choice")  # fmt: skip
    solver = script(answers("(B)", "D", "(C)"), " Two lamps cost $160.", " The answer is 80.")
    (found,) = self_verify(solver, [one], replace(BARE, k=3))
    assert found.candidates == ["B", "D", "C"]
    assert found.conclusions == [
        "Two lamps cost $160.", "Two lamps cost none of these.", "Two lamps cost $160.",
    ]  # fmt: skip
    assert (found.mode, found.answer, found.correct) == ("cmv", "B", True)
    assert [c.value for c in found.conditions] == ["80"]
    assert found.hits == [[[1]], [[1]], [[1]]]
    assert "What do 2 cost? The answer is $160." in solver.prompts("rewrite")[0]
    assert "Answer choices" not in last_question(solver.prompts("backward")[0])
    assert "Answer choices: (A) $16" in last_question(solver.prompts("forward")[0])


def test_a_date_needs_no_rewriting():
    one = Problem("1", "bigbench_date", "Today is 01/22/2019.",
                  "What is the date one week ago from today in MM/DD/YYYY?", "01/15/2019",
                  kind="date")  # fmt: skip
    solver = script(answers("01/15/2019", "01/16/2019"), None, " The answer is 2019.")
    (found,) = self_verify(solver, [one], BARE)
    assert "rewrite" not in solver.stages()
    assert found.conclusions == [
        f"one week ago from today is 01/{day}/2019." for day in ("15", "16")
    ]
    assert [c.value for c in found.conditions] == ["1", "22", "2019"]
    assert statements(solver)[1] == ("Today is 01/'X'/2019. one week ago from today is 01/15/2019.")
    assert found.hits[0] == [[0], [0], [1]]
    assert found.correct
