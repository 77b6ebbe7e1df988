"""Reported numbers against closed forms and plain loops."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from workbench.evaluation.intervals import AMOUNT, SHARE
from workbench.evaluation.metrics import FIELDS, measured, metric, over_seeds


def test_metric_refuses_values_outside_their_interval():
    assert metric("a", 0.5, 4, (0.4, 0.6))["ci95"] == [0.4, 0.6]
    inf = math.inf
    for value, interval in ((0.7, (0.4, 0.6)), (math.nan, (0.4, 0.6)), (inf, (0, inf))):
        with pytest.raises(ValueError, match="outside its interval"):
            metric("a", value, 4, interval)


def test_a_share_of_independent_values_has_wilsons_interval():
    for k, n in ((0, 10), (3, 10), (10, 10), (601, 1306)):
        row = measured("share", [1] * k + [0] * (n - k), "questions", (0.25, "the paper's"))
        assert tuple(row) == FIELDS
        assert (row["value"], row["n"], row["unit"]) == (k / n, n, "questions")
        assert (row["published"], row["published_setting"]) == (0.25, "the paper's")
        wilson = binomtest(k, n).proportion_ci(0.95, method="wilson")
        assert row["ci95"] == pytest.approx([wilson.low, wilson.high], abs=1e-9)


def test_no_values_have_no_interval():
    with pytest.raises(ValueError, match="x: no values"):
        measured("x", [], "draws")
    with pytest.raises(ValueError, match=r"x: .*not finite"):
        measured("x", [1.0, math.nan], "draws")


@pytest.mark.parametrize(
    ("values", "units", "message"),
    [
        (["a", "b"], "draws", "x: values .*give a list of numbers"),
        ([[1, 2], [3]], "draws", "x: values .*give a list of numbers"),
        (iter([1, 2]), "draws", "x: values .*give a list of numbers"),
        (5, "draws", "x: no values"),
        ([1, 2], {"draws": 5}, "draws=5: it must be a list"),
        ([1, 2], {"prompts": [["hi"], ["ho"]]}, r"prompts: \['hi'\] is no id"),
        ([1, 2], {"draws": ["a", None]}, "draws: None is no id"),
        ([1, 2], {"draws": [0.0, math.nan]}, "draws: nan is no id"),
    ],
)
def test_what_cannot_be_measured_is_named(values, units, message):
    with pytest.raises(ValueError, match=message):
        measured("x", values, units)


def test_rounding_past_a_limit_is_the_limit():
    exact = measured("x", [1, 0.5, 0, 1], "draws", limits=SHARE)
    assert measured("x", [1 + 1e-12, 0.5, -1e-12, 1], "draws", limits=SHARE) == exact
    assert measured("x", [1 + 1e-12] * 3, "draws", limits=SHARE)["ci95"][1] == 1
    with pytest.raises(ValueError, match="a value lies beyond"):
        measured("x", [1.001, 0.5], "draws", limits=SHARE)


def test_values_of_seeds_keep_their_seed_and_share_only_the_ids_that_are_given():
    values = [[1, 0, 1], [0, 1]]
    seeds = [0, 0, 0, 1, 1]
    assert over_seeds(values) == ([1, 0, 1, 0, 1], {"seeds": seeds})
    shared = over_seeds(values, questions=[["a", "b", "c"], ["a", "c"]])[1]
    assert shared == {"seeds": seeds, "questions": ["a", "b", "c", "a", "c"]}
    own = over_seeds(values, draws=None)[1]
    assert own["seeds"] == seeds
    assert len(set(own["draws"])) == 5


def test_what_is_measured_and_within_which_limits_reaches_the_interval():
    values = [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 9.0]
    median = measured("median", values, "repeats", statistic=np.median)
    assert (median["value"], measured("mean", values, "repeats")["value"]) == (0.5, 1.3)
    assert median["ci95"] != measured("mean", values, "repeats")["ci95"]
    bounds = [measured("x", values, "repeats", limits=limits)["ci95"] for limits in (AMOUNT, None)]
    assert bounds[0][0] == 0 > bounds[1][0]


def test_what_does_not_vary_names_no_unit():
    row = measured("constant", [2.5, 2.5, 2.5], "repeats")
    assert (row["value"], row["n"], row["ci95"], row["unit"]) == (2.5, 3, None, None)
