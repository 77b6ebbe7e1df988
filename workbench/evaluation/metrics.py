"""Reported numbers: value, count, interval and published value; intervals and tests of shares."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

FIELDS = ("name", "value", "n", "ci95", "unit", "published", "published_setting")


def metric(
    name: str,
    value: float,
    n: int,
    ci95: Sequence[float],
    published: float | None = None,
    published_setting: str | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """One row of `results.json`. `ci95` is (low, high); `n` what was counted or repeated.

    `unit`: what `ci95` varies over. Raises `ValueError` where the value is not finite or lies
    outside its interval.
    """
    low, high = map(float, ci95)
    value = float(value)
    if not (np.isfinite([low, high]).all() and low - 1e-9 <= value <= high + 1e-9):
        raise ValueError(f"{name}: {value} outside its interval [{low}, {high}], or not finite")
    row = (name, value, int(n), [low, high], unit, published, published_setting)
    return dict(zip(FIELDS, row, strict=True))


def measured(
    name: str,
    values: Sequence,
    unit: str | tuple[str, str],
    published: tuple[float | None, str | None] | None = None,
    *,
    statistic: Callable[[np.ndarray], float] = np.mean,
) -> dict[str, Any]:
    """A `metric` computed from its values, with a 95 % bootstrap interval over what varies.

    `unit` names what varies: `"repeats"` for a flat list, `("seeds", "questions")` for
    `values[seed][question]`, where seeds are resampled first and questions within each. A value
    may be a row of several numbers if `statistic` takes an array `[value, number]`. `published`:
    (value, setting). The interval is widened to hold the value where its percentiles miss it, as
    those of a statistic with a bias may.

    Raises `ValueError` for no values, or a result that is not finite.

    >>> measured("accuracy", [[1, 0, 1], [1, 1, 0]], ("seeds", "questions"), (0.8, "the paper's"))
    """
    groups = [values] if isinstance(unit, str) else values
    low, high = bootstrap_ci(groups, statistic)
    flat = np.concatenate([np.asarray(group, float) for group in groups if len(group)])
    value = float(statistic(flat))
    interval = (min(low, value), max(high, value))
    spelled = unit if isinstance(unit, str) else f"{unit[0]}, then {unit[1]}"
    return metric(name, value, len(flat), interval, *(published or (None, None)), spelled)


def bootstrap_ci(
    values: Sequence[Sequence],
    statistic: Callable[[np.ndarray], float] = np.mean,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over `values[group][value]`: groups by seed, say.

    Groups are resampled first and values within each, so that the interval holds the spread over
    both. Raises `ValueError` for no values.
    """
    groups = [np.asarray(v, float) for v in values if len(v)]
    if not groups:
        raise ValueError("no values to resample")
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        resampled = [groups[i] for i in rng.integers(len(groups), size=len(groups))]
        draws.append(statistic(np.concatenate([rng.choice(g, len(g)) for g in resampled])))
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def wilson_ci(successes: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share. Raises `ValueError` unless 0 <= successes <= n > 0."""
    from scipy.stats import binomtest

    interval = binomtest(successes, n).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar_p(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided McNemar p-value of two methods on the same questions (1 if they agree).

    `first`, `second`: whether each method is right, per question. Raises `ValueError` for lists of
    different length.
    """
    from scipy.stats import binomtest

    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    gained, lost = pairs.count((True, False)), pairs.count((False, True))
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
