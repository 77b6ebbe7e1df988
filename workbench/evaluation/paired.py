"""Two methods on the same items: by how much they differ, and whether chance would do it.

Items that belong together (turns of a dialogue, papers of a topic, a question under every seed) are
a cluster: `units` is one unit → its id for every item, or the name of items that are independent.
Where seeds are a sample, too, give the differences to `metrics.measured` with both units.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.arguments import seed_number, shown
from workbench.evaluation.intervals import ANY, Limits, Units, bootstrap, coded
from workbench.evaluation.metrics import metric, numbers

FLIPS = 9999


def paired_bootstrap(
    name: str,
    first: Sequence,
    second: Sequence,
    units: Units,
    *,
    statistic: Callable[[np.ndarray], float | None] = np.mean,
    limits: Limits = ANY,
    seed: int = 0,
) -> tuple[dict[str, Any], float | None]:
    """A `metric` of the first method's statistic less the second's, and the p-value of no gain.

    `first`, `second`: a value per item, or a row of several if `statistic` takes an array `[item,
    value]`. `limits`: of the difference. Whole clusters are resampled; when interval and two-sided
    p-value are None, and how often they err: `intervals.bootstrap`.

    Raises `ValueError` for lists of different length, scores that are not finite, several units,
    or medians, which `measured` has.

    >>> row, p = paired_bootstrap("gain", ours, theirs, {"dialogues": dialogue_of_turn})
    """
    if statistic is np.median:
        raise ValueError(f"{name}: give the differences to measured(statistic=np.median)")
    a, b = scores(first, second) if statistic is np.mean else (np.array(first), np.array(second))
    if len(a) != len(b):
        raise ValueError(f"{name}: {len(a)} items of the first method, {len(b)} of the second")
    unit, clusters = _clusters(units, len(a))

    def gain(places: np.ndarray) -> float:
        # What is undefined, None, becomes NaN.
        return float(np.subtract(*np.array([statistic(x[places]) for x in (a, b)], float)))

    value, bounds, p = bootstrap(gain, clusters, limits, seed)
    return metric(name, value, len(a), bounds, unit=bounds and unit), p


def sign_flip_p(
    first: Sequence[float], second: Sequence[float], units: Units = "items", *, seed: int = 0
) -> float:
    """Two-sided p-value of the mean difference among those with signs flipped at random.

    Whole clusters are flipped. Exact where at most 20 of them differ; else of 9999 random flips and
    the data's own, so never 0. At most 5 % are below 0.05 where the methods could be swapped in any
    cluster; up to 34 % where gains are rare and large. Raises `ValueError` as `paired_bootstrap`.

    >>> sign_flip_p([3, 4, 5, 4], [1, 2, 2, 3], {"topics": ["a", "a", "b", "c"]})
    """
    a, b = scores(first, second)
    sums = numbers("differences", np.bincount(_clusters(units, len(a))[1], a - b))
    scale = np.abs(sums).sum()
    # Sorted, so that order does not matter; rounding separates no ties.
    gaps = np.sort(np.abs(sums[np.abs(sums) > 1e-12 * scale]))
    least = abs(sums.sum()) - 1e-9 * scale
    if len(gaps) <= 20:
        flipped = np.zeros(1)
        for gap in gaps:
            flipped = np.concatenate([flipped + gap, flipped - gap])
        return float(np.mean(np.abs(flipped) >= least))
    rng, beyond = np.random.default_rng(seed_number(seed)), 1
    for part in np.array_split(np.arange(FLIPS), 1 + FLIPS * len(gaps) // 2**23):
        flipped = rng.choice((-1.0, 1.0), (len(part), len(gaps))) @ gaps
        beyond += int((np.abs(flipped) >= least).sum())
    return beyond / (FLIPS + 1)


def mcnemar_p(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Exact two-sided McNemar p-value of two methods on the same questions (1 if they agree).

    `first`, `second`: whether each method is right, per question. Raises `ValueError` for lists of
    different length, or scores.
    """
    from scipy.stats import binomtest

    a, b = scores(first, second)
    if not np.isin([a, b], (0, 1)).all():
        raise ValueError("give whether each method is right, 0 or 1; for scores: sign_flip_p")
    gained, lost = int((a > b).sum()), int((a < b).sum())
    return float(binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0


def scores(first: Sequence, second: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Two lists of finite numbers, float `[n]` each; raises `ValueError` for any other."""
    a, b = numbers("first", first), numbers("second", second)
    if a.shape != b.shape or a.ndim > 1:
        raise ValueError(f"first: {a.shape}, second: {b.shape}: give one number each per item")
    return a, b


def _clusters(units: Units, n: int) -> tuple[str, np.ndarray]:
    codes = coded(units, n)
    if len(codes) != 1:
        raise ValueError(f"units {shown(units)}: give one unit's ids; for more, measured")
    return next(iter(codes.items()))
