"""People's answers to a questionnaire as one small matrix, and which way its values are scored."""

import csv
import io
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.inventories import Inventory, repeated
from workbench.errors import DatasetError
from workbench.paths import data_folder

log = logging.getLogger(__name__)

HUB = ("WestlakeNLP/PAPI-300K",)
MAX_MISSING, MIN_USED = 0.2, 10
_EMBEDDED = "survey_answers.csv"
_TRUE = "true_"
_CLEAR, _AGREED = 0.15, 0.8
"""A verdict takes a mean correlation this far from 0, and this share of pairs on its side; a key
that belongs to other columns has neither."""
_MIN_PAIRS, _MIN_PEOPLE = 5, 20
_SHOWN = 8
_DIGITS = "0123456789"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Keying:
    """What the data say of themselves: `correlation`, the mean over `pairs` of a facet's items of
    opposite sign; `positive`, the share of these pairs above 0. Above 0 throughout: the values are
    already reverse-scored. `stated`: the user said so, it was not detected."""

    verdict: str
    correlation: float
    positive: float
    pairs: int
    stated: bool = False


@dataclass(frozen=True)
class Respondents:
    """`values` int8 `[subject, item]`: 1..5, 0 missing; raw agreement where `targets="raw"`.

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

    def take(self, places: Sequence[int]) -> "Respondents":
        """Some of the subjects."""
        return replace(
            self,
            values=self.values[list(places)],
            ids=tuple(self.ids[p] for p in places),
            traits=None if self.traits is None else self.traits[list(places)],
        )


def reverse(values: np.ndarray, inventory: Inventory) -> np.ndarray:
    """6 − v where an item's sign is −1; missing stays missing. Its own inverse."""
    turned = (inventory.sign < 0) & (values > 0)
    return np.where(turned, 6 - values, values).astype(values.dtype)


def detect_keying(values: np.ndarray, inventory: Inventory) -> Keying:
    """Whether values are raw agreement or already reverse-scored (§5, trap 1).

    Two items of one facet with opposite signs contradict each other, so that raw answers to them
    correlate below 0 over people, reverse-scored ones above.

    Raises `DatasetError` with the figures where that cannot be decided.
    """
    facets: dict[tuple[str, str], list[int]] = {}
    for place, item in enumerate(inventory.items):
        facets.setdefault((item.trait, item.facet), []).append(place)
    answers = np.where(values > 0, values, np.nan).astype(float)
    found = []
    for members in facets.values():
        for a, b in combinations(members, 2):
            if inventory.sign[a] != inventory.sign[b]:
                both = answers[:, [a, b]]
                both = both[~np.isnan(both).any(1)]
                if len(both) >= 3 and (both.std(0) > 0).all():
                    found.append(float(np.corrcoef(both.T)[0, 1]))
    mean = float(np.mean(found)) if found else 0.0
    positive = float(np.mean(np.array(found) > 0)) if found else 0.0
    few = len(found) < _MIN_PAIRS or len(values) < _MIN_PEOPLE
    if few or abs(mean) < _CLEAR or max(positive, 1 - positive) < _AGREED:
        raise DatasetError(
            f"cannot tell whether the values are reverse-scored: {len(found)} pairs of opposite "
            f"items in one facet, {len(values)} people, mean correlation {mean:+.2f}. Say so with "
            "keyed='raw' or keyed='reverse-scored'"
        )
    return Keying("reverse-scored" if mean > 0 else "raw", mean, positive, len(found))


def read_respondents(
    source: str | Path,
    inventory: Inventory,
    *,
    targets: str = "raw",
    keyed: str = "auto",
    trust_keyed: bool = False,
    limit: int | None = None,
) -> Respondents:
    """Answers from a file: the embedded people (`"auto"`), one of `HUB`, or a local file.

    Local: .json or .jsonl objects, .csv or .parquet columns, named by the inventory's item ids;
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
    values = _matrix(rows, inventory, str(source))
    keying = _keying(values, inventory, keyed, trust_keyed)
    log.info("%s: values are %s (opposite items of a facet correlate %+.2f over %d pairs)",
             source, keying.verdict, keying.correlation, keying.pairs)  # fmt: skip
    turned = keying.verdict == "reverse-scored"
    raw = reverse(values, inventory) if turned else values
    # What is averaged later is reverse-scored unless the values are called raw.
    targets = "released" if turned and targets == "released" else "raw"
    values = raw if targets == "raw" else values
    traits = _true(rows, names, inventory, str(source))
    # On raw answers, so that the same people are kept whichever targets are asked for.
    reasons = [_unusable(row, inventory) for row in raw]
    dropped = tuple((n, r) for n, r in zip(names, reasons, strict=True) if r)
    everybody = Respondents(inventory, values, tuple(names), targets, keying, traits, dropped)
    if dropped:
        log.warning(
            "%d of %d subjects left out; the first: %s", len(dropped), len(rows), dropped[0]
        )
    kept = [n for n, reason in enumerate(reasons) if not reason]
    if not kept:
        raise DatasetError(f"{source}: no usable subject; the first: {dropped[0][1]}")
    return everybody.take(kept)


def _rows(source: str, limit: int | None) -> Iterable[Row]:
    if source in HUB:
        from datasets import load_dataset

        split = "train" if limit is None else f"train[:{limit}]"
        try:
            return load_dataset(source, split=split)
        except OSError as error:
            raise DatasetError(
                f"{source} cannot be read from the hub: check the network, set HF_TOKEN, or give a "
                f"local file. ({str(error).partition(chr(10))[0]})"
            ) from error
    path = data_folder() / _EMBEDDED if source == "auto" else Path(source)
    path = path / "Test-set.json" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is no file; give .json, .jsonl, .csv or .parquet, or 'auto'"
        )
    if path.suffix == ".parquet":
        # `datasets` would leave a copy of every column in its cache, age and sex too.
        from pyarrow import ArrowException, parquet

        try:
            return parquet.read_table(path).slice(0, limit).to_pylist()
        except ArrowException as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".csv":
            reader = csv.DictReader(io.StringIO(text))
            if twice := repeated(reader.fieldnames or []):
                raise DatasetError(f"{path}: columns {', '.join(twice)} are there twice")
            found = list(reader)
        elif path.suffix == ".jsonl":
            found = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            found = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise DatasetError(f"{path}: expected a list of subjects, an object each")
    if long := [n for n, row in enumerate(found) if None in row]:
        raise DatasetError(f"{path}: more values than columns in rows {long[:_SHOWN]} (from 0)")
    return found[:limit]


def _true(
    rows: Sequence[Row], names: Sequence[str], inventory: Inventory, source: str
) -> np.ndarray | None:
    columns = [f"{_TRUE}{t}" for t in inventory.traits]
    if not all(c in rows[0] for c in columns):
        return None
    out = []
    for name, row in zip(names, rows, strict=True):
        try:
            out.append([float(row[c]) for c in columns])
        except (KeyError, TypeError, ValueError) as error:
            said = f"{source}: subject {name}: {', '.join(columns)} are not all numbers"
            raise DatasetError(said) from error
    return np.array(out)


def _matrix(rows: Sequence[Row], inventory: Inventory, source: str) -> np.ndarray:
    ids = [item.id for item in inventory.items]
    styles = {i.rstrip(_DIGITS) for i in ids} - {"", *ids}
    known, out = set(ids), np.zeros((len(rows), len(ids)), np.int8)
    for n, row in enumerate(rows):
        who = f"{source}: subject {row.get('case', row.get('id', n))}"
        absent = [i for i in ids if i not in row]
        if absent:
            raise DatasetError(
                f"{who} has {len(ids) - len(absent)} of {len(ids)} items; absent: "
                f"{', '.join(absent[:_SHOWN])}{', …' if len(absent) > _SHOWN else ''}"
            )
        # Only columns that look like items: what else a file says of people is none of ours.
        numbered = [k for k in row if k[-1:].isdigit() and k.rstrip(_DIGITS) in styles]
        if unknown := [k for k in numbered if k not in known]:
            raise DatasetError(f"{who}: unknown items {', '.join(unknown[:_SHOWN])}")
        for place, item in enumerate(ids):
            out[n, place] = _value(row[item], f"{who}, item {item}")
    return out


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
        found = detect_keying(values, inventory)
    except DatasetError:
        return Keying(keyed, 0.0, 0.0, 0, stated=True)
    if found.verdict != keyed and not trust:
        raise DatasetError(
            f"keyed={keyed!r} contradicts the data: opposite items of a facet correlate "
            f"{found.correlation:+.2f} on average ({found.positive:.0%} of {found.pairs} pairs "
            f"above 0), as {found.verdict} values do. Check the key; trust_keyed=True insists"
        )
    return replace(found, verdict=keyed, stated=True)


def _unusable(answers: np.ndarray, inventory: Inventory) -> str:
    """Why a subject is left out; empty for a usable one."""
    missing = float((answers == 0).mean())
    used = int((~np.isin(answers[inventory.split("train")], (0, 3))).sum())
    if missing > MAX_MISSING:
        return f"{missing:.0%} of the answers are missing"
    if len(set(answers[answers > 0].tolist())) == 1:
        return "all answers are equal"
    return f"{used} train answers off the middle, {MIN_USED} needed" if used < MIN_USED else ""
