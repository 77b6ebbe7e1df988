"""Numbers, intervals and tests against closed forms, enumeration and plain loops."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from workbench.evaluation.metrics import (
    FIELDS,
    bootstrap_ci,
    mcnemar_p,
    measured,
    metric,
    wilson_ci,
)

SEEDS = np.random.default_rng(1).normal(np.random.default_rng(2).normal(5, 1, (60, 1)), 3, (60, 20))
"""`[seed][question]`: means that differ between seeds, values that differ within."""


def slow_interval(groups, statistic):
    """The interval by loops: drawn value by value, sorted, percentiles on the straight line."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        values = []
        for group in rng.integers(len(groups), size=len(groups)):
            for index in rng.integers(len(groups[group]), size=len(groups[group])):
                values.append(groups[group][index])
        draws.append(statistic(values))
    draws.sort()
    bounds = []
    for share in (0.025, 0.975):
        place = share * (len(draws) - 1)
        below = math.floor(place)
        bounds.append(draws[below] + (place - below) * (draws[below + 1] - draws[below]))
    return bounds


def test_metric_refuses_values_outside_their_interval():
    assert metric("a", 0.5, 4, (0.4, 0.6))["ci95"] == [0.4, 0.6]
    inf = math.inf
    for value, interval in ((0.7, (0.4, 0.6)), (math.nan, (0.4, 0.6)), (inf, (0, inf))):
        with pytest.raises(ValueError, match="outside its interval"):
            metric("a", value, 4, interval)


def test_interval_of_a_mean_is_close_to_the_normal_one():
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = bootstrap_ci([values])
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.05)
    assert high == pytest.approx(values.mean() + half, abs=0.05)


def test_interval_holds_the_spread_over_seeds():
    seeds = [[0.0] * 50, [1.0] * 50, [0.5] * 50]
    low, high = bootstrap_ci(seeds)
    assert (low, high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_ci([[]])


def test_a_measured_share_has_the_quantiles_of_its_binomial():
    """Resampling zeros and ones counts successes of independent draws."""
    row = measured("share", [1] * 30 + [0] * 70, "questions", (0.25, "the paper's"))
    assert tuple(row) == FIELDS
    assert (row["name"], row["value"], row["n"], row["unit"]) == ("share", 0.3, 100, "questions")
    assert (row["published"], row["published_setting"]) == (0.25, "the paper's")
    assert row["ci95"] == pytest.approx(binom.ppf([0.025, 0.975], 100, 0.3) / 100, abs=0.011)
    assert measured("a", [1.0], "draws")["published"] is None


def test_a_nested_unit_adds_the_spread_over_its_groups():
    row = measured("mean", SEEDS, ("seeds", "questions"))
    assert (row["value"], row["n"]) == (pytest.approx(SEEDS.mean()), 60 * 20)
    assert row["unit"] == "seeds, then questions"
    # Variance of the two-stage mean: between groups over their number, within over all values.
    between, within = SEEDS.mean(1).var() / 60, SEEDS.var(1).mean() / SEEDS.size
    half = 1.96 * math.sqrt(between + within)
    # 2000 draws place a 2.5 % quantile within about a tenth of the half width.
    assert row["ci95"] == pytest.approx([SEEDS.mean() - half, SEEDS.mean() + half], abs=half / 6)
    flat = measured("mean", SEEDS.ravel(), "questions")
    assert flat["value"] == pytest.approx(row["value"])
    widths = [np.ptp(r["ci95"]) for r in (flat, row)]
    expected = math.sqrt(SEEDS.var() / SEEDS.size / (between + within))
    assert widths[0] / widths[1] == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("statistic", [np.mean, np.median])
def test_measured_is_the_plain_loop(nested, statistic):
    groups = [[3.0, 1.0, 4.0, 1.0, 5.0], [9.0, 2.0], [6.0]] if nested else [[2.0, 7.0, 1.0, 8.0]]
    values, unit = (groups, ("seeds", "draws")) if nested else (groups[0], "draws")
    row = measured("x", values, unit, statistic=statistic)
    assert row["value"] == pytest.approx(statistic([*itertools.chain(*groups)]))
    assert row["n"] == sum(map(len, groups))
    assert row["ci95"] == pytest.approx(slow_interval(groups, statistic))


def test_rows_of_several_numbers_are_drawn_together():
    rows = [(2 * x, x) for x in (1.0, 5.0, 2.0, 40.0)]

    def ratio(drawn):
        drawn = np.asarray(drawn)
        return drawn[:, 0].sum() / drawn[:, 1].sum()

    row = measured("ratio", rows, "subjects", statistic=ratio)
    # Drawn number by number the ratio would vary.
    assert (row["value"], row["ci95"], row["n"]) == (2.0, [2.0, 2.0], 4)
    groups = [[(3.0, 1.0), (1.0, 1.0)], [(2.0, 5.0)]]
    row = measured("ratio", groups, ("seeds", "subjects"), statistic=ratio)
    assert row["value"] == pytest.approx(6 / 7)
    assert row["ci95"] == pytest.approx(slow_interval(groups, ratio))


def test_a_value_outside_its_percentiles_widens_the_interval():
    """Of a hundred different values, a resample holds about 63."""
    row = measured("kinds", range(100), "draws", statistic=lambda v: len(np.unique(v)))
    assert row["ci95"][1] == row["value"] == 100
    assert 50 < row["ci95"][0] < 63
    row = measured("gap", range(100), "draws", statistic=lambda v: -len(np.unique(v)))
    assert row["ci95"][0] == row["value"] == -100


@pytest.mark.parametrize(
    ("values", "unit"), [([], "draws"), ([], ("seeds", "draws")), ([[], []], ("seeds", "draws"))]
)
def test_no_values_have_no_interval(values, unit):
    with pytest.raises(ValueError, match="no values"):
        measured("x", values, unit)


def test_a_seed_without_values_is_passed_over():
    row = measured("x", [[1.0, 3.0], []], ("seeds", "draws"))
    assert (row["value"], row["n"]) == (2.0, 2)
    with pytest.raises(ValueError, match=r"x: .*not finite"):
        measured("x", [1.0, math.nan], "draws")


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (601, 1306)])
def test_wilson_is_the_closed_form(k, n):
    z, p = 1.959963984540054, k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson_ci(k, n) == pytest.approx((middle - half, middle + half), abs=1e-9)


def test_wilson_refuses_impossible_counts():
    with pytest.raises(ValueError, match="must"):
        wilson_ci(11, 10)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 1), (4, 4), (7, 2)])
def test_mcnemar_counts_every_split_of_the_discordant_pairs(gained, lost):
    first = [True] * gained + [False] * lost + [True, False, True]
    second = [False] * gained + [True] * lost + [True, False, True]
    outcomes = [sum(c) for c in itertools.product((0, 1), repeat=gained + lost)]
    weight = {k: outcomes.count(k) for k in range(gained + lost + 1)}
    expected = sum(w for w in weight.values() if w <= weight[gained]) / len(outcomes)
    assert mcnemar_p(first, second) == pytest.approx(expected)
    assert mcnemar_p(second, first) == pytest.approx(expected)
