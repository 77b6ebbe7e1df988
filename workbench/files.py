"""Rows of data files and hub sets."""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import DatasetError
from workbench.reading import parse_json, read_text

Row = dict[str, Any]
"""One record: its fields by name."""
_LARGEST = 2_000_000_000
"""Bytes of a Parquet file's values; as Python objects they take several times that."""


def read_rows(path: str | Path, limit: int | None = None) -> list[Row]:
    """The rows of a .jsonl, .json, .csv or .parquet file, at most the first `limit`.

    Any other suffix is read as JSON: a list of objects, an object that holds such a list under
    `examples`, a single object, or lines of objects. CSV values are text, absent ones None; blank
    lines are left out. UTF-8, with or without a byte order mark.

    Raises `FileNotFoundError`, and `DatasetError` naming the file and the line (from 1) or row
    (from 0): text that is no JSON, rows that are no objects, more values than columns, columns
    that are there twice, files that are damaged or in another encoding.
    """
    return _raised(rows_or_errors(path, limit))


def rows_or_errors(path: str | Path, limit: int | None = None) -> list[Row | DatasetError]:
    """`read_rows` for callers that go on: a bad row's `DatasetError` stands in its place.

    What is wrong with the whole file is raised.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a .jsonl, .json, .csv or .parquet file")
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows}
    values = readers.get(path.suffix, _json_rows)(path, limit)
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
    """The values of each line of a CSV file, blank lines left out; the header is line 0.

    Raises `DatasetError` for a file that is no UTF-8 text or no CSV: NUL bytes, quotes that do not
    end, fields of more than 131,072 characters.
    """
    reader = csv.reader([])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_without_nul(file), strict=True)
            return [line for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error} (line {reader.line_num})") from error


def _without_nul(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise csv.Error("a NUL byte: not text, or UTF-16; save it as UTF-8")
        yield line


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
    if names := repeated(columns):
        raise DatasetError(f"{path}: columns {', '.join(names)} are there twice; remove one")
    rows: list[Any] = []
    for number, line in enumerate(lines[:limit]):
        if len(line) > len(columns):
            rows.append(DatasetError(f"{path} row {number}: more values than columns"))
        else:
            absent = [None] * (len(columns) - len(line))
            rows.append(dict(zip(columns, [*line, *absent], strict=True)))
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
    text = read_text(path, DatasetError)
    content = _json(text, path)
    if isinstance(content, DatasetError):
        # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
        numbered = [(n, line) for n, line in enumerate(text.split("\n")) if line.strip()]
        rows = [_json(line, path, n) for n, line in numbered]
        objects = sum(isinstance(row, dict) for row in rows)
        if path.suffix == ".jsonl" or 2 * objects >= len(rows) > 1:
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
