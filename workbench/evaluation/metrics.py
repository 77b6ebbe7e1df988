"""Reported numbers: value, count, interval and published value."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from workbench.evaluation.intervals import Limits, Units, interval, layout

FIELDS = ("name", "value", "n", "ci95", "unit", "published", "published_setting")


def metric(
    name: str,
    value: float,
    n: int,
    ci95: Sequence[float] | None = None,
    published: float | None = None,
    published_setting: str | None = None,
    unit: str | None = None,
) -> dict[str, Any]:
    """One row of `results.json`. `ci95` is (low, high), or None; `n` what was counted or repeated.

    `unit`: what `ci95` varies over. Raises `ValueError` where the value is not finite or lies
    outside its interval.
    """
    value, bounds = float(value), ci95 and [float(bound) for bound in ci95]
    low, high = bounds or (value, value)
    if not (np.isfinite([low, high]).all() and low - 1e-9 <= value <= high + 1e-9):
        raise ValueError(f"{name}: {value} outside its interval [{low}, {high}], or not finite")
    row = (name, value, int(n), bounds, unit, published, published_setting)
    return dict(zip(FIELDS, row, strict=True))


def measured(
    name: str,
    values: Sequence,
    units: Units,
    published: tuple[float | None, str | None] | None = None,
    *,
    statistic: Callable[[np.ndarray], float] = np.mean,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """A `metric` computed from its values, with a 95 % interval over the units that vary.

    `values`: one number each, or a row of several if `statistic` takes an array `[value, number]`.
    `units`: unit → the id of that unit for every value. The same question under two seeds has the
    same id, a draw of its own has one of its own: crossed, nested and ragged layouts are read off
    the ids, and a unit with one level does not vary. A plain name: every value is one of its own.
    `published`: (value, setting). `limits`: what values can lie between by their nature, as
    `intervals.GAIN` (differences of shares), `AMOUNT` (times, counts), `ANY`; where it is not
    given, values that are all 0 or 1 are taken for shares, others for any. `ci95` is None where
    nothing varies. Methods: `intervals.interval`.

    Raises `ValueError` for no values, ids that are not one per value, values beyond the limits, or
    a result that is not finite.

    >>> measured("accuracy", [1, 0, 1, 1], {"seeds": [0, 0, 1, 1], "questions": [0, 1, 0, 1]})
    """
    array = numbers(name, values)
    if limits:
        low, high = limits
        if array.min() < low - 1e-9 or array.max() > high + 1e-9:
            raise ValueError(f"{name}: a value lies beyond {limits}")
        array = array.clip(low, high)
    if array.ndim > 1 and statistic in (np.mean, np.median):
        raise ValueError(f"{name}: values of shape {array.shape}; give one number each")
    at = layout(units, len(array))
    bounds = interval(array, at, statistic, limits)
    unit = " and ".join([", ".join(at.names[:-1]), *at.names[-1:]] if at.names[1:] else at.names)
    value = float(statistic(array))
    return metric(
        name, value, len(array), bounds, *(published or (None, None)), unit if bounds else None
    )


def spelled(ci95: Sequence[float] | None, form: str = ".4g") -> str:
    """An interval in a table's cell; a dash for none."""
    return f"[{ci95[0]:{form}}, {ci95[1]:{form}}]" if ci95 else "–"


def over_seeds(
    values: Sequence[Sequence], **ids: Sequence[Sequence[Hashable]] | None
) -> tuple[list, dict[str, list[Hashable]]]:
    """`values[seed][value]` in one list, and its units for `measured`: seeds, and those of `ids`.

    `ids`: unit → `[seed][value]`; None where no two values share one.

    >>> measured("accuracy", *over_seeds([[1, 0], [1, 1]], questions=[["a", "b"], ["a", "b"]]))
    """
    units: dict[str, list[Hashable]] = {"seeds": [s for s, v in enumerate(values) for _ in v]}
    flat = [x for seed in values for x in seed]
    for name, of_seeds in ids.items():
        units[name] = [*range(len(flat))] if of_seeds is None else [i for s in of_seeds for i in s]
    return flat, units


def numbers(name: str, values: Any) -> np.ndarray:
    """`values` as floats of any shape; raises `ValueError` for none, or one that is no number."""
    try:
        array = np.asarray(np.ma.filled(values, np.nan), float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: values {values!r:.60}: give a list of numbers") from error
    if not array.ndim or not array.size:
        raise ValueError(f"{name}: no values")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: a value is not finite")
    return array
