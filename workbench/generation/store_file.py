"""The SQLite file of a store: made, or known by the text of its schema before it is written to."""

import os
import sqlite3
import stat
import time
from functools import lru_cache
from pathlib import Path

from filelock import FileLock

from workbench.errors import StoreError
from workbench.generation.requests import SCHEMA

# One transaction: another process sees all tables or none, also after a kill.
_TABLES = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('schema', {SCHEMA}), ('written', 0);
CREATE TABLE IF NOT EXISTS prompts (sha TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS parameters (sha TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples (
    key TEXT PRIMARY KEY, prompt_sha TEXT NOT NULL, parameters_sha TEXT NOT NULL,
    sample_index INTEGER NOT NULL, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    n_tokens INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, stage TEXT NOT NULL,
    created REAL NOT NULL, digest TEXT NOT NULL
) WITHOUT ROWID;
COMMIT;
"""
_MAGIC = b"SQLite format 3\0"


def located(path: str | Path | None) -> Path | None:
    """The one name of a store, whatever links and working folder it is reached by; None: in memory.

    Locks and claims lie beside the file by name: by two names a store would be drawn for twice.
    """
    if path is None or not str(path):
        return None
    if str(path) == ":memory:":
        raise StoreError(
            ":memory: is SQLite's name for no file: give SampleStore(), without a path"
        )
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        raise StoreError(f"{path} cannot be used as a store of samples: {error}") from error


def identity(path: Path | None) -> tuple[int, int] | None:
    """Which file is at `path`, by its device and number; None where there is none."""
    try:
        status = os.stat(path) if path else None
    except OSError:
        return None
    return status and (status.st_dev, status.st_ino)


def require_same(path: Path | None, file: tuple[int, int] | None) -> None:
    """Refuse where `path` is no longer the `file` that was opened: its writes would be lost."""
    if identity(path) != file:
        raise StoreError(
            f"{path} was removed or replaced while it was open: the samples drawn since are not "
            "kept. Call again to draw them"
        )


def is_database(path: Path) -> bool:
    """Whether a file is SQLite's."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def connect(path: Path | None) -> sqlite3.Connection:
    """A connection to the store at `path`, which is made where there is none; None: in memory.

    Threads may share it; writers among them take turns by a lock of their own. Raises `StoreError`,
    with every byte as it was, for a file that is not exactly a store of this schema.
    """
    try:
        if path is None:
            return _made(sqlite3.connect(":memory:", check_same_thread=False))
        path.parent.mkdir(parents=True, exist_ok=True)
        _look(path)
        # Making a file WAL takes it whole, and SQLite does not wait for that.
        with FileLock(f"{path}.lock", timeout=60):
            db = sqlite3.connect(path, timeout=60, check_same_thread=False)
            try:
                _require(db, path)
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=NORMAL")
                return _made(db)
            except BaseException:
                db.close()
                raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path} cannot be used as a store of samples: {error}") from error


def _made(db: sqlite3.Connection) -> sqlite3.Connection:
    db.executescript(_TABLES)
    db.text_factory = text_of
    return db


def text_of(raw: bytes) -> str:
    """Text as it was bound: UTF-8, halves of surrogate pairs too; of damaged bytes, anything.

    Damaged ones must be readable to be found and dropped.
    """
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return raw.decode("utf-8", "surrogateescape")


def _look(path: Path) -> None:
    """Refuse what is there and no store, read-only; `OSError` where it cannot be told."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
        raise StoreError(f"{path} cannot be used as a store of samples: it is no file")
    if status.st_nlink > 1:
        raise StoreError(
            f"{path} has another name (a hard link), by which a second call would draw everything "
            "again: remove that name, or copy the file"
        )
    if not status.st_size:
        return
    if not is_database(path):
        raise StoreError(f"{path} cannot be used as a store of samples: it is no database")
    # A process that closes the store folds its log in meanwhile: read as it lies, the file can be
    # torn for a moment. What is no store stays none.
    for pause in (0.02, 0.1, 0):
        # Without a log nothing is made beside the file, whatever its mode; a log must be read.
        still = "" if _size(f"{path}-wal") else "&immutable=1"
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro{still}", uri=True)
        try:
            return _require(db, path)
        except (StoreError, sqlite3.DatabaseError):
            if not pause:
                raise
        finally:
            db.close()
        time.sleep(pause)


def _size(path: str) -> int:
    """Bytes of a file, asked for once: another process may remove it at any time."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def _require(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that is neither new nor a store: nothing of its own may run."""
    db.execute("PRAGMA trusted_schema=OFF")
    present = _objects(db)
    marks = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in _OF_PROGRAMS]
    if not present and not any(marks):
        return
    known = _known()
    if known["meta"] == present.get("meta"):
        version = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if version and isinstance(version[0], int) and version[0] != SCHEMA:
            raise StoreError(
                f"{path} holds samples of schema {version[0]}, this version writes {SCHEMA}: "
                "start a new file, or export and import it with the version that wrote it"
            )
    if present != known or not _counts(db):
        raise StoreError(f"{path} is a database, but not one of samples; give another path")


_OF_PROGRAMS = ("application_id", "user_version")


def _counts(db: sqlite3.Connection) -> bool:
    """Whether the numbers of a store are there, and numbers."""
    rows = db.execute("SELECT name, value FROM meta").fetchmany(3)
    return {n for n, v in rows if isinstance(v, int) and v >= 0} == {"schema", "written"}


def _objects(db: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """name → (type, SQL) of tables, views, triggers, indexes; no more than tell a store."""
    rows = db.execute("SELECT name, type, sql FROM sqlite_master").fetchmany(9)
    return {str(name): (kind, " ".join((sql or "").split())) for name, kind, sql in rows}


@lru_cache
def _known() -> dict[str, tuple[str, str]]:
    db = sqlite3.connect(":memory:")
    try:
        db.executescript(_TABLES)
        return _objects(db)
    finally:
        db.close()
