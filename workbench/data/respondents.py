"""Answers of people to a questionnaire as one matrix; which way its values are scored."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.inventories import Inventory
from workbench.errors import DatasetError
from workbench.files import Row, hub_rows, read_rows, repeated
from workbench.paths import data_folder

log = logging.getLogger(__name__)

HUB = ("WestlakeNLP/PAPI-300K",)
MAX_MISSING, MIN_USED = 0.2, 10
"""A usable subject misses at most this share of the answers, and gave at least this many train
answers off the middle."""
_EMBEDDED = "survey_answers.csv"
_TRAIT_PREFIX = "true_"
_CLEAR, _AGREED = 0.15, 0.8
"""A verdict takes a mean correlation this far from 0, and this share of pairs on its side; a key
that belongs to other columns has neither."""
_MIN_PAIRS, _MIN_PEOPLE = 5, 20
_SHOWN = 8
_DIGITS = "0123456789"


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


@dataclass(frozen=True)
class Respondents:
    """Answers of people: `values` int8 `[subject, item]`, 1..5, 0 missing; raw agreement where
    `targets="raw"`.

    `traits`: float `[subject, trait]`, known of synthetic people only. `dropped`: (id, reason) of
    those left out.
    """

    inventory: Inventory
    values: np.ndarray
    ids: tuple[str, ...]
    targets: str
    keying: Keying
    traits: np.ndarray | None = None
    dropped: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: Sequence[int]) -> "Respondents":
        """The subjects at these indices, in this order."""
        return replace(
            self,
            values=self.values[list(indices)],
            ids=tuple(self.ids[i] for i in indices),
            traits=None if self.traits is None else self.traits[list(indices)],
        )


def reverse(values: np.ndarray, inventory: Inventory) -> np.ndarray:
    """`values` with 6 − v where an item's sign is −1; missing stays missing. Its own inverse."""
    reversed_here = (inventory.sign < 0) & (values > 0)
    return np.where(reversed_here, 6 - values, values).astype(values.dtype)


def detect_keying(values: np.ndarray, inventory: Inventory) -> Keying:
    """Find out whether values are raw agreement or already reverse-scored.

    Two items of one facet with opposite signs contradict each other, so that raw answers to them
    correlate below 0 over people, reverse-scored ones above.

    Raises `DatasetError` with the figures where that cannot be decided.
    """
    facets: dict[tuple[str, str], list[int]] = {}
    for index, item in enumerate(inventory.items):
        facets.setdefault((item.trait, item.facet), []).append(index)
    answers = np.where(values > 0, values, np.nan).astype(float)
    correlations = []
    for members in facets.values():
        for a, b in combinations(members, 2):
            if inventory.sign[a] != inventory.sign[b]:
                pair = answers[:, [a, b]]
                pair = pair[~np.isnan(pair).any(1)]
                if len(pair) >= 3 and (pair.std(0) > 0).all():
                    correlations.append(float(np.corrcoef(pair.T)[0, 1]))
    count = len(correlations)
    mean = float(np.mean(correlations)) if count else 0.0
    positive = float(np.mean(np.array(correlations) > 0)) if count else 0.0
    few = count < _MIN_PAIRS or len(values) < _MIN_PEOPLE
    if few or abs(mean) < _CLEAR or max(positive, 1 - positive) < _AGREED:
        raise DatasetError(
            f"cannot tell whether the values are reverse-scored: {count} pairs of opposite "
            f"items in one facet, {len(values)} people, mean correlation {mean:+.2f}. Say so with "
            "keyed='raw' or keyed='reverse-scored'"
        )
    return Keying("reverse-scored" if mean > 0 else "raw", mean, positive, count)


def read_respondents(
    source: str | Path,
    inventory: Inventory,
    *,
    targets: str = "raw",
    keyed: str = "auto",
    trust_keyed: bool = False,
    limit: int | None = None,
) -> Respondents:
    """Read people's answers: the embedded ones (`"auto"`), one of `HUB`, or a local file.

    Local: a file of `files.read_rows`, a row per subject, the inventory's item ids as fields;
    `Test-set.json` as released, or a folder that holds it. Subjects are called by `case` or `id`.
    Everything else that a file says of people is not kept. Blank or 0 is a missing answer.

    `targets`: `"raw"` agreement, whichever way the file is scored, or `"released"`, the file's own
    values; where these are raw agreement, the result says `"raw"`. `keyed`: `"raw"`,
    `"reverse-scored"`, or detected; one that contradicts the data is refused unless `trust_keyed`.
    `limit`: the first subjects only.

    Subjects who miss more than a fifth of the answers, gave fewer than 10 train answers off the
    middle, or the same (raw) answer throughout, are left out, listed in `dropped` and logged.

    Raises `FileNotFoundError`, and `DatasetError`, naming subject and item, for a value that is no
    whole number from 0 to 5, unknown or absent items, no usable subject, or undecidable keying.
    """
    if limit is not None and limit < 1:
        raise DatasetError(f"limit={limit}; give at least 1")
    if targets not in ("raw", "released"):
        raise DatasetError(f"targets={targets!r}; use 'raw' or 'released'")
    if keyed not in ("auto", "raw", "reverse-scored"):
        raise DatasetError(f"keyed={keyed!r}; use 'auto', 'raw' or 'reverse-scored'")
    rows = list(_rows(str(source), limit))
    if not rows:
        raise DatasetError(f"{source}: no subjects")
    names = [str(row.get("case", row.get("id", n))) for n, row in enumerate(rows)]
    if twice := repeated(names):
        raise DatasetError(f"{source}: subjects {', '.join(twice[:5])} are there twice; remove one")
    values = _matrix(rows, names, inventory, str(source))
    keying = _keying(values, inventory, keyed, trust_keyed)
    log.info("%s: values are %s (opposite items of a facet correlate %+.2f over %d pairs)",
             source, keying.verdict, keying.correlation, keying.pairs)  # fmt: skip
    reverse_scored = keying.verdict == "reverse-scored"
    raw = reverse(values, inventory) if reverse_scored else values
    # What is averaged later is reverse-scored unless the values are called raw.
    targets = "released" if reverse_scored and targets == "released" else "raw"
    values = raw if targets == "raw" else values
    traits = _true_traits(rows, names, inventory, str(source))
    # On raw answers, so that the same people are kept whichever targets are asked for.
    reasons = [_unusable(row, inventory) for row in raw]
    dropped = tuple((n, r) for n, r in zip(names, reasons, strict=True) if r)
    everybody = Respondents(inventory, values, tuple(names), targets, keying, traits, dropped)
    if dropped:
        log.warning(
            "%d of %d subjects left out; the first: %s", len(dropped), len(rows), dropped[0]
        )
    usable = [n for n, reason in enumerate(reasons) if not reason]
    if not usable:
        raise DatasetError(f"{source}: no usable subject; the first: {dropped[0][1]}")
    return everybody.take(usable)


def _rows(source: str, limit: int | None) -> Iterable[Row]:
    if source in HUB:
        return hub_rows(source, "train" if limit is None else f"train[:{limit}]")
    path = data_folder() / _EMBEDDED if source == "auto" else Path(source)
    return read_rows(path / "Test-set.json" if path.is_dir() else path, limit)


def _true_traits(
    rows: Sequence[Row], names: Sequence[str], inventory: Inventory, source: str
) -> np.ndarray | None:
    columns = [f"{_TRAIT_PREFIX}{t}" for t in inventory.traits]
    if not all(c in rows[0] for c in columns):
        return None
    traits = []
    for name, row in zip(names, rows, strict=True):
        try:
            traits.append([float(row[c]) for c in columns])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{source}: subject {name}: {', '.join(columns)} are not all numbers"
            ) from error
    return np.array(traits)


def _matrix(
    rows: Sequence[Row], names: Sequence[str], inventory: Inventory, source: str
) -> np.ndarray:
    """int8 `[subject, item]` of every row."""
    ids = [item.id for item in inventory.items]
    known = set(ids)
    stems = {i.rstrip(_DIGITS) for i in ids} - {"", *ids}
    values = np.zeros((len(rows), len(ids)), np.int8)
    for n, (name, row) in enumerate(zip(names, rows, strict=True)):
        subject = f"{source}: subject {name}"
        if absent := [i for i in ids if i not in row]:
            raise DatasetError(
                f"{subject} has {len(ids) - len(absent)} of {len(ids)} items; absent: "
                f"{', '.join(absent[:_SHOWN])}{', …' if len(absent) > _SHOWN else ''}"
            )
        # Only columns that look like items: what else a file says of people is none of ours.
        numbered = [k for k in row if k[-1:].isdigit() and k.rstrip(_DIGITS) in stems]
        if unknown := [k for k in numbered if k not in known]:
            raise DatasetError(f"{subject}: unknown items {', '.join(unknown[:_SHOWN])}")
        values[n] = [_value(row[i], f"{subject}, item {i}") for i in ids]
    return values


def _value(given: Any, where: str) -> int:
    if given is None or (isinstance(given, str) and not given.strip()):
        return 0
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        number = -1.0
    if isinstance(given, bool) or number not in (0, 1, 2, 3, 4, 5):
        raise DatasetError(f"{where}: {given!r} is no whole number from 0 (missing) to 5")
    return int(number)


def _keying(values: np.ndarray, inventory: Inventory, keyed: str, trust: bool) -> Keying:
    if keyed == "auto":
        return detect_keying(values, inventory)
    try:
        detected = detect_keying(values, inventory)
    except DatasetError:
        return Keying(keyed, 0.0, 0.0, 0, stated=True)
    if detected.verdict != keyed and not trust:
        raise DatasetError(
            f"keyed={keyed!r} contradicts the data: opposite items of a facet correlate "
            f"{detected.correlation:+.2f} on average ({detected.positive:.0%} of {detected.pairs} "
            f"pairs above 0), as {detected.verdict} values do. Check the key; trust_keyed=True "
            "insists"
        )
    return replace(detected, verdict=keyed, stated=True)


def _unusable(answers: np.ndarray, inventory: Inventory) -> str:
    """Reason to leave a subject out; empty for a usable one."""
    missing = float((answers == 0).mean())
    used = int((~np.isin(answers[inventory.split("train")], (0, 3))).sum())
    if missing > MAX_MISSING:
        return f"{missing:.0%} of the answers are missing"
    if len(set(answers[answers > 0].tolist())) == 1:
        return "all answers are equal"
    return f"{used} train answers off the middle, {MIN_USED} needed" if used < MIN_USED else ""
