"""Intervals and tests against closed forms and enumeration."""

import itertools
import math

import pytest

from workbench.evaluation.metrics import mcnemar_p, wilson_ci


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
    ours = [True] * gained + [False] * lost + [True, False, True]
    theirs = [False] * gained + [True] * lost + [True, False, True]
    outcomes = [sum(c) for c in itertools.product((0, 1), repeat=gained + lost)]
    weight = {k: outcomes.count(k) for k in range(gained + lost + 1)}
    expected = sum(w for w in weight.values() if w <= weight[gained]) / len(outcomes)
    assert mcnemar_p(ours, theirs) == pytest.approx(expected)
    assert mcnemar_p(theirs, ours) == pytest.approx(expected)
