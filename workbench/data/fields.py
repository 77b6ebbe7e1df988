"""Values of rows as people write them: truth values, names, splits."""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from workbench.errors import DatasetError
from workbench.files import Row, read_rows

log = logging.getLogger(__name__)

_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")
_ABSENT = ("", "na", "n/a", "#n/a", "nan", "null", "none")
_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def is_absent(value: Any) -> bool:
    """Whether a cell holds nothing: None, NaN, blank text, or how tables write that (`NA`, …)."""
    if isinstance(value, str):
        return value.strip().lower() in _ABSENT
    return value is None or (isinstance(value, float) and math.isnan(value))


def read_truth(value: Any, place: str, yes: Sequence[str] = (), no: Sequence[str] = ()) -> bool:
    """The truth value that a field states: true or false, yes or no, 1 or 0, as value or as text.

    `yes`, `no`: further words for either. Raises `DatasetError` naming `place` (row and field) for
    everything else, a blank too.

    >>> read_truth("False", "rows.csv row 3: field 'harmful'")
    False
    """
    words = value.strip().lower() if isinstance(value, str) else value
    if isinstance(words, str):
        if words in (*_TRUE, *yes):
            return True
        if words in (*_FALSE, *no):
            return False
    elif isinstance(words, bool | int | float) and words in (0, 1):
        return bool(words)
    pairs = (("true", "false"), ("yes", "no"), ("1", "0"), *zip(yes, no, strict=False))
    allowed = ", ".join(f"{a} or {b}" for a, b in pairs)
    raise DatasetError(f"{place} is {value!r:.40}, neither true nor false; use {allowed}")


def as_name(value: Any) -> str:
    """A name or number of something as text, alike for 1, 1.0, "1" and "1.0"; empty for nothing."""
    return "" if is_absent(value) else re.sub(r"^([-+]?\d+)\.0+$", r"\1", str(value).strip())


def of_split(rows: Iterable[Row], split: str, source: str) -> list[tuple[int, Row]]:
    """The rows of a split with their numbers, by their field `split`; all where none has it.

    Case, spaces and the usual other names (`val`, `dev`, …) do not matter. Rows of further splits
    are left out and counted in the log. Raises `DatasetError` naming a row that states no split
    where others do.
    """
    rows = list(rows)
    names = [next((k for k in row if str(k).strip().lower() == "split"), None) for row in rows]
    if all(name is None for name in names):
        return list(enumerate(rows))
    chosen, others = [], {}
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        value = row.get(name)
        if not isinstance(value, str) or is_absent(value):
            raise DatasetError(f"{source} row {number}: field 'split' is {value!r:.40}, no split")
        stated = value.strip().lower()
        stated = _SPLITS.get(stated, stated)
        if stated == _SPLITS.get(split.lower(), split.lower()):
            chosen.append((number, row))
        elif stated not in _SPLITS.values():
            others[value] = others.get(value, 0) + 1
    if others:
        counts = ", ".join(f"{name!r}: {count}" for name, count in list(others.items())[:5])
        log.warning("%s: rows of other splits are left out (%s)", source, counts)
    return chosen


def split_of_file(path: str, split: str) -> list[Row]:
    """Rows of a split of a file; of one without a `split` column the last tenth is the test.

    Raises as `files.read_rows` and `of_split`; `DatasetError` for none.
    """
    rows = read_rows(path)
    if any(str(name).strip().lower() == "split" for row in rows for name in row):
        rows = [row for _, row in of_split(rows, split, path)]
    else:
        cut = len(rows) - max(len(rows) // 10, 1)
        rows = rows[:cut] if split == "train" else rows[cut:]
    if not rows:
        raise DatasetError(
            f"{path} has no row of split {split!r}: give rows of both train and test, or two rows "
            "at least without a column 'split', of which the last tenth is the test"
        )
    return rows
