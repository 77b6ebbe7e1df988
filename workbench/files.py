"""Files and folders written whole or not at all."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; it takes its place when the block ends.

    An exception removes what was written and leaves `path` as it was. A folder that is there
    already is replaced, as a file is. Folders above it are made.

    >>> with whole("out/table.csv") as partial:
    ...     frame.to_csv(partial)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    _remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _remove(path)
        partial.replace(path)
    finally:
        _remove(partial)


def write_json(path: str | Path, content: Any, *, indent: int | None = 1) -> None:
    """Write `content` as JSON, whole or not at all. Raises `ValueError` for NaN and infinity."""
    with whole(path) as partial:
        partial.write_text(json.dumps(content, indent=indent, allow_nan=False), encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
