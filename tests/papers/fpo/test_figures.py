"""Figures of the study hold its numbers."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from tests.helpers.fpo_study import STUDY
from workbench.papers.fpo import figures
from workbench.papers.fpo.study import FeatureEnd


def test_what_is_logged_is_drawn_and_nothing_else():
    figure = figures.parts_of_u(STUDY)
    assert [a.text for a in figure.layout.annotations] == ["LN-DPO", "FPO α=0.5", "FPO α=50"]
    assert {t.name for t in figure.data if t.name} == {"fpo/u", "fpo/margin"}
    line = next(t for t in figure.data if t.name == "fpo/u")
    assert (list(line.x), list(line.y)) == ([5, 10], [1.0, 2.0])
    assert figures.curves(STUDY, "LN-DPO", "absent") == []
    assert len(figures.curves(STUDY, "LN-DPO", "fpo/d_rejected")) == 2


@pytest.mark.parametrize(("share", "title"), [(0.5, "behind 80 %"), (0.0, "D(rejected) is 0")])
def test_features_are_behind_a_distance_only_where_there_is_one(share, title):
    table = pd.DataFrame({"share_rejected": [share, 0.0]})
    figure = figures.penalty(replace(STUDY, ends=[FeatureEnd(STUDY.trained[0], None, table)]))
    assert title in figure.layout.title.text


def dots(figure, name):
    (trace,) = [t for t in figure.data if t.name == name]
    return dict(zip(trace.x, trace.y, strict=True))


def test_dots_are_the_seeds_of_each_condition():
    assert dots(figures.distances(STUDY), "D rejected")["FPO α=50"] == 0.75  # the last seed's
    assert dots(figures.divergences(STUDY), "KL chosen")["TDPO-2"] == 2.5
    shift = figures.stream_shift(STUDY)
    assert dots(shift, "all")["FPO α=50"] == 0.4
    assert dots(shift, "outside the SAE")["FPO α=50"] == pytest.approx(0.2)


def test_the_drift_of_both_ends_stands_side_by_side():
    pooled = {(who, "rejected"): scipy.sparse.csr_matrix(np.array([[0.0, 2.0], [4.0, 2.0]]) * x)
              for who, x in (("ref", 1), ("policy", 2))}  # fmt: skip
    ends = [
        FeatureEnd(t, SimpleNamespace(pooled=pooled), pd.DataFrame())
        for t in (STUDY.trained[0], STUDY.trained[4])
    ]
    figure = figures.drift(replace(STUDY, ends=ends))
    assert [a.text for a in figure.layout.annotations] == ["LN-DPO", "FPO α=50"]
    dots = [t for t in figure.data if t.mode == "markers"]
    assert len(dots) == 2
    assert (list(dots[0].x), list(dots[0].y)) == ([2.0, 2.0], [4.0, 4.0])
