"""Figures and sentences hold the numbers of a study worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.pas_study import EVERYTHING, GROUP, KEYING, STUDY, people, study
from workbench.papers.pas import figures, sentences
from workbench.papers.pas.study import Cost, Geometry

GEOMETRY = Geometry(
    [
        {"subject": "x", "lean": 0.5, "share": 0.2, "jaccard": 0.4},
        {"subject": "y", "lean": -0.1, "share": 0.7, "jaccard": 0.8},
    ],
    [[1.0, 0.3], [0.3, 1.0]],
    ["x", "y"],
    (4, 2, 8, 16),
)


def lines(figure):
    """Name → (x, y) of a figure's named lines."""
    return {t.name: (list(t.x), list(t.y)) for t in figure.data if t.name}


def columns(figure):
    """Header → column of a table."""
    (table,) = figure.data
    return dict(zip(table.header["values"], table.cells["values"], strict=True))


def test_scores_by_alpha():
    everything = study(replace(GROUP, searched=EVERYTHING))
    # x errs 3, 1, 0 and y 2, 1, 4.
    assert lines(figures.alphas(STUDY)) == {"pas": ([0.0, 1.0, 2.0], [2.5, 1.0, 2.0])}
    assert list(lines(figures.alphas(everything))) == ["pas", "fewshot+pas", "p2+pas"]
    controls = lines(figures.controls(everything))
    assert list(controls) == ["pas", "pas centered", "pas weighted", "pas shuffled"]
    assert controls["pas centered"][1] == [3.0, 1.0, 0.0]
    (reference,) = figures.alphas(STUDY).layout.shapes
    assert reference.y0 == 2.5


@pytest.mark.parametrize(
    ("draw", "header", "column"),
    [
        (figures.letters, "<b>alpha</b>", ["0.000", "1.000", "2.000"]),
        (figures.times, "<b>method</b>", ["pas", "DPO"]),
        (figures.differences, "<b>difference</b>", ["-1.000", "0.000", "-1.000", "-1.000"]),
    ],
)
def test_tables_of_a_study(draw, header, column):
    assert list(columns(draw(STUDY))[header]) == column


def test_errors_end_with_the_subjects_that_dpo_tuned():
    methods = list(columns(figures.errors(STUDY))["<b>method</b>"])
    assert methods[0] == "always (A)"
    assert figures.errors(STUDY).layout.title.text.endswith("intervals over subjects")
    two = study(GROUP, replace(GROUP, seed=1, respondents=people(ids=("v", "w"))))
    for draw in (figures.errors, figures.differences):
        assert "over seeds and subjects" in draw(two).layout.title.text
    assert methods[-2:] == ["DPO per subject", "pas, validated, DPO's subjects only"]


def test_people():
    assert "Subject y" in figures.facets(people(), 1).layout.title.text
    assert "x, who gains most" in figures.extreme(STUDY).layout.title.text
    assert len(columns(figures.statements(people()))["<b>id</b>"]) == 6
    *_, last = columns(figures.references(people()))["<b>predictor</b>"]
    assert "scored on released" in last
    *_, published = columns(figures.published())["<b>Score</b>"]
    assert published == "4.410"


def test_directions():
    (dots,) = figures.yea_saying(GEOMETRY).data
    assert (list(dots.x), list(dots.y), list(dots.text)) == ([0.5, -0.1], [0.2, 0.7], ["x", "y"])
    (cells,) = figures.cosines(GEOMETRY).data
    assert [list(row) for row in cells.z] == GEOMETRY.cosines


def test_sentences():
    assert "2 people, 8 statements; the file is raw, as stated (opp" in sentences.summary(people())
    made_up = replace(people(), keying=replace(KEYING, stated=False), traits=np.zeros((2, 2)))
    assert "2 invented people, 8 statements; the file is raw (opp" in sentences.summary(made_up)
    assert figures.references(made_up).layout.title.text.startswith("2 invented people, raw values")
    # x answers 5 1 4 2 on the train items, y 1 5 3 3.
    assert "off the middle: 2..4, mean 3.0; yea-saying (mean sign): +0.000" in sentences.summary(
        people()
    )
    bill = sentences.bill(Cost(1200, 300, 90.0), 2)
    assert "1,200 prompts" in bill
    assert "About 3.0 minutes for 2 seeds" in bill
    assert sentences.extraction(GEOMETRY).endswith("Jaccard overlap over splits 0.60")
    assert "4 statements x 2 layers x 8 heads x 16" in sentences.extraction(GEOMETRY)
