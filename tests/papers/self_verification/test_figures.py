"""Figures of a question and a study: what is marked, and a note where there is nothing to show."""

from dataclasses import replace

import plotly.graph_objects as go
from IPython.display import HTML

from tests.helpers.comparisons import (
    AGREED,
    HOPELESS,
    OTHER,
    RIGHT,
    comparison,
    question,
    study,
)
from workbench.papers.self_verification import figures
from workbench.papers.self_verification.conditions import Condition


def test_the_masked_span_is_marked_and_text_is_escaped():
    verified = replace(RIGHT, stated="Tom has 3 <b> pens.", conditions=[Condition(8, 9, "3")])
    page = figures.marked(verified).data
    assert "Tom has <span" in page
    assert ">3<sub>1</sub></span> &lt;b&gt; pens." in page
    assert "gold: 7" in page
    missed = replace(verified, conditions=[Condition(0, 0, "3", visible=False)])
    assert "<span" not in figures.marked(missed).data


def test_a_telling_question_is_one_that_verification_rescued():
    rescued = replace(RIGHT, answers=["9", "7", "7"])
    assert figures.telling([AGREED, HOPELESS, rescued, RIGHT]) is rescued
    assert figures.telling([AGREED, HOPELESS]) is HOPELESS
    assert figures.telling([AGREED]) is AGREED
    # Right by its place alone: nothing was recovered, so nothing was rescued.
    silent = question(["", "7", "9"], [[[0, 0]], [[0, 0]]])
    assert figures.telling([silent, HOPELESS]) is HOPELESS
    title = figures.decision(silent).layout.title.text.replace("<br>", " ")
    assert "chosen: 7 (nothing recovered by cmv: the earliest candidate)" in title


def test_a_question_nothing_was_verified_of_leaves_a_note():
    assert "Nothing was put to the model: the only candidate." in figures.backward(AGREED).data
    assert "chosen: 7 (the only candidate), gold: 7" in figures.decision(AGREED).data
    unread = question(["", ""], [])
    assert "no answer found in any forward sample" in figures.backward(unread).data
    assert isinstance(figures.forward(AGREED), go.Figure)


def test_rates_of_a_verified_question_by_candidate_and_condition():
    (heat,) = figures.decision(RIGHT).data
    assert [list(row) for row in heat.z] == [[1.0, 0.5], [0.0, 0.5]]
    assert list(heat.y) == ["7 (score 3, right)", "9 (score 1)"]


def test_a_study_is_drawn_without_other_stages():
    made = study(comparison(RIGHT, OTHER), comparison(RIGHT, OTHER))
    curves = figures.costs(made)
    assert [trace.name for trace in curves.data][:3] == ["SC", "SV", "SC + SV"]
    assert isinstance(figures.recovery(made), go.Figure)
    assert isinstance(figures.stages(made), HTML)
    assert isinstance(figures.recovery(study(comparison(AGREED))), HTML)
