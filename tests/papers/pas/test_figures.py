"""Figures and sentences hold the numbers of a study worked out by hand."""

from dataclasses import replace

import numpy as np

from tests.helpers.pas_study import EVERYTHING, GROUP, KEYING, STUDY, people, study
from workbench.papers.pas import figures, sentences, tables
from workbench.papers.pas.study import Geometry

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


def test_scores_by_alpha():
    everything = study(replace(GROUP, searched=EVERYTHING))
    # x errs 3, 1, 0 and y 2, 1, 4.
    assert lines(figures.alphas(STUDY)) == {"pas": ([0.0, 1.0, 2.0], [2.5, 1.0, 2.0])}
    assert list(lines(figures.alphas(everything))) == ["pas", "fewshot+pas", "p2+pas"]
    controls = lines(figures.controls(everything))
    assert list(controls) == ["pas", "pas centered", "pas weighted", "pas shuffled"]
    assert controls["pas centered"][1] == [3.0, 1.0, 0.0]
    none = replace(everything, settings=replace(everything.settings, controls=0))
    assert "No controls in this run" in figures.controls(none).data
    (reference,) = figures.alphas(STUDY).layout.shapes
    assert reference.y0 == 2.5


def test_scores_end_with_the_subjects_that_dpo_tuned():
    methods = [row["method"] for row in tables.scores(STUDY)]
    assert methods[0] == "always (A)"
    assert methods[-2:] == ["DPO per subject", "pas, validated, DPO's subjects only"]
    two = study(GROUP, replace(GROUP, seed=1, respondents=people(ids=("v", "w"))))
    assert [tables.over(s) for s in (STUDY, two)] == ["subjects", "seeds and subjects"]


def test_people():
    assert "Subject y" in figures.facets(people(), 1).layout.title.text
    assert "x, who gains most" in figures.extreme(STUDY).layout.title.text
    # y, whose alpha stays 0, answers as without a persona.
    y = replace(
        GROUP, respondents=GROUP.respondents.take([1]),
        searched={"pas": GROUP.searched["pas"][1:]}, tuned=[],
    )  # fmt: skip
    assert "y, though nobody gains" in figures.extreme(study(y)).layout.title.text
    assert tables.over(study(y)) == "one subject alone"
    assert len(tables.statements(people())) == 6
    assert "scored on released" in tables.references(people())[-1]["predictor"]
    assert tables.published()[-1]["Score"] == 4.41


def test_directions():
    (dots,) = figures.yea_saying(GEOMETRY).data
    assert (list(dots.x), list(dots.y), list(dots.text)) == ([0.5, -0.1], [0.2, 0.7], ["x", "y"])
    (cells,) = figures.cosines(GEOMETRY).data
    assert [list(row) for row in cells.z] == GEOMETRY.cosines


def test_sentences():
    assert "2 people, 8 statements; the file is raw, as stated (opp" in sentences.summary(people())
    made_up = replace(people(), keying=replace(KEYING, stated=False), traits=np.zeros((2, 2)))
    assert "2 invented people, 8 statements; the file is raw (opp" in sentences.summary(made_up)
    assert sentences.described(made_up) == "2 invented people"
    # x answers 5 1 4 2 on the train items, y 1 5 3 3.
    assert "off the middle: 2..4, mean 3.0; yea-saying (mean sign): +0.000" in sentences.summary(
        people()
    )
    assert sentences.extraction(GEOMETRY).endswith("Jaccard overlap over splits 0.60")
    assert "4 statements x 2 layers x 8 heads x 16" in sentences.extraction(GEOMETRY)
