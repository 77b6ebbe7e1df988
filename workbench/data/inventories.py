"""Questionnaires: statements to be rated 1 to 5, each with its trait, facet and sign."""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from workbench.data.fields import as_name
from workbench.errors import DatasetError, ItemKeyError
from workbench.files import Row, plain_names, read_rows, suffix
from workbench.paths import data_folder, small_folder
from workbench.reading import read_json

TRAITS = ("A", "C", "E", "N", "O")
"""The big five, in the order of the paper's tables."""
COLUMNS = ("id", "text", "trait", "facet", "sign", "split")
_EMBEDDED = "survey.csv"
_RELEASED = ("mpi_300.csv", "mpi_300_split.json", "mpi_120.csv")
_SHOWN = 8


@dataclass(frozen=True)
class Item:
    """One statement. `sign`: +1, or -1 where agreement means less of the trait. `split`: train
    (what is known of a person) or test (what is to be predicted). `second`: the published wording
    in the second person, where there is one."""

    id: str
    text: str
    trait: str
    facet: str
    sign: int
    split: str
    second: str = ""


@dataclass(frozen=True)
class Inventory:
    """Items in file order."""

    name: str
    items: tuple[Item, ...]

    @cached_property
    def traits(self) -> tuple[str, ...]:
        """The traits, the big five first and in the paper's order."""
        traits = dict.fromkeys(item.trait for item in self.items)
        return (*(t for t in TRAITS if t in traits), *(t for t in traits if t not in TRAITS))

    def split(self, name: str) -> list[int]:
        """Indices of the train or test items, grouped by trait, then in file order."""
        return [
            index
            for trait in self.traits
            for index, item in enumerate(self.items)
            if item.trait == trait and item.split == name
        ]

    @cached_property
    def sign(self) -> np.ndarray:
        """int8 `[item]`: 1 or -1."""
        return np.array([i.sign for i in self.items], np.int8)

    def trait_of(self, indices: Iterable[int]) -> np.ndarray:
        """int `[index]`: each of these items' trait as an index into `traits`."""
        return np.array([self.traits.index(self.items[i].trait) for i in indices])


def read_inventory(source: str | Path = "auto") -> Inventory:
    """Read the embedded questionnaire (`"auto"`), our 30 statements in plain English (`"small"`),
    or a file or folder.

    A .csv with the columns id, text, trait, facet, sign (1 or -1), split (train or test) may hold
    any inventory. A folder, or `mpi_300.csv`, is read as released for PAPI, together with
    `mpi_300_split.json` and (for its wording) `mpi_120.csv` beside it. Its rows stand in the order
    train_index, then test_index; these numbers name the items (i1..i300), as the answers do.
    `IPIP-NEO-ItemKey.xls` needs the package xlrd.

    Raises `FileNotFoundError`; `ItemKeyError`, listing rows (from 0), for ids or statements that
    come twice (but for capitals and a full stop), a trait or facet spelled in two ways, signs other
    than 1 and -1, unknown traits (released files), empty fields or splits, and for files that
    cannot be read, have no rows, or do not belong together.
    """
    shipped = {"auto": data_folder() / _EMBEDDED, "small": small_folder() / "inventory.csv"}
    path = shipped.get(str(source), Path(source))
    if path.is_dir():
        path = path / _RELEASED[0]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a .csv, or a folder with {_RELEASED[0]}")
    if path.suffix == ".xls":
        return _checked(path.stem, _released(_xls_rows(path), path.parent), known=True)
    rows = _key_rows(path)
    columns = set(rows[0])
    if {"label_raw", "label_ocean", "key", "text"} <= columns:
        return _checked("PAPI", _released(rows, path.parent), known=True)
    if missing := [c for c in COLUMNS if c not in columns]:
        raise ItemKeyError(f"{path}: no column {', '.join(missing)}; needed: {', '.join(COLUMNS)}")
    return _checked(path.stem, rows, known=False)


def worded(item: Item, wording: str) -> str:
    """The statement as it stands after "You ": `"paper"` as it is, `"second"` in the second person.

    Second person: the published wording if there is one, else by rule; no capital, no full stop.
    Raises `ValueError` for another wording.
    """
    if wording == "paper":
        return item.text
    if wording != "second":
        raise ValueError(f"wording {wording!r}; use 'second' or 'paper'")
    return item.second or second_person(item.text)


def second_person(text: str) -> str:
    """Turns `Am able to find my way.` into `are able to find your way`."""
    text = text.strip()
    # "You " is put before it: a statement that has its own "I" must not keep it.
    for pattern, replacement in _SUBJECT:
        text = pattern.sub(replacement, text)
    text = _lower(text)
    for pattern, replacement in _PERSON:
        text = pattern.sub(replacement, text)
    return text


_SUBJECT = [
    (re.compile(a), b)
    for a, b in ((r"^I(?:['’]m| am) ", "are "), ("^I was ", "were "), ("^I ", ""))
]
_PERSON = [
    (re.compile(rf"\b{a}\b"), b)
    for a, b in (
        ("I am", "you are"), ("I'm", "you're"), ("am", "are"), ("I was", "you were"),
        ("I've", "you've"), ("I'd", "you'd"), ("I'll", "you'll"), ("myself", "yourself"),
        ("mine", "yours"), ("my", "your"), ("me", "you"), ("I", "you"),
    )
]  # fmt: skip


def _released(rows: list[Row], folder: Path) -> list[Row]:
    """The released key's rows under our names."""
    numbers = _item_numbers(folder / _RELEASED[1], len(rows))
    wording = folder / _RELEASED[2]
    second = {}
    if wording.is_file():
        # The first 120 rows of the long key, in its order.
        for n, (short, long) in enumerate(zip(_key_rows(wording), rows, strict=False)):
            if "text" not in short or any(short.get(c) != long[c] for c in ("label_ocean", "key")):
                raise ItemKeyError(
                    f"{wording}: row {n} has no text, or not the trait and key of row {n} "
                    f"of {_RELEASED[0]}"
                )
            second[n] = short["text"] or ""
    return [
        {
            "id": f"i{number}", "text": row["text"], "trait": row["label_ocean"],
            "facet": row["label_raw"], "sign": row["key"], "split": split,
            "second": _lower(second.get(n, "")),
        }
        for n, (row, (number, split)) in enumerate(zip(rows, numbers, strict=True))
    ]  # fmt: skip


def _key_rows(path: Path) -> list[Row]:
    if suffix(path) not in (".csv", ".tsv"):
        raise ItemKeyError(f"{path}: a key is a table; give a .csv")
    try:
        rows = [plain_names(row, f"{path} row {n}") for n, row in enumerate(read_rows(path))]
    except DatasetError as error:
        raise ItemKeyError(str(error)) from error
    if not rows:
        raise ItemKeyError(f"{path}: no rows")
    return rows


def _lower(text: str) -> str:
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _item_numbers(path: Path, count: int) -> list[tuple[int, str]]:
    """(item number, split) of each row of the key."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it says which items are train and which test")
    try:
        content = read_json(path, ItemKeyError)
        numbers = [(i, split) for split in ("train", "test") for i in content[f"{split}_index"]]
        if not all(type(i) is int for i, _ in numbers):
            raise TypeError("an index is no whole number")
    except (KeyError, TypeError) as error:
        raise ItemKeyError(f"{path}: no lists train_index and test_index of numbers") from error
    times = Counter(number for number, _ in numbers)
    bad = sorted(i for i, n in times.items() if n > 1 or not 1 <= i <= count)
    if bad or len(numbers) != count:
        raise ItemKeyError(
            f"{path}: {len(numbers)} item numbers for {count} rows; twice, or not 1..{count}: "
            f"{bad[:_SHOWN]}"
        )
    return numbers


def _xls_rows(path: Path) -> list[Row]:
    try:
        import xlrd
    except ImportError as error:
        raise DatasetError(
            f"{path} is a legacy .xls file, which needs the package xlrd (pip install xlrd); "
            f"{_RELEASED[0]} beside it holds the same key and needs nothing"
        ) from error
    sheet = xlrd.open_workbook(path).sheet_by_index(0)
    head, *lines = (sheet.row_values(i) for i in range(sheet.nrows))
    rows = [dict(zip((str(h).strip() for h in head), line, strict=True)) for line in lines]
    if missing := {"Item", "Facet", "Key", "Sign"}.difference(*rows[:1]):
        raise ItemKeyError(f"{path}: no column {', '.join(sorted(missing))}")
    return [
        {
            "text": str(r["Item"]), "label_raw": str(r["Facet"]),
            "label_ocean": str(r["Key"])[:1],
            "key": {"+": "1", "-": "-1"}.get(str(r["Sign"])[:1], ""),
        }
        for r in rows
    ]  # fmt: skip


def _plain(text: object) -> str:
    """What is left of a text without capitals, outer or repeated spaces, and a full stop."""
    return " ".join(str(text).split()).casefold().rstrip(".")


def _checked(name: str, rows: list[Row], known: bool) -> Inventory:
    """The rows as an inventory, each checked; `known` allows the big five alone."""
    rows = [
        {
            **row,
            **{column: str(row[column] or "").strip() for column in COLUMNS},
            "sign": as_name(row["sign"]).replace("\u2212", "-"),  # a minus as it is typeset
            "split": str(row["split"] or "").strip().lower(),
        }
        for row in rows
    ]
    ids = Counter(row["id"] for row in rows)
    texts = Counter(_plain(row["text"]) for row in rows)
    # As two traits, or facets, what differs in a capital alone would be halved.
    spellings = Counter(
        (c, _plain(name)) for c in ("trait", "facet") for name in {row[c] for row in rows}
    )
    checks: dict[str, Callable[[Row], bool]] = {
        "empty id, text, trait or facet": lambda r: all(r[c] for c in COLUMNS[:4]),
        "id comes twice": lambda r: ids[r["id"]] == 1,
        "statement comes twice": lambda r: texts[_plain(r["text"])] == 1,
        "trait or facet is spelled in two ways": lambda r: all(
            spellings[c, _plain(r[c])] == 1 for c in ("trait", "facet")
        ),
        "sign is not 1 or -1": lambda r: r["sign"] in ("1", "+1", "-1"),
        "split is not train or test": lambda r: r["split"] in ("train", "test"),
        f"trait is none of {', '.join(TRAITS)}": lambda r: not known or r["trait"] in TRAITS,
    }
    for fault, passes in checks.items():
        if bad := [n for n, row in enumerate(rows) if not passes(row)]:
            more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            listed = ", ".join(f"{n} ({rows[n]['id']})" for n in bad[:_SHOWN])
            raise ItemKeyError(f"{name}: {fault} in rows {listed}{more}")
    if not {"train", "test"} <= {row["split"] for row in rows}:
        raise ItemKeyError(f"{name}: {len(rows)} items, but not both train and test items")
    items = tuple(
        Item(
            row["id"], row["text"], row["trait"], row["facet"], int(row["sign"]),
            row["split"], row.get("second", ""),
        )
        for row in rows
    )  # fmt: skip
    return Inventory(name, items)
