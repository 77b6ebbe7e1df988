"""Answers of people to a questionnaire as one matrix."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from workbench.arguments import whole
from workbench.data.fields import as_name
from workbench.data.inventories import Inventory
from workbench.data.keying import UNDECIDED, Keying, contradicting, detect_keying, evidence, reverse
from workbench.errors import DatasetError
from workbench.files import Row, read_rows, repeated
from workbench.hub import hub_rows
from workbench.paths import data_folder, small_folder

log = logging.getLogger(__name__)

HUB = ("WestlakeNLP/PAPI-300K",)
MAX_MISSING, MIN_USED = 0.2, 10
"""A usable subject misses at most this share of the answers, and gave at least this many train
answers off the middle."""
_EMBEDDED = "survey_answers.csv"
_TRAIT_PREFIX = "true_"
_SHOWN = 8
_MANY = 20
"""People, or answers, of which more than chance may be said."""
_FEW_ZEROS = 0.02
_DIGITS = "0123456789"


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


def read_respondents(
    source: str | Path,
    inventory: Inventory,
    *,
    targets: str = "raw",
    keyed: str = "auto",
    trust_keyed: bool = False,
    limit: int | None = None,
) -> Respondents:
    """Read people's answers: the embedded ones (`"auto"`), those of the 24 invented people to the
    small inventory (`"small"`), one of `HUB`, or a local file.

    Local: a file of `files.read_rows`, a row per subject, the inventory's item ids as fields;
    `Test-set.json` as released, or a folder that holds it. Subjects are called by `case` or `id`.
    Everything else that a file says of people is not kept. Blank or 0 is a missing answer.

    `targets`: `"raw"` agreement, whichever way the file is scored, or `"released"`, the file's own
    values; where these are raw agreement, the result says `"raw"`. `keyed`: `"raw"`,
    `"reverse-scored"`, or detected; one that contradicts the data is refused unless `trust_keyed`.
    `limit`: the first subjects only.

    Subjects who miss more than a fifth of the answers or all test answers of a trait, gave fewer
    than 10 train answers off the middle, or the same (raw) answer throughout, are left out, listed
    in `dropped` and logged. Logged as well: items that contradict their facet, people who answer
    exactly alike, a scale of which an end is not used.

    Raises `FileNotFoundError`, and `DatasetError`, naming subject and item, for a value that is no
    whole number from 0 to 5, unknown or absent items, subjects without a name or twice, answers
    that seem to count from 0, no usable subject, or undecidable keying.
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
    names = _names(rows, str(source))
    if twice := repeated(names):
        raise DatasetError(f"{source}: subjects {', '.join(twice[:5])} are there twice; remove one")
    values = _matrix(rows, names, inventory, str(source))
    keying = _keying(values, inventory, keyed, trust_keyed)
    log.info("%s: values are %s (opposite items of a facet correlate %+.2f over %d pairs)",
             source, keying.verdict, keying.correlation, keying.pairs)  # fmt: skip
    reverse_scored = keying.verdict == "reverse-scored"
    turned = reverse(values, inventory)
    raw, keyed_values = (turned, values) if reverse_scored else (values, turned)
    _warn(values, keyed_values, names, inventory, str(source))
    # What is averaged later is reverse-scored unless the values are called raw.
    targets = "released" if reverse_scored and targets == "released" else "raw"
    values = raw if targets == "raw" else values
    traits = _true_traits(rows, names, inventory, str(source))
    # On raw answers, so that the same people are kept whichever targets are asked for.
    everybody = Respondents(inventory, values, tuple(names), targets, keying, traits)
    return _usable(everybody, raw, str(source))


def _usable(everybody: Respondents, raw: np.ndarray, source: str) -> Respondents:
    """Those who are usable; `raw`: everybody's agreement. The others are logged."""
    reasons = [_unusable(row, everybody.inventory) for row in raw]
    dropped = tuple((n, r) for n, r in zip(everybody.ids, reasons, strict=True) if r)
    if dropped:
        log.warning("%d of %d subjects left out; the first: %s", len(dropped), len(raw), dropped[0])
    usable = [n for n, reason in enumerate(reasons) if not reason]
    if not usable:
        raise DatasetError(f"{source}: no usable subject; the first: {dropped[0][1]}")
    return replace(everybody, dropped=everybody.dropped + dropped).take(usable)


def fewer_items(respondents: Respondents, count: int) -> Respondents:
    """The same people, and at most `count` statements of each trait in each split.

    Either sign takes turns, then facets, so that few are as mixed as all. People who are not usable
    on those alone are left out. Raises `ValueError` for a count below 1 or above that of every
    trait, `DatasetError` where nobody is left.
    """
    inventory = respondents.inventory
    groups: dict[tuple[str, str], dict[int, dict[str, list[int]]]] = {}
    for place, item in enumerate(inventory.items):
        signs = groups.setdefault((item.trait, item.split), {})
        signs.setdefault(item.sign, {}).setdefault(item.facet, []).append(place)
    by_sign = [[_in_turn(list(f.values())) for f in signs.values()] for signs in groups.values()]
    dealt = [_in_turn(lists) for lists in by_sign]
    whole("items", count, 1, max(map(len, dealt)))
    chosen = sorted(place for places in dealt for place in places[:count])
    inventory = replace(inventory, items=tuple(inventory.items[place] for place in chosen))
    values = respondents.values[:, chosen]
    raw = values if respondents.targets == "raw" else reverse(values, inventory)
    fewer = replace(respondents, inventory=inventory, values=values)
    return _usable(fewer, raw, f"items={count}")


def _in_turn(lists: Sequence[list[int]]) -> list[int]:
    """The first of each list, then the second of each, to the end of the longest."""
    return [place for turn in zip_longest(*lists) for place in turn if place is not None]


def _rows(source: str, limit: int | None) -> Iterable[Row]:
    if source in HUB:
        return hub_rows(source, "train" if limit is None else f"train[:{limit}]")
    shipped = {"auto": data_folder() / _EMBEDDED, "small": small_folder() / "answers.csv"}
    path = shipped.get(source, Path(source))
    return read_rows(path / "Test-set.json" if path.is_dir() else path, limit)


def _names(rows: Sequence[Row], source: str) -> list[str]:
    """What each row calls its subject, `case` or `id`; its number where no row has either."""
    names = [as_name(row.get("case", row.get("id"))) for row in rows]
    if not any(names):
        return [str(n) for n in range(len(rows))]
    if blank := [n for n, name in enumerate(names) if not name]:
        raise DatasetError(f"{source} row {blank[0]}: no case or id, while other rows have one")
    return names


def _true_traits(
    rows: Sequence[Row], names: Sequence[str], inventory: Inventory, source: str
) -> np.ndarray | None:
    columns = [f"{_TRAIT_PREFIX}{t}" for t in inventory.traits]
    if not all(c in rows[0] for c in columns):
        return None
    traits = []
    for n, (name, row) in enumerate(zip(names, rows, strict=True)):
        try:
            traits.append([float(row[c]) for c in columns])
            if not np.isfinite(traits[-1]).all():
                raise ValueError("not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{source} row {n}: subject {name}: {', '.join(columns)} are not all numbers"
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
        subject = f"{source} row {n}: subject {name}"
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
    if values.max() < 5 and (values == 0).mean() > _FEW_ZEROS:
        zeros = sum(_written(row[i]) for n, row in enumerate(rows)
                    for i, v in zip(ids, values[n], strict=True) if not v)  # fmt: skip
        if zeros > _FEW_ZEROS * values.size:
            raise DatasetError(
                f"{source}: no answer is 5 and {zeros} are 0: they seem to count from 0. Answers "
                "are 1 to 5; add 1 to each, or leave those that are missing blank"
            )
    return values


def _written(given: Any) -> bool:
    return given is not None and (not isinstance(given, str) or bool(given.strip()))


def _value(given: Any, where: str) -> int:
    if not _written(given):
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
    seen = evidence(values, inventory)
    if seen.verdict not in (keyed, UNDECIDED) and not trust:
        raise DatasetError(
            f"keyed={keyed!r} contradicts the data: opposite items of a facet correlate "
            f"{seen.correlation:+.2f} on average ({seen.positive:.0%} of {seen.pairs} "
            f"pairs above 0), as {seen.verdict} values do. Check the key; trust_keyed=True "
            "insists"
        )
    return replace(seen, verdict=keyed, stated=True)


def _warn(
    values: np.ndarray,
    keyed_values: np.ndarray,
    names: Sequence[str],
    inventory: Inventory,
    source: str,
) -> None:
    """Log what is no error, but makes numbers wrong where it is one."""
    if items := contradicting(keyed_values, inventory):
        log.warning("%s: items %s contradict their facet: is their sign in the key right?",
                    source, ", ".join(items[:_SHOWN]))  # fmt: skip
    ends = [end for end in (1, 5) if not (values == end).any()]
    if ends and len(values) >= _MANY:
        log.warning("%s: nobody answers %s: is its scale 1 to 5?", source, ends[0])
    alike: dict[bytes, list[str]] = {}
    for name, row in zip(names, values, strict=True):
        if (row > 0).sum() >= _MANY and len(set(row.tolist())) > 1:
            alike.setdefault(row.tobytes(), []).append(name)
    if twice := [group for group in alike.values() if len(group) > 1]:
        log.warning(
            "%s: %d people answer exactly as somebody else, the first: %s; the same person twice "
            "makes intervals too narrow", source, sum(map(len, twice)), ", ".join(twice[0]),
        )  # fmt: skip


def _unusable(answers: np.ndarray, inventory: Inventory) -> str:
    """Reason to leave a subject out; empty for a usable one."""
    missing = float((answers == 0).mean())
    used = int((~np.isin(answers[inventory.split("train")], (0, 3))).sum())
    if missing > MAX_MISSING:
        return f"{missing:.0%} of the answers are missing"
    if len(set(answers[answers > 0].tolist())) == 1:
        return "all answers are equal"
    test = inventory.split("test")
    answered = set(inventory.trait_of(test)[answers[test] > 0].tolist())
    if absent := [t for n, t in enumerate(inventory.traits) if n not in answered]:
        return f"no answer to a test item of trait {absent[0]}"
    return f"{used} train answers off the middle, {MIN_USED} needed" if used < MIN_USED else ""
