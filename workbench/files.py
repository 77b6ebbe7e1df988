"""Rows of data files and hub sets."""

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import DatasetError
from workbench.reading import parse_json

Row = dict[str, Any]
"""One record: its fields by name."""
_LARGEST = 2_000_000_000
"""Bytes of a file's values; as Python objects they take several times that."""
_MARK = "\ufeff"
_ENCODINGS = {
    codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16",
}  # fmt: skip
"""How texts of other encodings than UTF-8 begin; the longer marks first."""
_LINES = (".jsonl", ".ndjson")
SHEET_ERRORS = ("#NAME?", "#VALUE!", "#REF!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!")
"""What spreadsheets write instead of a text that they took for a formula."""
_SHEETS = (".xlsx", ".xlsm", ".xls", ".ods", ".numbers")
_DELIMITERS = ",;\t|"
_HINT = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)


def read_rows(path: str | Path, limit: int | None = None) -> list[Row]:
    """The rows of a .jsonl, .json, .csv, .tsv or .parquet file, at most the first `limit`.

    Any other suffix is read as JSON: a list of objects, an object that holds such a list under
    `examples`, a single object, or lines of objects. CSV as spreadsheets write it: the columns
    apart by commas, semicolons, tabs or bars (whichever the header has), any line ends, empty
    columns at the end and lines at either end left out. Its values are text, absent ones None, its
    column names without spaces around them; blank lines are left out. UTF-8, or UTF-16 and UTF-32
    with a byte order mark; text may be packed as `.gz`.

    Raises `FileNotFoundError`, and `DatasetError` naming the file and the line (from 1) or row
    (from 0): text that is no JSON, rows that are no objects, more values than columns, columns
    that are there twice or have values and no name, a header that comes again, files that are
    damaged, in another encoding, or of a spreadsheet program's own format.
    """
    return _raised(rows_or_errors(path, limit))


def rows_or_errors(path: str | Path, limit: int | None = None) -> list[Row | DatasetError]:
    """`read_rows` for callers that go on: a bad row's `DatasetError` stands in its place.

    What is wrong with the whole file is raised.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a .jsonl, .json, .csv or .parquet file")
    format_ = suffix(path)
    if format_ in _SHEETS:
        raise DatasetError(f"{path} is a spreadsheet; save it as .csv (UTF-8) and give that")
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": _parquet_rows}
    values = readers.get(format_, _json_rows)(path, limit)
    return [
        value
        if isinstance(value, dict | DatasetError)
        else DatasetError(f"{path} row {number}: a {type(value).__name__}, not an object")
        for number, value in enumerate(values)
    ]


def csv_rows(path: str | Path) -> list[Row]:
    """`read_rows` of a CSV file whatever its suffix."""
    return _raised(_csv_rows(Path(path), None))


def csv_lines(path: Path) -> list[list[str]]:
    """The values of each line of a CSV file as `read_rows` takes it; the header is line 0.

    Blank lines are left out, and at either end those of empty values. The delimiter is the first
    that gives all lines as many values, else the comma. Raises `DatasetError` for a file that is
    no text or no CSV: NUL bytes, quotes that do not end, fields of more than 131,072 characters.
    """
    text = _text(path)
    if hint := _HINT.match(text):  # Excel's own
        return _filled(_split(path, text[hint.end() :], hint[1]))
    first: list[list[str]] | DatasetError = []
    for delimiter in _DELIMITERS:
        try:
            lines = _split(path, text, delimiter)
        except DatasetError as error:
            first = first or error
            continue
        if lines and len(lines[0]) > 1 and all(len(line) == len(lines[0]) for line in lines):
            return _filled(lines)
        first = first or lines
    if isinstance(first, DatasetError):
        raise first
    return _filled(first)


def _split(path: Path, text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader([])
    begins = True
    # Written with spaces behind the delimiters, also where quotes follow.
    spaced = f"{delimiter} " in text.lstrip().partition("\n")[0]

    def lines() -> Iterator[str]:
        nonlocal begins
        for line in io.StringIO(text, newline=""):
            if "\0" in line:
                raise csv.Error("a NUL byte: not text, or UTF-16 without a mark; save it as UTF-8")
            if begins:  # of files put together each may bring its mark
                line, begins = line.removeprefix(_MARK), False
            yield line

    records = []
    try:
        reader = csv.reader(lines(), delimiter=delimiter, strict=True, skipinitialspace=spaced)
        for record in reader:
            records.append(record)
            begins = True
    except csv.Error as error:
        raise DatasetError(f"{path} cannot be read: {error} (line {reader.line_num})") from error
    return [record for record in records if record]


def _filled(lines: list[list[str]]) -> list[list[str]]:
    """The lines less those without any value that spreadsheets put before and behind a table."""
    first, last = 0, len(lines)
    while last > 1 and len(lines[last - 1]) > 1 and not any(lines[last - 1]):
        last -= 1
    while first < last - 1 and len(lines[first]) > 1 and not "".join(lines[first]).strip():
        first += 1
    return lines[first:last]


def _text(path: Path) -> str:
    """The text of a file of rows, its line ends as they are."""
    encoding = "UTF-8"
    try:
        with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
            content = file.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise DatasetError(
                f"{path} cannot be read: more than {_LARGEST / 1e9:g} GB; give a part of it"
            )
        encoding = next((e for m, e in _ENCODINGS.items() if content.startswith(m)), encoding)
        return content.decode(encoding).removeprefix(_MARK)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{path} cannot be read: not {encoding} text: {error}; save it as UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{path} cannot be read: {reason}") from error


def suffix(path: Path) -> str:
    """What a file's name says of its format, whether packed or not, in small letters."""
    suffixes = [part.lower() for part in path.suffixes if part.lower() != ".gz"]
    return suffixes[-1] if suffixes else ""


def hub_rows(repository: str, split: str, config: str | None = None) -> Iterable[Row]:
    """Rows of a set on the hub. Raises `DatasetError` saying what to do where it cannot be had."""
    from datasets import load_dataset

    try:
        return load_dataset(repository, config, split=split)
    except (OSError, ValueError) as error:  # unreachable or gated; an unknown split or config
        raise DatasetError(
            f"{repository} cannot be read from the hub: check the split and the network, accept "
            "its terms there if it is gated, set HF_TOKEN, or give a local file. "
            f"({str(error).partition(chr(10))[0]})"
        ) from error


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


def _raised(rows_or_errors: Iterable[Row | DatasetError]) -> list[Row]:
    """The rows; the first error is raised."""
    rows = []
    for row in rows_or_errors:
        if isinstance(row, DatasetError):
            raise row
        rows.append(row)
    return rows


def _csv_rows(path: Path, limit: int | None) -> list[Any]:
    columns, *lines = csv_lines(path) or [[]]
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


def _parquet_rows(path: Path, limit: int | None) -> list[Any]:
    # Not through `datasets`, whose cache would keep a copy of every column, personal ones too.
    from pyarrow import ArrowException, parquet
    from pyarrow.types import is_dictionary

    rows: list[Any] = []
    size = 0
    try:
        with parquet.ParquetFile(path) as file:
            if names := repeated(file.schema_arrow.names):
                raise DatasetError(
                    f"{path} cannot be read: Multiple matches for columns {', '.join(names)}"
                )
            # In pieces: a few bytes may say that one value stands there a thousand million times.
            for piece in file.iter_batches(min(1024, limit or 1024)):
                size += sum(
                    (c.dictionary_decode() if is_dictionary(c.type) else c).nbytes
                    for c in piece.columns
                )
                if size > _LARGEST:
                    raise DatasetError(
                        f"{path} cannot be read: more than {_LARGEST / 1e9:g} GB; give a part of it"
                    )
                rows += piece.to_pylist()
                if limit is not None and len(rows) >= limit:
                    break
    except (ArrowException, OSError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    return rows[:limit]


def _json_rows(path: Path, limit: int | None) -> list[Any]:
    text = _text(path).replace("\r\n", "\n").replace("\r", "\n")
    content = _json(text, path)
    if isinstance(content, DatasetError):
        # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
        # Of files put together each may bring its mark.
        lines = [line.removeprefix(_MARK) for line in text.split("\n")]
        numbered = [(n, line) for n, line in enumerate(lines) if line.strip()]
        rows = [_json(line, path, n) for n, line in numbered]
        objects = sum(isinstance(row, dict) for row in rows)
        if suffix(path) in _LINES or 2 * objects >= len(rows) > 1:
            return rows[:limit]
        raise content  # not mostly objects: a list or an object that is broken
    rows = content.get("examples", [content]) if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise DatasetError(f"{path}: expected a list of rows, or an object with 'examples'")
    return rows[:limit]


def _json(text: str, path: Path, lines_before: int = 0) -> Any:
    """The content of JSON text, or the error that names its line."""
    try:
        return parse_json(text, str(path), DatasetError, lines_before, finite=False)
    except DatasetError as error:
        return error
