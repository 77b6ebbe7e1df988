"""Rows of Parquet files, their values those of JSON."""

from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

from workbench.encodings import LARGEST, TOO_LARGE
from workbench.errors import DatasetError


def parquet_rows(path: Path, limit: int | None) -> list[dict[str, Any] | DatasetError]:
    """The rows, at most the first `limit`: dates and times as text, decimals as numbers, bytes as
    the text they are in UTF-8.

    A row with other values is its `DatasetError`; one for the whole file is raised.
    """
    # Not through `datasets`, whose cache would keep a copy of every column, personal ones too.
    from pyarrow import ArrowException, parquet
    from pyarrow.types import is_dictionary

    rows: list[dict[str, Any] | DatasetError] = []
    size = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise DatasetError(f"{path}: columns {twice} are there twice; remove one")
            # In pieces: a few bytes may say that one value stands there a thousand million times.
            for piece in file.iter_batches(min(1024, limit or 1024)):
                size += sum(
                    (c.dictionary_decode() if is_dictionary(c.type) else c).nbytes
                    for c in piece.columns
                )
                if size > LARGEST:
                    raise DatasetError(f"{path} cannot be read: {TOO_LARGE}")
                rows += _rows_of(piece, path, len(rows))
                if limit is not None and len(rows) >= limit:
                    break
    except (ArrowException, OSError, RecursionError, OverflowError, UnicodeDecodeError) as error:
        place = f" row {len(rows)} or behind it" if rows else ""
        raise DatasetError(f"{path}{place} cannot be read: {error}") from error
    return rows[:limit]


def _rows_of(piece: Any, path: Path, first: int) -> list[dict[str, Any] | DatasetError]:
    """The rows of a `pyarrow.RecordBatch` that begins with row `first`."""
    columns, name = {}, ""
    try:
        for name, column in zip(piece.schema.names, piece.columns, strict=True):
            values = column.to_pylist(maps_as_pydicts="strict")
            columns[name] = [_json_value(value) for value in values]
    except (ValueError, ArithmeticError, LookupError, NotImplementedError) as error:
        if len(piece) == 1:
            return [DatasetError(f"{path} row {first}: column {name!r}: {error}")]
        parts = (_rows_of(piece.slice(n, 1), path, first + n) for n in range(len(piece)))
        return [row for part in parts for row in part]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _json_value(value: Any) -> Any:
    """A value of Parquet as JSON has it; `ValueError` where JSON has none like it."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, list):
        return [_json_value(inner) for inner in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: _json_value(inner) for name, inner in value.items()}
    if isinstance(value, date | time | UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    raise ValueError(f"{value!r:.40} is no value that JSON has; leave the column out")
