"""Intervals against the analysis of variance of textbooks, plain sums, and their symmetries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, t

from tests.helpers.coverage import units
from workbench.evaluation.intervals import (
    AMOUNT,
    ANY,
    GAIN,
    SHARE,
    interval,
    layout,
    mean_variance,
)

S, Q = 4, 30
RNG = np.random.default_rng(3)
CROSSED = RNG.normal(0, 2, (S, 1)) + RNG.normal(0, 3, (1, Q)) + RNG.normal(5, 1, (S, Q))
"""`[seed, question]`: seeds, questions and what is left all vary."""
RAGGED = {
    "seeds": [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2],
    "questions": ["a", "b", "c", "c", "a", "d", "e", "b", "d", "f", "g", "g"],
}


def wilson(k, n):
    found = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return pytest.approx((found.low, found.high), abs=1e-9)


def between(values, axis):
    """Variance of the means over the other axis, n − 1 in the denominator."""
    return values.mean(1 - axis).var(ddof=1)


def test_crossed_units_add_their_variances_less_the_rest():
    """Var = MS_seeds / n + MS_questions / n − MS_rest / n of a two-way analysis of variance."""
    rest = CROSSED - CROSSED.mean(1, keepdims=True) - CROSSED.mean(0) + CROSSED.mean()
    rest = (rest**2).sum() / ((S - 1) * (Q - 1)) / (S * Q)
    seeds, questions = between(CROSSED, 0) / S, between(CROSSED, 1) / Q
    variance, df = mean_variance(CROSSED.ravel(), layout(units(S, Q), S * Q))
    assert variance == pytest.approx(seeds + questions - rest)
    parts = seeds**2 / (S - 1) + questions**2 / (Q - 1)
    assert df == pytest.approx((seeds + questions - rest) ** 2 / parts)


def test_seeds_with_questions_of_their_own_are_what_varies():
    at = layout(units(S, Q, own=True), S * Q)
    variance, df = mean_variance(CROSSED.ravel(), at)
    assert (variance, df) == pytest.approx((between(CROSSED, 0) / S, S - 1))
    alike = CROSSED - CROSSED.mean(1, keepdims=True)
    variance, df = mean_variance(alike.ravel(), at)
    # Seeds that differ less than chance would have it: all values are as good as independent.
    n = S * Q
    assert (variance, df) == pytest.approx((alike.var(ddof=1) / n, n - 1))


@pytest.mark.parametrize(("ratio", "df"), [(0.5, 89), (0.85, 89), (0.96, 2), (1.5, 2)])
def test_three_seeds_count_as_soon_as_they_differ_about_as_chance_would_have_it(ratio, df):
    """`ratio`: mean square between seeds over that within."""
    within = CROSSED[:3] - CROSSED[:3].mean(1, keepdims=True)
    square = (within**2).sum() / (3 * (Q - 1))
    values = within + (ratio * square / Q) ** 0.5 * np.array([[-1.0], [0], [1]])
    found = mean_variance(values.ravel(), layout(units(3, Q, own=True), 3 * Q))
    assert found[1] == pytest.approx(df)
    assert found[0] == pytest.approx(max(1, ratio) * square / (3 * Q), rel=0.02)


def test_questions_that_differ_less_than_chance_take_nothing_away():
    table = CROSSED - CROSSED.mean(0) + np.array([[0.0], [0], [1], [2]])
    variance, df = mean_variance(table.ravel(), layout(units(S, Q), S * Q))
    assert (variance, df) == pytest.approx((between(table, 0) / S, S - 1), rel=0.02)


def test_copies_under_other_seeds_are_no_new_evidence():
    once = CROSSED[0]
    at = layout(units(3, Q), 3 * Q)
    copied = np.tile(once, 3)
    assert mean_variance(copied, at) == pytest.approx((once.var(ddof=1) / Q, Q - 1))
    half = t.ppf(0.975, Q - 1) * (once.var(ddof=1) / Q) ** 0.5
    assert interval(copied, at) == pytest.approx((once.mean() - half, once.mean() + half))
    share = (once > once.mean()).astype(float)
    alone = interval(share, layout("questions", Q))
    assert np.ptp(interval(np.tile(share, 3), at)) == pytest.approx(np.ptp(alone), rel=0.05)


def test_draws_within_seeds_add_nothing_where_seeds_vary():
    draws = RNG.normal(0, 3, (3, 1, 1)) + RNG.normal(0, 0.5, (3, 4, 20))
    ids = units(3, 20, draws=4)
    whole = mean_variance(draws.ravel(), layout(ids, 240))
    per_seed = mean_variance(draws.mean(1).ravel(), layout(units(3, 20), 60))
    assert whole[0] == pytest.approx(per_seed[0], rel=0.05)
    assert whole[1] == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("effect", [0.0, 2.0])
def test_draws_that_never_differ_within_seed_and_question_are_no_new_evidence(effect):
    """What a seed and a question do together is its own source of variance."""
    table = effect * RNG.normal(size=(S, 1)) + RNG.normal(size=(S, Q))
    drawn = np.repeat(table[:, None], 3, axis=1)
    once = mean_variance(table.ravel(), layout(units(S, Q), S * Q))
    thrice = mean_variance(drawn.ravel(), layout(units(S, Q, draws=3), 3 * S * Q))
    assert thrice == pytest.approx(once, rel=0.02)


@pytest.mark.parametrize("ids", [RAGGED, units(2, 3), units(2, 3, own=True), units(2, 3, draws=2)])
def test_what_each_variance_adds_is_counted_sum_by_sum(ids):
    n = len(ids["seeds"])
    at = layout(ids, n)
    for g, h in np.ndindex(at.expected.shape):
        total = 0.0
        for level in set(at.codes[g]):
            inside = at.codes[g] == level
            form = inside - inside.mean()
            total += sum(form[at.codes[h] == other].sum() ** 2 for other in set(at.codes[h]))
        assert at.expected[g, h] == pytest.approx(total / n**2)
        nested = all(len(set(at.codes[g][at.codes[h] == o])) == 1 for o in set(at.codes[h]))
        assert at.finer[g, h] == nested
    for code, weight in zip(at.codes, at.weights, strict=True):
        assert weight == pytest.approx(sum((np.bincount(code) / n) ** 2))


def test_a_ragged_layout_has_the_variance_that_its_means_have():
    """Seeds with questions of which some are shared: the mean's variance, drawn again and again."""
    rng, n = np.random.default_rng(5), 240
    seeds, questions = np.repeat(range(12), 20), rng.integers(60, size=n)
    at = layout({"seeds": seeds.tolist(), "questions": questions.tolist()}, n)
    means, variances = [], []
    for _ in range(800):
        effects = rng.normal(size=12)[seeds] + 2 * rng.normal(size=60)[questions]
        values = effects + rng.normal(size=n)
        means.append(values.mean())
        variances.append(mean_variance(values, at)[0])
    # 800 draws know a variance within 5 %.
    assert np.mean(variances) == pytest.approx(np.var(means), rel=0.12)


def test_odd_layouts_have_a_sound_variance():
    """Three units of any sizes: not below that of independent values, some degree of freedom."""
    rng = np.random.default_rng(8)
    for _ in range(400):
        n = int(rng.integers(4, 50))
        ids = {unit: rng.integers(rng.integers(2, 12), size=n).tolist() for unit in "abc"}
        values = rng.normal(size=n)
        variance, df = mean_variance(values, layout(ids, n))
        assert variance >= values.var(ddof=1) / n * (1 - 1e-9)
        assert 1 - 1e-9 <= df < 2 * n


def test_units_are_named_where_they_vary():
    def names(**ids):
        return layout(ids, 4).names

    assert names(seeds=[7, 7, 7, 7], questions=list("abcd")) == ("questions",)
    assert names(seeds=[0, 0, 1, 1], questions=list("abab")) == ("seeds", "questions")
    assert names(seeds=[0, 0, 1, 1], models=list("xxyy"), questions=list("abcd")) == (
        "seeds", "questions",
    )  # fmt: skip
    assert names(seeds=[0, 0, 0, 0]) == ()
    assert layout("draws", 4).names == ("draws",)
    assert layout("draws", 1).names == ()


@pytest.mark.parametrize(
    ("ids", "trials"),
    [("q", 40), (units(1, 40), 40), (units(3, 40), 40), (units(3, 40, own=True), 120),
     (units(1, 40, draws=3), 40), (units(3, 40, draws=3), 40)],
)  # fmt: skip
def test_no_event_has_the_bound_of_as_many_trials_as_are_surely_apart(ids, trials):
    n = 40 if ids == "q" else len(ids["seeds"])
    at = layout(ids, n)
    assert interval(np.zeros(n), at) == wilson(0, trials)
    assert interval(np.ones(n), at) == wilson(trials, trials)
    # Differences may lie on either side; amounts that are all 0 do not vary.
    bound = interval(np.zeros(n), at)[1]
    assert interval(np.zeros(n), at, limits=GAIN) == (-bound, bound)
    assert interval(np.zeros(n), at, limits=AMOUNT) is None


@pytest.mark.parametrize("limits", [None, AMOUNT, ANY])
@pytest.mark.parametrize("statistic", [np.mean, np.median, np.max])
def test_constants_have_no_interval(statistic, limits):
    for value in (0.1, 3.0, 1e9 / 7):
        for ids in ("draws", units(1, 6), units(3, 2), units(3, 2, own=True)):
            assert interval(np.full(6, value), layout(ids, 6), statistic, limits) is None
    assert interval(np.full(6, 0.25), layout("q", 6), limits=SHARE) is None
    assert interval(np.array([0.4]), layout("q", 1), statistic, limits) is None
    assert interval(np.arange(6.0), layout({"seeds": [1] * 6}, 6), statistic, limits) is None


def test_values_stay_within_their_limits():
    few, at = np.array([0.0, 0, 0, 9]), layout("q", 4)
    assert interval(few, at)[0] < 0
    assert interval(few, at, limits=AMOUNT)[0] == 0
    assert interval(np.array([1.0, 1, 1, -1]), at, limits=GAIN)[1] == 1
    low, high = interval(np.array([0, 0.5, 0, 0]), at, limits=SHARE)
    assert 0 < low < 0.125 < high < 1


def test_a_difference_without_losses_is_no_share():
    gains, at = np.array([1.0] * 2 + [0.0] * 38), layout("q", 40)
    assert interval(gains, at)[0] > 0
    assert interval(gains, at, limits=GAIN)[0] < 0


def test_a_median_lies_between_the_values_at_the_shares_below():
    values = np.array([5.0, 1, 4, 2, 3])
    assert interval(values, layout("repeats", 5), np.median) == (1, 5)
    many = np.arange(100.0)
    assert interval(many, layout("repeats", 100), np.median) == (39, 60)
    # Pairs of equal values are half as many: the interval of 50, wider by the root of 2.
    pairs = {"pairs": (np.arange(100) // 2).tolist()}
    low, high = interval(many, layout(pairs, 100), np.median)
    assert high - low == pytest.approx(21 * 2**0.5, abs=2)


def test_other_statistics_have_the_interval_of_their_linear_part():
    at = layout(units(S, Q), S * Q)
    mean = interval(CROSSED.ravel(), at, lambda v: float(v.mean()))
    assert mean == pytest.approx(interval(CROSSED.ravel(), at))
    below = RNG.uniform(1, 2, 80)
    above = below * RNG.uniform(0.5, 1.5, 80)
    rows = np.stack([above, below], 1)
    ratio = above.mean() / below.mean()
    # The delta method: a ratio varies as the mean of (above − ratio · below) / mean below.
    linear = (above - ratio * below) / below.mean()
    half = t.ppf(0.975, 79) * (linear.var(ddof=1) / 80) ** 0.5
    found = interval(rows, layout("q", 80), lambda r: r[:, 0].mean() / r[:, 1].mean())
    assert found == pytest.approx((ratio - half, ratio + half), rel=0.01)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_order_and_names_of_ids_do_not_matter(data):
    n = data.draw(st.integers(2, 24))
    ids = {
        name: data.draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))
        for name, levels in (("seeds", 2), ("questions", 9))
    }
    values = np.array(data.draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)))
    found = interval(values, layout(ids, n))
    order = data.draw(st.permutations(range(n)))
    renamed = {
        "the models": ["one"] * n,
        **{k: [f"id {ids[k][i]}" for i in order] for k in reversed(ids)},
    }
    again = interval(values[order], layout(renamed, n))
    turned = interval(1 - values, layout(ids, n))
    if found is None:
        assert len(set(ids["seeds"])) == len(set(ids["questions"])) == 1
        assert again is turned is None
        return
    low, high = found
    assert 0 <= low <= values.mean() <= high <= 1
    assert low < high
    # Never narrower than if all values were independent.
    independent = interval(values, layout("values", n))
    assert high - low >= (independent[1] - independent[0]) * (1 - 1e-9)
    assert again == pytest.approx(found)
    assert turned == pytest.approx((1 - high, 1 - low))
    # Any other values: shifted and scaled, the interval is too.
    plain = interval(values, layout(ids, n), limits=ANY)
    shifted = interval(5 - 1e-3 * values, layout(ids, n))
    if plain:
        assert shifted == pytest.approx([5 - 1e-3 * b for b in plain[::-1]])


def test_ids_are_one_per_value():
    with pytest.raises(ValueError, match="3 ids of seeds for 4 values"):
        layout({"seeds": [0, 0, 1]}, 4)
    with pytest.raises(ValueError, match="give a name, or the ids"):
        layout(("seeds", "questions"), 4)
