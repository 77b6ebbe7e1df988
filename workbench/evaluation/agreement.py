"""How far judges, raters and predictors of the same items agree, and what their errors hide."""

from collections import Counter
from collections.abc import Hashable, Sequence
from numbers import Real
from typing import Any

import numpy as np
from scipy.special import ndtri

from workbench import arguments
from workbench.errors import WorkbenchError
from workbench.evaluation.intervals import bootstrap, coded
from workbench.evaluation.metrics import metric
from workbench.evaluation.paired import scores


def macro_f1(
    gold: Sequence, predicted: Sequence, labels: Sequence | None = None
) -> tuple[float, float, float]:
    """Macro F1, the best that any constant prediction has on this `gold`, and share predicted.

    `labels`: the classes, by default those of `gold`; one that never occurs has an F1 of 0. A
    prediction that is None (not parsed) or no class misses its gold class. Raises `ValueError` for
    lists of different length, a gold label that is no class, mixed types, or fewer than 2 classes.
    """
    gold, predicted = arguments.listed("gold", gold), arguments.listed("predicted", predicted)
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold labels, and {len(predicted)} predicted")
    given = [label for label in predicted if label is not None]
    labels = gold if labels is None else arguments.listed("labels", labels)
    _one_kind("labels", [*labels, *gold, *given])
    classes = [*dict.fromkeys(labels)]
    of_gold, of_given = Counter(gold), Counter(given)
    if len(classes) < 2 or not of_gold.keys() <= {*classes}:
        raise ValueError(f"labels={classes!r:.80}: give two or more, those of gold among them")
    right = Counter(g for g, p in zip(gold, predicted, strict=True) if g == p)
    f1 = [2 * right[c] / max(of_gold[c] + of_given[c], 1) for c in classes]
    most = max(of_gold.values())
    # 2a / (1 + a) of the one class that is always predicted, right with share a.
    constant = 2 * most / (len(gold) + most) / len(classes)
    return sum(f1) / len(classes), constant, len(given) / len(gold)


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where undefined: a single item, or values all alike.

    Raises `ValueError` for lists of different length, or values that are not finite.
    """
    return _correlation("spearmanr", first, second)


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Kendall's tau-b, as `spearman`."""
    return _correlation("kendalltau", first, second)


def _correlation(method: str, first: Sequence, second: Sequence) -> float | None:
    from scipy import stats

    a, b = scores(first, second)
    return float(getattr(stats, method)(a, b).statistic) if np.ptp(a) and np.ptp(b) else None


def krippendorff_alpha(
    name: str, ratings: Sequence, items: Sequence[Hashable], raters: Sequence[Hashable], level: str
) -> dict[str, Any] | None:
    """A `metric` of Krippendorff's alpha (2004), with its interval over items.

    `ratings`, `items`, `raters`: three columns, a row per rating; None or NaN is a missing one.
    `level`: "nominal", of texts or numbers; "ordinal", "interval", "ratio", of numbers. `n`: items
    with two ratings; others count for nothing. None where ratings are all alike, which leaves alpha
    undefined. Interval: `intervals.bootstrap`. Raises `ValueError` for ratings with one rater, in
    all or of every item, two of an item by one, mixed types, or over 200 different ratings.

    >>> krippendorff_alpha("tact", [1, 2, 2], ["a", "a", "b"], ["Ann", "Bo", "Bo"], "ordinal")
    """
    try:
        from krippendorff import alpha
    except ImportError as error:
        raise WorkbenchError("agreement needs `pip install krippendorff` (GPL-3.0)") from error

    arguments.one_of("level", level, ("nominal", "ordinal", "interval", "ratio"))
    ratings = arguments.listed("ratings", ratings)
    item, rater = coded({"items": items, "raters": raters}, len(ratings)).values()
    rated = [i for i, r in enumerate(ratings) if r is not None and (r == r) is True]
    item, rater, ratings = item[rated], rater[rated], [ratings[i] for i in rated]
    _one_kind(f"{name}: ratings", ratings)
    if level != "nominal":
        least = 0 if level == "ratio" else None
        ratings = [arguments.finite(f"{name}: rating", rating, least) for rating in ratings]
    if len({*rater.tolist()}) < 2:
        raise ValueError(f"{name}: ratings with one rater; agreement takes two")
    if len({*zip(item.tolist(), rater.tolist(), strict=True)}) < len(ratings):
        raise ValueError(f"{name}: two ratings of an item by the same rater")
    values, place = np.unique(ratings, return_inverse=True)
    if len(values) > 200:
        raise ValueError(f"{name}: {len(values)} different ratings; round them to 200 or fewer")
    counts = np.zeros((item.max() + 1, len(values)), int)
    np.add.at(counts, (item, place), 1)
    counts = counts[counts.sum(1) > 1]
    if not len(counts):
        raise ValueError(f"{name}: no item has two ratings")
    if np.count_nonzero(counts.sum(0)) < 2:
        return None

    def of_items(places: np.ndarray) -> float:
        with np.errstate(invalid="ignore"):
            return alpha(None, counts[places], values, level)

    alike = np.unique(counts, axis=0, return_inverse=True)[1].ravel()
    value, bounds, _ = bootstrap(of_items, np.arange(len(counts)), (-np.inf, 1.0), alike=alike)
    return metric(name, value, len(counts), bounds, unit=bounds and "items")


def _one_kind(name: str, labels: Sequence) -> None:
    kinds = {next((k for k in (str, bool, Real) if isinstance(x, k) and x == x), 0) for x in labels}
    if len(kinds) > 1 or 0 in kinds:
        raise ValueError(f"{name}={arguments.shown(labels)}: give texts only, or numbers only")


def corrected(
    positives: int, n: int, sensitivity: tuple[int, int], specificity: tuple[int, int]
) -> tuple[float, float, float]:
    """Rate behind a judge's `positives` among `n` texts: value and 95 % interval (low, high).

    `sensitivity`, `specificity`: (right, of how many) on labelled texts of either kind. The value
    is Rogan and Gladen's (1978), within 0 and 1; the interval, the rates that a score test does not
    reject, carries the chance in all three counts, with a success and a failure added to the
    judge's (Lang and Reiczigel 2014). All texts are taken for independent and alike.

    Raises `ValueError` for counts that are none, for a judge no better than chance (sensitivity +
    specificity at most 1), and where no rate explains the share: the judge errs otherwise here.

    >>> value, low, high = corrected(30, 100, sensitivity=(61, 67), specificity=(70, 72))
    """
    share = arguments.whole("positives", positives, 0, arguments.whole("n", n, 1)) / n
    raw, smooth, variance = [], [], []
    for name, counts in {"sensitivity": sensitivity, "specificity": specificity}.items():
        if not isinstance(counts, Sequence) or len(counts) != 2:
            raise ValueError(f"{name}={arguments.shown(counts)}: give (right, of how many)")
        of = arguments.whole(f"{name}[1]", counts[1], 1)
        right = arguments.whole(f"{name}[0]", counts[0], 0, of)
        raw.append(right / of)
        smooth.append((right + 1) / (of + 2))
        variance.append(smooth[-1] * (1 - smooth[-1]) / (of + 2))
    judge = f"a judge of sensitivity {raw[0]:.3g} and specificity {raw[1]:.3g}"
    if sum(raw) <= 1:
        raise ValueError(f"{judge} is no better than chance: nothing can be read off its verdicts")
    value = min(1.0, max(0.0, (share + raw[1] - 1) / (sum(raw) - 1)))
    # The rates p with (share − false − p·gain)² ≤ z²·Var, both sides quadratic in p.
    z2, false, gain = float(ndtri(0.975)) ** 2, 1 - smooth[1], sum(smooth) - 1
    a = gain**2 * (1 + z2 / n) - z2 * sum(variance)
    b = gain * (share - false) + z2 * (gain * (0.5 - false) / n - variance[1])
    c = (share - false) ** 2 - z2 * (false * (1 - false) / n + variance[1])
    if a <= 0:
        return value, 0.0, 1.0
    half = max(b * b - a * c, 0.0) ** 0.5
    low, high = (b - half) / a, (b + half) / a
    if high < 0 or low > 1:
        raise ValueError(
            f"{judge} makes {positives} positives of {n} at no rate: measure it on texts like these"
        )
    return value, max(0.0, min(low, value)), min(1.0, max(high, value))
