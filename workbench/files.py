"""Rows of data files."""

import contextlib
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.arguments import whole
from workbench.encodings import MARK, text_of
from workbench.errors import DatasetError
from workbench.parquet import parquet_rows
from workbench.reading import parse_json

Row = dict[str, Any]
"""One record: its fields by name."""
_LINES = (".jsonl", ".ndjson")
SHEET_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!")
"""What spreadsheets write instead of a text that they took for a formula."""
_DELIMITERS = ",;\t|"
_GAP = re.compile(r"[\s,]*")
_HINT = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def read_rows(path: str | Path, limit: int | None = None) -> list[Row]:
    """The rows of a .jsonl, .json, .csv, .tsv or .parquet file, at most the first `limit`.

    Any other suffix is read as JSON: a list of objects, an object that holds such a list under
    `examples`, a single object, or lines of objects. CSV as spreadsheets write it: the columns
    apart by commas, semicolons, tabs or bars (whichever the header has), any line ends, empty
    columns at the end and lines at either end left out. Its values are text, absent ones None, its
    column names without spaces around them; blank lines are left out. Parquet has the values that
    JSON has. Text is in UTF-8, or UTF-16 or UTF-32 with a byte order mark, or GB18030 that looks
    like Chinese (logged), and may be packed as `.gz`.

    Raises `FileNotFoundError`, and `DatasetError` naming the file and the line (from 1) or row
    (from 0): text that is no JSON, rows that are no objects, more values than columns, columns
    that are there twice or have values and no name, a header that comes again, values that JSON
    has not, files that are damaged, in another encoding, or of a spreadsheet program's own format.
    """
    rows = []
    for row in rows_or_errors(path, limit):
        if isinstance(row, DatasetError):
            raise row
        rows.append(row)
    return rows


def rows_or_errors(path: str | Path, limit: int | None = None) -> list[Row | DatasetError]:
    """`read_rows` for callers that go on: a bad row's `DatasetError` stands in its place.

    What is wrong with the whole file is raised.
    """
    path = Path(path)
    limit = limit if limit is None else whole("limit", limit, 0, error=DatasetError)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a .jsonl, .json, .csv or .parquet file")
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": parquet_rows}
    values = readers.get(suffix(path), _json_rows)(path, limit)
    return [
        value
        if isinstance(value, dict | DatasetError)
        else DatasetError(f"{path} row {number}: a {type(value).__name__}, not an object")
        for number, value in enumerate(values)
    ]


def _csv_lines(path: Path, text: str) -> list[list[str]]:
    """The values of each line, apart by the first delimiter that gives all lines as many."""
    hint = _HINT.match(text)  # Excel's own
    delimiters, text = (hint[1], text[hint.end() :]) if hint else (_DELIMITERS, text)
    for delimiter in delimiters:
        with contextlib.suppress(DatasetError):
            lines = _split(path, text, delimiter)
            if lines and len(lines[0]) > 1 and all(len(line) == len(lines[0]) for line in lines):
                return lines
    return _split(path, text, delimiters[0])


def _split(path: Path, text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader([])
    begins = True
    # Written with spaces behind the delimiters, also where quotes follow.
    spaced = f"{delimiter} " in text.lstrip().partition("\n")[0]

    def texts() -> Iterator[str]:
        nonlocal begins
        for line in io.StringIO(text, newline=""):
            if begins:  # of files put together each may bring its mark
                line, begins = line.removeprefix(MARK), False
            yield line

    records = []
    try:
        reader = csv.reader(texts(), delimiter=delimiter, strict=True, skipinitialspace=spaced)
        for record in reader:
            records.append(record)
            begins = True
    except csv.Error as error:
        raise DatasetError(f"{path}:{reader.line_num}: {error}") from error
    lines = [record for record in records if record]
    # Spreadsheets put lines without any value before and behind a table.
    while len(lines) > 1 and len(lines[-1]) > 1 and not any(lines[-1]):
        lines.pop()
    while len(lines) > 1 and len(lines[0]) > 1 and not "".join(lines[0]).strip():
        lines.pop(0)
    return lines


def suffix(path: Path) -> str:
    """What a file's name says of its format, whether packed or not, in small letters."""
    suffixes = [part.lower() for part in path.suffixes if part.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def repeated(names: Sequence[str]) -> list[str]:
    """The names that are there more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]


def plain_names(
    row: Mapping[Any, Any], place: str, error: type[DatasetError] = DatasetError
) -> Row:
    """The row under names in small letters without spaces around them.

    Raises `error` naming `place` for names that are then alike.
    """
    names = [str(name).strip().lower() for name in row]
    if twice := repeated(names):
        raise error(
            f"{place}: {', '.join(twice)} is there twice, in capital and in small letters; "
            "remove one"
        )
    return dict(zip(names, row.values(), strict=True))


def _csv_rows(path: Path, limit: int | None) -> list[Any]:
    columns, *lines = _csv_lines(path, text_of(path)) or [[]]
    columns = [name.strip() for name in columns]
    while len(columns) > 1 and not columns[-1]:
        columns.pop()
    if names := repeated(columns):
        names = [name or "without a name" for name in names]
        raise DatasetError(f"{path}: columns {', '.join(names)} are there twice; remove one")
    rows: list[Any] = []
    for number, line in enumerate(lines[:limit]):
        if len(columns) > 1 and [value.strip() for value in line] == columns:
            rows.append(DatasetError(f"{path} row {number}: the header again; remove it"))
        elif any(line[len(columns) :]):
            rows.append(DatasetError(f"{path} row {number}: more values than columns"))
        else:
            absent = [None] * (len(columns) - len(line))
            rows.append(dict(zip(columns, [*line[: len(columns)], *absent], strict=True)))
    return rows


def _json_rows(path: Path, limit: int | None) -> list[Any]:
    text = text_of(path).replace("\r\n", "\n").replace("\r", "\n")
    text = text.replace(f"\n{MARK}", "\n")  # of files put together each may bring its mark
    content = _json(text, path)
    if isinstance(content, DatasetError):
        items = _items(text)
        # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
        lines = [(n, line) for n, line in enumerate(text.split("\n")) if line.strip()]
        rows = [_json(item, path, before) for before, item in items or lines]
        objects = sum(isinstance(row, dict) for row in rows)
        if items or suffix(path) in _LINES or 2 * objects >= len(rows) > 1:
            return rows[:limit]
        raise content  # not mostly objects: a list or an object that is broken
    rows = content.get("examples", [content]) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DatasetError(f"{path}: expected a list of rows, or an object with 'examples'")
    return rows[:limit]


def _items(text: str) -> list[tuple[int, str]]:
    """The items of a JSON list, each on one line, and how many lines stand before; else none."""
    decoder = json.JSONDecoder(parse_int=str)  # however long
    try:
        if not isinstance(decoder.decode(text), list):
            return []
    except (ValueError, RecursionError):
        return []
    items, before, start, end = [], 0, 0, text.index("[") + 1
    while text[at := _GAP.match(text, end).end()] != "]":
        before += text.count("\n", start, at)
        start, end = at, decoder.raw_decode(text, at)[1]
        items.append((before, text[start:end].replace("\n", " ")))
    return items


def _json(text: str, path: Path, lines_before: int = 0) -> Any:
    """The content of JSON text, or the error that names its line."""
    try:
        return parse_json(text, str(path), DatasetError, lines_before, finite=False)
    except DatasetError as error:
        return error
