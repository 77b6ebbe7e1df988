"""Which way a file's values are scored: raw agreement, or turned for items of sign -1."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from workbench.data.inventories import Inventory
from workbench.errors import DatasetError

UNDECIDED = "undecided"
_CLEAR, _AGREED = 0.15, 0.8
"""A verdict takes a mean correlation this far from 0, and this share of pairs on its side; a key
that belongs to other columns has neither."""
_MIN_PAIRS, _MIN_PEOPLE = 5, 20
_LONG = 20
"""Nobody answers so many items alike, whichever way they are keyed, who has read them."""
_WRONG_SIGN = -0.2


@dataclass(frozen=True)
class Keying:
    """How values are scored, `"raw"` or `"reverse-scored"` (`verdict`), and the evidence.

    `correlation`: the mean over `pairs` of a facet's items of opposite sign; `positive`: the share
    of these pairs above 0. Above 0 throughout: the values are already reverse-scored. `stated`:
    the user said so, it was not detected.
    """

    verdict: str
    correlation: float
    positive: float
    pairs: int
    stated: bool = False


def reverse(values: np.ndarray, inventory: Inventory) -> np.ndarray:
    """`values` with 6 − v where an item's sign is −1; missing stays missing. Its own inverse."""
    reversed_here = (inventory.sign < 0) & (values > 0)
    return np.where(reversed_here, 6 - values, values).astype(values.dtype)


def detect_keying(values: np.ndarray, inventory: Inventory) -> Keying:
    """Find out whether values are raw agreement or already reverse-scored.

    Raises `DatasetError` with the figures where that cannot be decided.
    """
    keying = evidence(values, inventory)
    if keying.verdict == UNDECIDED:
        raise DatasetError(
            f"cannot tell whether the values are reverse-scored: {keying.pairs} pairs of opposite "
            f"items in one facet, {len(values)} people, mean correlation "
            f"{keying.correlation:+.2f}. Say so with keyed='raw' or keyed='reverse-scored'"
        )
    return keying


def evidence(values: np.ndarray, inventory: Inventory) -> Keying:
    """What speaks for either way of scoring; the verdict is `UNDECIDED` where that is not enough.

    Two items of one facet with opposite signs contradict each other, so that raw answers to them
    correlate below 0 over people, reverse-scored ones above. People who give one answer throughout,
    raw or reverse-scored, are left out: they agree to opposites, and would tip the scales.
    """
    values = values[~_alike(values, inventory)]
    answers = np.where(values > 0, values, np.nan).astype(float)
    correlations = []
    for members in _facets(inventory):
        for a, b in combinations(members, 2):
            if inventory.sign[a] != inventory.sign[b]:
                pair = answers[:, [a, b]]
                pair = pair[~np.isnan(pair).any(1)]
                if len(pair) >= _MIN_PEOPLE // 2 and (pair.std(0) > 0).all():
                    correlations.append(float(np.corrcoef(pair.T)[0, 1]))
    count = len(correlations)
    mean = float(np.mean(correlations)) if count else 0.0
    positive = float(np.mean(np.array(correlations) > 0)) if count else 0.0
    few = count < _MIN_PAIRS or len(values) < _MIN_PEOPLE
    if few or abs(mean) < _CLEAR or max(positive, 1 - positive) < _AGREED:
        return Keying(UNDECIDED, mean, positive, count)
    return Keying("reverse-scored" if mean > 0 else "raw", mean, positive, count)


def contradicting(keyed: np.ndarray, inventory: Inventory) -> list[str]:
    """Ids of items that correlate below -0.2 with the rest of their facet: a wrong sign, perhaps.

    keyed: int `[subject, item]`, reverse-scored, 0 missing.
    """
    answers = np.ma.masked_equal(keyed, 0).astype(float)
    ids = []
    for members in filter(lambda facet: len(facet) > 1, _facets(inventory)):
        for item in members:
            rest = answers[:, [m for m in members if m != item]].mean(1)
            known = ~(np.ma.getmaskarray(answers[:, item]) | np.ma.getmaskarray(rest))
            pair = np.stack([np.asarray(answers[known, item]), np.asarray(rest[known])])
            enough = pair.shape[1] >= _MIN_PEOPLE and (np.ptp(pair, axis=1) > 1e-9).all()
            if enough and np.corrcoef(pair)[0, 1] < _WRONG_SIGN:
                ids.append(inventory.items[item].id)
    return ids


def _facets(inventory: Inventory) -> list[list[int]]:
    """Places of each facet's items."""
    facets: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(inventory.items):
        facets.setdefault((item.trait, item.facet), []).append(index)
    return list(facets.values())


def _alike(values: np.ndarray, inventory: Inventory) -> np.ndarray:
    """bool `[subject]`: many answers and all equal, as they are or once reversed."""
    many = (values > 0).sum(1) >= _LONG
    both = [values, reverse(values, inventory)]
    equal = [np.where(way > 0, way, 6).min(1) == way.max(1) for way in both]
    return many & np.any(equal, 0)
