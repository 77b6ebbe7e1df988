"""Agreement against scikit-learn, scipy, published examples, slow loops, and known truths."""

import itertools
import math
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score

from workbench.errors import WorkbenchError
from workbench.evaluation.agreement import (
    corrected,
    kendall,
    krippendorff_alpha,
    macro_f1,
    spearman,
)

LABELS = ["accept", "reject", "revise"]


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from([*LABELS, None, "?"]))))
def test_macro_f1_is_scikit_learns_beside_its_best_constant(rows):
    gold, predicted = [g for g, _ in rows], [p for _, p in rows]
    if len(set(gold)) < 2:
        with pytest.raises(ValueError, match=r"no gold|give two or more"):
            macro_f1(gold, predicted)
        return
    for labels in (None, LABELS):
        classes = labels or sorted(set(gold))
        settings = {"labels": classes, "average": "macro", "zero_division": 0}
        value, constant, coverage = macro_f1(gold, predicted, labels)
        given = [p or "none" for p in predicted]
        assert value == pytest.approx(f1_score(gold, given, **settings))
        best = max(f1_score(gold, [c] * len(gold), **settings) for c in classes)
        assert constant == pytest.approx(best)
        assert coverage == sum(p is not None for p in predicted) / len(predicted)


def test_a_constant_that_is_right_with_share_a_has_a_over_one_plus_a():
    gold, a = [True] * 7 + [False] * 3, 0.7
    assert macro_f1(gold, [True] * 10) == pytest.approx((a / (1 + a), a / (1 + a), 1))
    assert macro_f1(gold, gold)[0] == macro_f1([*np.array(gold)], gold)[0] == 1
    assert macro_f1([1, 1], [1, None], labels=[0, 1])[::2] == pytest.approx((1 / 3, 0.5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 0], [1]), "2 gold labels, and 1 predicted"),
        (([], []), "no gold: the list is empty"),
        (("yes", "yes"), "gold must be a list, not one string"),
        (([1, 1], [1, 0]), r"labels=\[1\]: give two or more"),
        (([1, 2], [1, 1], [0, 1]), r"labels=\[0, 1\]: give two or more, those of gold among them"),
        (([1, None], [1, 0]), r"labels=\[1, None.* give texts only, or numbers only"),
        (([1, "1"], [1, 1]), "give texts only, or numbers only"),
        (([1, 0], ["1", "0"]), "give texts only, or numbers only"),
        (([["a"], ["b"]], [["a"], ["b"]]), "give texts only, or numbers only"),
        (([1, 0], [math.nan, 0]), "give texts only, or numbers only"),
        (([True, False], [1, 0]), "give texts only, or numbers only"),
    ],
)
def test_labels_that_cannot_be_scored_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        macro_f1(*arguments)


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


@given(PAIRS)
def test_rank_correlations_are_counted_pair_by_pair_or_none(rows):
    a, b = (list(column) for column in zip(*rows, strict=True))
    if len(set(a)) < 2 or len(set(b)) < 2:
        assert spearman(a, b) is kendall(a, b) is None
        return
    pairs = [(np.sign(x - u), np.sign(y - v)) for (x, y), (u, v) in itertools.combinations(rows, 2)]
    ties = math.sqrt(sum(s != 0 for s, _ in pairs) * sum(s != 0 for _, s in pairs))
    assert kendall(a, b) == pytest.approx(sum(s * t for s, t in pairs) / ties)
    rank = [[sum((w < x) + (w == x) / 2 for w in column) for x in column] for column in (a, b)]
    assert spearman(a, b) == pytest.approx(np.corrcoef(*rank)[0, 1])
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ([1, 2], [1], r"first: \(2,\), second: \(1,\)"),
        ([], [], "first: no values"),
        ([1, math.nan], [1, 2], "first: a value is not finite"),
        ([1, 2], [None, 2], "second: a value is not finite"),
        ([1, 2], ["a", "b"], "second: values"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]], "give one number each per item"),
    ],
)
def test_what_has_no_order_is_named(first, second, message):
    for correlation in (spearman, kendall):
        with pytest.raises(ValueError, match=message):
            correlation(first, second)


def table(matrix):
    """Ratings, items and raters, row by row, of `[rater][item]`; None where nobody rated."""
    return map(
        list,
        zip(
            *[(v, f"i{i}", r) for r, row in enumerate(matrix) for i, v in enumerate(row)],
            strict=True,
        ),
    )


N = None
COMPUTING = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
"""Krippendorff (2011), Computing Krippendorff's Alpha-Reliability, section C."""


@pytest.mark.parametrize(
    ("level", "published"),
    [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849), ("ratio", 0.797)],
)
def test_alpha_of_the_published_example(level, published):
    row = krippendorff_alpha("x", *table(COMPUTING), level)
    # The item with a single rating counts for nothing.
    assert (round(row["value"], 3), row["n"], row["unit"]) == (published, 11, "items")
    low, high = row["ci95"]
    assert low < row["value"] < high <= 1
    texts = [[v and "edcba"[v - 1] for v in rater] for rater in COMPUTING]
    if level == "nominal":
        again = krippendorff_alpha("x", *table(texts), level)
        assert [again["value"], *again["ci95"]] == pytest.approx([row["value"], low, high])


def squared(level, v, w, counts):
    if level == "ordinal":
        low, high = sorted((v, w))
        between = sum(n for value, n in counts.items() if low <= value <= high)
        return (between - (counts[v] + counts[w]) / 2) ** 2
    return {
        "nominal": v != w,
        "interval": (v - w) ** 2,
        "ratio": ((v - w) / (v + w)) ** 2 if v + w else 0,
    }[level]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([N, 0, 1, 2, 4]), min_size=3, max_size=3), min_size=1),
    st.sampled_from(["nominal", "ordinal", "interval", "ratio"]),
)
def test_alpha_is_disagreement_within_items_over_that_of_all_ratings(items, level):
    pairable = [[v for v in item if v is not None] for item in items]
    pairable = [item for item in pairable if len(item) > 1]
    every = [v for item in pairable for v in item]
    counts = {v: every.count(v) for v in every}
    columns = list(table(zip(*items, strict=True)))
    if len(counts) < 2:
        if every:
            assert krippendorff_alpha("x", *columns, level) is None
        else:
            with pytest.raises(ValueError, match=r"x: (ratings with one rater|no item has two)"):
                krippendorff_alpha("x", *columns, level)
        return
    within = sum(
        squared(level, v, w, counts) / (len(item) - 1)
        for item in pairable
        for v, w in itertools.permutations(item, 2)
    )
    among = sum(squared(level, v, w, counts) for v, w in itertools.permutations(every, 2))
    row = krippendorff_alpha("x", *columns, level)
    assert row["value"] == pytest.approx(1 - (len(every) - 1) * within / among)
    assert row["n"] == len(pairable)
    assert len(pairable) >= 8 or row["ci95"] is None


def test_alpha_does_not_mind_the_order_of_rows_nor_missing_ones():
    columns = list(table(COMPUTING))
    row = krippendorff_alpha("x", *columns, "ordinal")
    rows = [r for r in zip(*columns, strict=True) if r[0] is not None][::-1]
    again = krippendorff_alpha("x", *zip(*rows, strict=True), "ordinal")
    assert again["ci95"] == pytest.approx(row["ci95"])
    nan = [math.nan if r is None else float(r) for r in columns[0]]
    assert krippendorff_alpha("x", nan, *columns[1:], "ordinal") == row
    frame = pd.DataFrame({"rating": columns[0], "item": columns[1], "rater": columns[2]})
    ratings = frame.rating.astype("Int64")
    assert ratings.isna().any()
    assert krippendorff_alpha("x", ratings, frame["item"], frame.rater, "ordinal") == row


def test_alpha_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "krippendorff", None)
    with pytest.raises(WorkbenchError, match="pip install krippendorff"):
        krippendorff_alpha("x", *table(COMPUTING), "ordinal")


def test_alphas_interval_holds_the_alpha_of_all_items():
    rng = np.random.default_rng(3)

    def rated(n):
        latent = rng.normal(size=(n, 1)) + rng.normal(size=(n, 3))
        return np.digitize(latent, [-1, -0.3, 0.3, 1])

    def row(ratings):
        items, raters = np.indices(ratings.shape)
        flat = (ratings.ravel(), items.ravel(), raters.ravel())
        return krippendorff_alpha("x", *flat, "ordinal")

    truth = np.mean([row(rated(400))["value"] for _ in range(4)])
    bounds = [row(rated(15))["ci95"] for _ in range(150)]
    assert np.mean([low <= truth <= high for low, high in bounds]) >= 0.95 - 3 * 0.018


@pytest.mark.parametrize(
    ("columns", "level", "message"),
    [
        (([1, 2], ["a", "b"], ["Ann", "Ann"]), "ordinal", "tact: ratings with one rater"),
        (([1, 2, N], ["a", "b", "a"], ["Ann", "Ann", "Bo"]), "nominal", "ratings with one rater"),
        (([N, N], ["a", "b"], ["Ann", "Bo"]), "nominal", "ratings with one rater"),
        (([1, 2], ["a", "b"], ["Ann", "Bo"]), "ordinal", "tact: no item has two ratings"),
        (([1, 2, 2], ["a", "a", "a"], ["Ann", "Bo", "Bo"]), "ordinal", "by the same rater"),
        (([1, "2"], ["a", "a"], ["Ann", "Bo"]), "nominal", "tact: ratings=.* numbers only"),
        ((["1", "2"], ["a", "a"], ["Ann", "Bo"]), "ordinal", "tact: rating='1': it must be a fin"),
        (([-1, 2], ["a", "a"], ["Ann", "Bo"]), "ratio", "tact: rating=-1: .* at least 0"),
        (([1, math.inf], ["a", "a"], ["Ann", "Bo"]), "interval", "tact: rating=inf"),
        (([1, 2], ["a"], ["Ann", "Bo"]), "ordinal", "1 ids of items for 2 values"),
        (([1, 2], ["a", "a"], ["Ann", N]), "ordinal", "raters: None is no id"),
        (([], [], []), "ordinal", "no ratings: the list is empty"),
        (([1, 2], ["a", "a"], ["Ann", "Bo"]), "cardinal", "level='cardinal'; use one of nominal"),
        ((range(202), [0] * 202, range(202)), "interval", "tact: 202 different ratings; round"),
    ],
)
def test_ratings_that_cannot_agree_are_named(columns, level, message):
    with pytest.raises(ValueError, match=message):
        krippendorff_alpha("tact", *columns, level)


def judged(rate, n, sensitivity, specificity, sizes, repeats, seed=0):
    """Counts of `repeats` studies: positives, and those of the judge's own two samples."""
    rng = np.random.default_rng(seed)
    positives = rng.binomial(n, rate * sensitivity + (1 - rate) * (1 - specificity), repeats)
    found = rng.binomial(sizes[0], sensitivity, repeats)
    alone = rng.binomial(sizes[1], specificity, repeats)
    return zip(positives.tolist(), found.tolist(), alone.tolist(), strict=True)


def test_a_judge_without_errors_leaves_the_share_and_a_perfect_calibration_its_wilson_interval():
    value, low, high = corrected(30, 100, (10**7, 10**7), (10**7, 10**7))
    assert value == pytest.approx(0.3)
    assert (low, high) == pytest.approx((0.2189, 0.3958), abs=1e-4)


def test_the_rate_behind_known_errors():
    """Rogan and Gladen: (share + specificity − 1) / (sensitivity + specificity − 1)."""
    assert corrected(30, 100, (61, 67), (70, 72))[0] == pytest.approx(
        (0.3 + 70 / 72 - 1) / (61 / 67 + 70 / 72 - 1)
    )
    # Swapping what counts as positive swaps the judge's two figures, and the rate.
    value, low, high = corrected(70, 100, (70, 72), (61, 67))
    assert corrected(30, 100, (61, 67), (70, 72)) == pytest.approx((1 - value, 1 - high, 1 - low))


@pytest.mark.parametrize(("n", "sizes"), [(50, (20, 20)), (200, (67, 72)), (1000, (500, 100))])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.97), (0.7, 0.8), (0.6, 0.6)])
def test_corrected_rates_are_covered(n, sizes, sensitivity, specificity):
    """95 % in the middle; at rates of 0 and 1, or with few errors of the judge, up to 100 %."""
    for rate in (0.0, 0.1, 0.5, 0.9, 1.0):
        covered = []
        for positives, *right in judged(rate, n, sensitivity, specificity, sizes, 600):
            if right[0] / sizes[0] + right[1] / sizes[1] <= 1:
                continue
            pairs = zip(right, sizes, strict=True)
            try:
                value, low, high = corrected(positives, n, *pairs)
            except ValueError:
                covered.append(False)
                continue
            assert 0 <= low <= value <= high <= 1
            covered.append(low <= rate <= high)
        assert np.mean(covered) >= 0.95 - 3 * (0.95 * 0.05 / 600) ** 0.5, rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (3, 10, (5, 10), (5, 10)),
            r"sensitivity 0\.5 and specificity 0.5 .*no better than chance",
        ),
        ((3, 10, (0, 10), (10, 10)), "no better than chance"),
        ((0, 113, (74, 76), (30, 50)), "makes 0 positives of 113 at no rate"),
        ((90, 93, (40, 70), (56, 70)), "makes 90 positives of 93 at no rate"),
        ((11, 10, (9, 10), (9, 10)), "positives=11: .*at most 10"),
        ((0.3, 10, (9, 10), (9, 10)), r"positives=0\.3: it must be a whole number"),
        ((0, 0, (9, 10), (9, 10)), "n=0: .*at least 1"),
        ((1, 10, (0, 0), (9, 10)), r"sensitivity\[1\]=0: .*at least 1"),
        ((1, 10, (9, 10), (11, 10)), r"specificity\[0\]=11: .*at most 10"),
        ((1, 10, 0.9, (9, 10)), r"sensitivity=0\.9: give \(right, of how many\)"),
        ((1, 10, (9, 10, 1), (9, 10)), r"sensitivity=\(9, 10, 1\): give \(right, of how many\)"),
    ],
)
def test_what_cannot_be_corrected_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        corrected(*arguments)


def test_a_judge_that_may_be_chance_leaves_every_rate_open():
    assert corrected(5, 10, (6, 10), (6, 10))[1:] == (0, 1)
