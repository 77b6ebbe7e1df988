"""Paired tests and the bootstrap against enumeration, plain loops, and simulated nulls."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from workbench.evaluation import intervals, paired
from workbench.evaluation.intervals import GAIN
from workbench.evaluation.paired import mcnemar_p, paired_bootstrap, sign_flip_p

RNG = np.random.default_rng(5)
SIZES = [1, 5, 2, 9, 3, 1, 4, 2, 7, 3, 2, 6]
DIALOGUES = [f"d{c}" for c, size in enumerate(SIZES) for _ in range(size)]
OURS = RNG.normal(0.6, 1, len(DIALOGUES))
THEIRS = RNG.normal(0, 1, len(DIALOGUES))


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (5, 1), (4, 4), (7, 2)])
def test_mcnemar_counts_every_split_of_the_discordant_pairs(gained, lost):
    first = [True] * gained + [False] * lost + [True, False, True]
    second = [False] * gained + [True] * lost + [True, False, True]
    outcomes = [sum(c) for c in itertools.product((0, 1), repeat=gained + lost)]
    weight = {k: outcomes.count(k) for k in range(gained + lost + 1)}
    expected = sum(w for w in weight.values() if w <= weight[gained]) / len(outcomes)
    assert mcnemar_p(first, second) == pytest.approx(expected)
    assert mcnemar_p(second, first) == pytest.approx(expected)
    assert sign_flip_p(first, second) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 6)), min_size=1))
def test_exact_flips_are_all_flips_of_whole_clusters(rows):
    a, b, topics = (list(column) for column in zip(*rows, strict=True))
    # A tenth has no finite binary form: sums of equal gaps come out a little different.
    a, b = [x / 10 for x in a], [x / 10 for x in b]
    known = sorted(set(topics))
    observed = abs(sum(x - y for x, y in zip(a, b, strict=True)))
    beyond = 0
    for signs in itertools.product((1, -1), repeat=len(known)):
        sign = dict(zip(known, signs, strict=True))
        flipped = sum(sign[t] * (x - y) for x, y, t in zip(a, b, topics, strict=True))
        beyond += abs(flipped) > observed - 1e-6
    p = sign_flip_p(a, b, {"topics": topics})
    assert p == pytest.approx(beyond / 2 ** len(known), abs=1e-12)
    assert p >= 2 / 2 ** max(len(known), 1) or p == 1


def test_flips_of_items_are_scipys_and_random_ones_come_close():
    a, b = OURS[:12], THEIRS[:12]
    scipys = permutation_test((a, b), lambda x, y: np.mean(x - y), permutation_type="samples")
    assert sign_flip_p(a, b) == pytest.approx(scipys.pvalue)
    first, second = [1] * 30 + [0] * 18 + [1] * 9, [0] * 30 + [1] * 18 + [1] * 9
    exact = mcnemar_p(first, second)
    assert sign_flip_p(first, second) == pytest.approx(exact, abs=5 * (exact / 9999) ** 0.5)
    assert sign_flip_p(first, second, seed=1) != sign_flip_p(first, second)
    assert sign_flip_p([1.0] * 60, [0.5] * 60) == 1 / 10_000


def pseudo_values(gap, clusters):
    """θ + (G − 1)(sum − θ·size) / (n − size) per cluster, for means."""
    sums = {c: sum(g for g, d in zip(gap, clusters, strict=True) if d == c) for c in clusters}
    sizes = {c: list(clusters).count(c) for c in clusters}
    n, mean = len(gap), sum(gap) / len(gap)
    return [mean + (len(sums) - 1) * (sums[c] - mean * sizes[c]) / (n - sizes[c]) for c in sums]


@pytest.mark.parametrize("clustered", [False, True])
def test_the_bootstrap_is_a_plain_loop_over_resamples(clustered):
    units = {"dialogues": DIALOGUES} if clustered else "turns"
    row, p = paired_bootstrap("gain", OURS, THEIRS, units)
    gap = OURS - THEIRS
    assert row["value"] == pytest.approx(gap.mean())
    assert (row["n"], row["unit"]) == (45, "dialogues" if clustered else "turns")
    values = pseudo_values(gap, DIALOGUES if clustered else range(45))
    size, error = len(values), np.std(values, ddof=1) / len(values) ** 0.5
    rng, ratios = np.random.default_rng(99), []
    for _ in range(6000):
        drawn = [values[i] for i in rng.integers(0, size, size)]
        spread = np.std(drawn, ddof=1) / size**0.5
        ratios.append(abs(np.mean(drawn) - np.mean(values)) / spread)
    half = np.quantile(ratios, 0.95) * error
    low, high = row["ci95"]
    assert high - row["value"] == pytest.approx(half, rel=0.1)
    assert row["value"] - low == pytest.approx(half, rel=0.1)
    assert paired_bootstrap("gain", OURS + 90, THEIRS, units)[1] == 1 / 5000
    expected = np.mean(np.array(ratios) >= gap.mean() / error)
    assert p == pytest.approx(expected, abs=4 * (expected / 1999) ** 0.5 + 1e-3)


@pytest.mark.parametrize("gain", np.linspace(-0.6, 0.6, 9).tolist())
def test_p_and_interval_agree_about_zero(gain):
    row, p = paired_bootstrap("gain", OURS - OURS.mean() + gain, THEIRS - THEIRS.mean(), "turns")
    low, high = row["ci95"]
    assert (p <= 0.05) == (not low <= 0 <= high)


def test_neither_order_nor_the_names_of_clusters_nor_copies_matter():
    row, p = paired_bootstrap("gain", OURS, THEIRS, {"dialogues": DIALOGUES})
    order = RNG.permutation(45)
    ids = [("topic", DIALOGUES[i][::-1]) for i in order]
    again, same = paired_bootstrap("gain", OURS[order], THEIRS[order], {"dialogues": ids})
    assert (again["ci95"], same) == (pytest.approx(row["ci95"]), p)
    twice = {"dialogues": DIALOGUES * 2}
    copied, same = paired_bootstrap("gain", [*OURS, *OURS], [*THEIRS, *THEIRS], twice)
    assert (copied["ci95"], same) == (pytest.approx(row["ci95"]), p)
    swapped, same = paired_bootstrap("gain", THEIRS, OURS, {"dialogues": DIALOGUES})
    assert (swapped["ci95"], same) == (pytest.approx([-x for x in row["ci95"][::-1]]), p)
    other, _ = paired_bootstrap("gain", OURS, THEIRS, {"dialogues": DIALOGUES}, seed=1)
    assert other["ci95"] == pytest.approx(row["ci95"], rel=0.2)
    assert other["ci95"] != row["ci95"]
    wide = sign_flip_p(OURS, THEIRS, seed=3)
    assert wide == sign_flip_p(OURS[order], THEIRS[order], seed=3)


@pytest.mark.parametrize("kind", [np.array, torch.tensor, pd.Series, lambda c: [*torch.tensor(c)]])
def test_ids_may_be_of_any_kind(kind):
    ids = [int(name[1:]) for name in DIALOGUES]
    row = paired_bootstrap("gain", OURS, THEIRS, {"dialogues": ids})
    assert paired_bootstrap("gain", OURS, THEIRS, {"dialogues": kind(ids)}) == row


def test_any_statistic_of_rows():
    rows = np.stack([OURS > 0, THEIRS > 0.3], 1).astype(float)
    other = np.stack([OURS > 0, THEIRS > -0.5], 1).astype(float)

    def f1(values):
        """2·both / (gold + predicted), of the whole corpus."""
        return 2 * values.prod(1).sum() / values.sum()

    row, _ = paired_bootstrap("F1", rows, other, {"dialogues": DIALOGUES}, statistic=f1)
    assert row["value"] == pytest.approx(f1(rows) - f1(other))
    assert row["ci95"][0] < row["value"] < row["ci95"][1]
    mean = paired_bootstrap("x", OURS, THEIRS, "turns", statistic=lambda v: v.sum() / len(v))
    assert mean[0]["ci95"] == pytest.approx(paired_bootstrap("x", OURS, THEIRS, "turns")[0]["ci95"])


def test_what_cannot_be_told_has_no_interval(caplog):
    few = {"dialogues": [i % 7 for i in range(45)]}
    row, p = paired_bootstrap("gain", OURS, THEIRS, few)
    assert (row["value"], row["ci95"], row["unit"], p) == (
        pytest.approx((OURS - THEIRS).mean()), None, None, None
    )  # fmt: skip
    assert "7 items or clusters: an interval and a p-value take 8 or more" in caplog.text
    assert paired_bootstrap("gain", OURS, THEIRS, {"dialogues": [i % 8 for i in range(45)]})[1]
    assert paired_bootstrap("gain", [0.4] * 9, [0.3] * 9, "items")[1] is None
    assert paired_bootstrap("gain", [0.4] * 9, [0.4] * 9, "items")[1] == 1
    # One of ten differs: a third of all resamples do not vary.
    row, p = paired_bootstrap("gain", [1] + [0] * 9, [0] * 10, "items")
    assert (row["value"], row["ci95"]) == (0.1, None)
    assert p > 0.3
    defined = [*OURS[:3], 9, *OURS[4:]], [*THEIRS[:3], 9, *THEIRS[4:]]
    row, p = paired_bootstrap(
        "x", *defined, "turns", statistic=lambda v: v.sum() if 9 in v else None
    )
    assert (row["ci95"], p) == (None, None)


def test_differences_of_shares_stay_within_their_limits():
    ours, theirs = [1] * 8 + [0, 1], [0] * 6 + [0.5, 1, 1, 0.2]
    assert paired_bootstrap("gain", ours, theirs, "items")[0]["ci95"][1] > 1
    assert paired_bootstrap("gain", ours, theirs, "items", limits=GAIN)[0]["ci95"][1] == 1


@pytest.mark.parametrize(
    ("first", "second", "units", "message"),
    [
        ([1, 2], [1], "items", r"first: \(2,\), second: \(1,\): give one number each per item"),
        ([], [], "items", "first: no values"),
        ([1, np.nan], [1, 2], "items", "first: a value is not finite"),
        ([1, 2], [1, None], "items", "second: a value is not finite"),
        ([1, "b"], [1, 2], "items", r"first: values \[1, 'b'\]: give a list of numbers"),
        ([[1, 2]], [[1, 2]], "items", "give one number each per item"),
        ([1, 2], [1, 2], {"topics": ["a"]}, "1 ids of topics for 2 values"),
        ([1, 2], [1, 2], {"topics": ["a", None]}, "topics: None is no id"),
        ([1, 2], [1, 2], {"topics": ["a", pd.NA]}, "topics: <NA> is no id"),
        ([1, 2], [1, 2], {"topics": ["a", np.ones(2)]}, r"topics: array\(.* is no id"),
        ([1, 2], [1, 2], {"topics": [1, torch.ones(2)]}, r"topics: tensor\(.* is no id"),
        ([1, 2], [1, 2], {"topics": "ab"}, "topics must be a list, not one string"),
        ([1, 2], [1, 2], {"topics": [1, 2], "seeds": [1, 2]}, "one unit's ids; for more, measured"),
        ([1, 2], [1, 2], {}, "one unit's ids; for more, measured"),
        ([1, 2], [1, 2], ["a", "b"], "give a name, or the ids of every value by name"),
        (np.ma.masked_less([1.0, -5], 0), [1, 2], "items", "first: a value is not finite"),
    ],
)
def test_what_cannot_be_compared_is_named(first, second, units, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap("gain", first, second, units)
    with pytest.raises(ValueError, match=message):
        sign_flip_p(first, second, units)
    if units == "items":
        with pytest.raises(ValueError, match=message):
            mcnemar_p(first, second)


def test_what_the_bootstrap_or_mcnemar_does_not_do_is_said():
    with pytest.raises(ValueError, match="gain: give the differences to measured"):
        paired_bootstrap("gain", OURS, THEIRS, "turns", statistic=np.median)
    with pytest.raises(ValueError, match="gain: 45 items of the first method, 44 of the second"):
        paired_bootstrap("gain", OURS, THEIRS[1:], "turns", statistic=np.max)
    with pytest.raises(ValueError, match="for scores: sign_flip_p"):
        mcnemar_p([0.5, 1], [1, 0])
    with (
        pytest.raises(ValueError, match="differences: a value is not finite"),
        np.errstate(all="ignore"),
    ):
        sign_flip_p([1e308] * 9, [-1e308] * 9)
    with pytest.raises(ValueError, match=r"gain: nan .*not finite"):
        paired_bootstrap("gain", OURS, THEIRS, "turns", statistic=lambda v: np.nan)
    for seeded in (lambda s: sign_flip_p(OURS, THEIRS, seed=s),
                   lambda s: paired_bootstrap("gain", OURS, THEIRS, "turns", seed=s)):  # fmt: skip
        with pytest.raises(ValueError, match=r"seed=-1: it must be a whole number"):
            seeded(-1)


NULLS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_t(3, n),
    "signs": lambda rng, n: rng.choice([-1.0, 0, 1], n, p=[0.3, 0.4, 0.3]),
    "skewed": lambda rng, n: rng.exponential(size=n) - 1,
    "lognormal": lambda rng, n: rng.lognormal(size=n) - np.exp(0.5),
    "rare": lambda rng, n: rng.choice([9.0, -1.0], n, p=[0.1, 0.9]),
}
"""Differences of mean 0."""
MOST = dict(zip(NULLS, (0.065, 0.065, 0.065, 0.11, 0.16, 0.19), strict=True))
"""Largest share of them that the bootstrap is said to reject."""


def rejected(kind, clusters, alike, repeats, world=0):
    """Shares of true nulls that the bootstrap and the sign flips reject at 5 %.

    `clusters`: their number, of unequal sizes, or minus the number of items of their own. `alike`:
    share of the variance that a cluster's items have in common; it grows with their number.
    """
    rng = np.random.default_rng(world)
    counts = np.zeros(2)
    for seed in range(repeats):
        sizes = np.ones(-clusters, int) if clusters < 0 else rng.geometric(0.2, clusters)
        ids = np.repeat(np.arange(len(sizes)), sizes)
        common = NULLS[kind](rng, len(sizes)) * (sizes / sizes.mean()) ** 0.5
        gap = alike**0.5 * common[ids] + (1 - alike) ** 0.5 * NULLS[kind](rng, len(ids))
        _, p = paired_bootstrap("gain", gap, gap * 0, {"clusters": ids}, seed=seed)
        flipped = sign_flip_p(gap, gap * 0, {"clusters": ids}, seed=seed)
        counts += (p is not None and p <= 0.05, flipped <= 0.05)
    return counts / repeats


DESIGNS = [
    ("normal", -10, 0), ("normal", -60, 0), ("normal", 8, 0.3), ("normal", 25, 0.3),
    ("heavy", -25, 0), ("heavy", 12, 0.3), ("signs", -40, 0), ("signs", 15, 0.3),
]  # fmt: skip


@pytest.fixture
def fewer_draws(monkeypatch):
    """Others for every world: tests reject as often, and are less powerful."""
    monkeypatch.setattr(intervals, "RESAMPLES", 399)
    monkeypatch.setattr(paired, "FLIPS", 399)


@pytest.mark.usefixtures("fewer_draws")
def test_true_nulls_are_rejected_as_often_as_said():
    repeats = 250
    shares = np.array([rejected(*design, repeats) for design in DESIGNS])
    chance = (0.05 * 0.95 / repeats) ** 0.5
    assert shares.max() <= 0.065 + 3 * chance
    assert (shares.mean(0) >= 0.035).all(), shares
    assert (shares.mean(0) <= 0.065).all(), shares
    skewed = rejected("skewed", -20, 0, repeats)
    assert skewed[0] <= 0.065 + 3 * chance


@pytest.mark.slow
@pytest.mark.usefixtures("fewer_draws")
@pytest.mark.parametrize("clusters", [-10, -20, -50, -200, 8, 20, 60])
@pytest.mark.parametrize("kind", NULLS)
def test_true_nulls_are_rejected_as_often_as_said_at_every_size(kind, clusters):
    repeats = 1000
    bootstrap, flips = rejected(kind, clusters, 0.0 if clusters < 0 else 0.3, repeats, world=7)
    chance = 2 * (0.05 * 0.95 / repeats) ** 0.5
    assert bootstrap <= MOST[kind] + chance
    if MOST[kind] == 0.065:
        assert bootstrap >= 0.02 - chance
        assert flips <= 0.065 + chance
