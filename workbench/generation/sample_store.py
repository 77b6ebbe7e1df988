"""SampleStore: every completion ever drawn, in one SQLite file, so that nothing is drawn twice."""

import json
import logging
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock

from workbench.errors import StoreError
from workbench.generation.requests import REQUEST_FIELDS, SCHEMA, Sample, sample_key
from workbench.hashing import canonical, digest

log = logging.getLogger(__name__)

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
_COLUMNS = (
    "key prompt_sha parameters_sha sample_index text finish_reason n_tokens prompt_tokens stage "
    "created digest"
).split()
_AT_ONCE = 500
Row = tuple[Any, ...]


class SampleStore:
    """Samples by key (see `requests.sample_key`), prompts and parameters stored once each.

    `path=None` lives in memory. Several processes may use one file (WAL). A context manager.

    Raises `StoreError`, naming the path, for a file that is no store of this schema or cannot be
    opened.

    >>> with wb.SampleStore("samples.sqlite") as store:
    ...     wb.generate(model, prompts, n=10, temperature=1.0, store=store)
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path else None
        try:
            if self.path:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # Making a file WAL takes it whole, and SQLite does not wait for that.
            with FileLock(f"{self.path}.lock", timeout=60) if self.path else nullcontext():
                self._open()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path} cannot be used as a store of samples: {error}"
            ) from error

    def _open(self) -> None:
        self._db = sqlite3.connect(self.path or ":memory:", timeout=60)
        # Damaged bytes must be readable to be found and dropped.
        self._db.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        schema = self._schema()
        if schema not in (None, SCHEMA):
            raise StoreError(
                f"{self.path} holds samples of schema {schema}, this version writes {SCHEMA}: "
                "start a new file, or export and import it with the version that wrote it"
            )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)

    def _schema(self) -> int | None:
        """Schema of the file, None where it is new; `StoreError` for another program's file."""
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_master")}
        if not tables:
            return None
        schema = "SELECT value FROM meta WHERE name = 'schema'"
        versions = list(self._db.execute(schema)) if {"meta", "samples"} <= tables else []
        if not versions:
            raise StoreError(
                f"{self.path} is a database, but not one of samples; give another path"
            )
        return versions[0][0]

    def _rows(self, query: str, values: Sequence[str] = ()) -> Iterator[Row]:
        try:
            yield from self._db.execute(query, values)
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    def __enter__(self) -> "SampleStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._db.close()

    def __len__(self) -> int:
        return next(self._rows("SELECT COUNT(*) FROM samples"))[0]

    @property
    def written(self) -> int:
        """Samples ever written: more than `len(store)` where one was drawn twice, or dropped."""
        return next(self._rows("SELECT value FROM meta WHERE name = 'written'"))[0]

    def get(self, keys: Sequence[str]) -> dict[str, Sample]:
        """The stored samples among `keys`.

        Raises `StoreError` where a row does not match its own digest.
        """
        samples: dict[str, Sample] = {}
        for start in range(0, len(keys), _AT_ONCE):
            chunk = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT {','.join(_COLUMNS)} FROM samples WHERE key IN ({marks})"
            for row in self._rows(query, chunk):
                if not _intact(row):
                    raise self._damaged(f"the sample {row[0][:12]}… is not what was written")
                samples[row[0]] = Sample(*row[4:8], cached=True)
        return samples

    def put(self, rows: Iterable[tuple[str, str, int, Sample, str]]) -> None:
        """Store (parameters JSON, prompt text, sample index, sample, stage) in one transaction.

        Raises `StoreError` where the disk refuses; the samples of earlier calls stay.
        """
        prompts, settings, samples = {}, {}, []
        now = time.time()
        for parameters, prompt, index, sample, stage in rows:
            p, q = digest(prompt, 64), digest(parameters, 64)
            prompts[p], settings[q] = prompt, parameters
            key = sample_key(parameters, p, index)
            content = (sample.text, sample.finish_reason, sample.n_tokens, sample.prompt_tokens)
            samples.append((key, p, q, index, *content, stage, now, digest([key, *content])))
        self._insert(prompts, settings, samples)

    def _insert(
        self, prompts: dict[str, str], settings: dict[str, str], samples: list[Row]
    ) -> None:
        marks = ",".join("?" * len(_COLUMNS))
        try:
            with self._db:
                self._db.executemany("INSERT OR IGNORE INTO prompts VALUES (?,?)", prompts.items())
                self._db.executemany(
                    "INSERT OR IGNORE INTO parameters VALUES (?,?)", settings.items()
                )
                self._db.executemany(f"INSERT OR REPLACE INTO samples VALUES ({marks})", samples)
                self._db.execute(
                    "UPDATE meta SET value = value + ? WHERE name = 'written'", (len(samples),)
                )
        except sqlite3.Error as error:
            raise StoreError(f"{self.path}: samples cannot be written: {error}") from error

    def _damaged(self, damage: str) -> StoreError:
        return StoreError(
            f"{self.path}: {damage}. Drop damaged rows with: workbench samples {self.path} --repair"
        )

    def repair(self) -> int:
        """Drop samples whose digest, key, prompt or parameters do not match; returns how many.

        Raises `StoreError` where whole pages of the file cannot be read.
        """
        bad = [row[0] for row, parameters, prompt in self._joined()
               if not _sound(row, parameters, prompt)]  # fmt: skip
        wrong = [
            (table, name)
            for table, column in (("prompts", "text"), ("parameters", "json"))
            for name, text in self._rows(f"SELECT sha, {column} FROM {table}")
            if not _is_sha(name, text)
        ]
        try:
            with self._db:
                for table, column, name in [
                    *(("samples", "key", name) for name in bad),
                    *((table, "sha", name) for table, name in wrong),
                ]:
                    raw = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
                    where = f"CAST({column} AS BLOB) = CAST(? AS BLOB)"
                    self._db.execute(f"DELETE FROM {table} WHERE {where}", (raw,))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be repaired: {error}") from error
        if bad:
            log.warning("%s: %d damaged samples dropped", self.path, len(bad))
        return len(bad)

    def _joined(self) -> Iterator[tuple[Row, str | None, str | None]]:
        """(row, its parameters, its prompt) of every sample, None for what is missing."""
        columns = ",".join(f"s.{c}" for c in _COLUMNS)
        query = (
            f"SELECT {columns}, q.json, p.text FROM samples s "
            "LEFT JOIN parameters q ON q.sha = s.parameters_sha "
            "LEFT JOIN prompts p ON p.sha = s.prompt_sha ORDER BY s.key"
        )
        for *row, parameters, prompt in self._rows(query):
            yield tuple(row), parameters, prompt

    def stages(self) -> dict[str, tuple[int, int]]:
        """stage → (samples, decoded tokens)."""
        query = "SELECT stage, COUNT(*), SUM(n_tokens) FROM samples GROUP BY stage ORDER BY stage"
        return {stage: (count, tokens) for stage, count, tokens in self._rows(query)}

    def identities(self) -> list[dict[str, str]]:
        """What the stored samples depend on besides their requests, each once."""
        identities = {}
        used = "SELECT parameters_sha FROM samples"
        query = f"SELECT sha, json FROM parameters WHERE sha IN ({used}) ORDER BY sha"
        for name, text in self._rows(query):
            if not _is_sha(name, text):
                raise self._damaged("decoding parameters are not what was written")
            identity = {k: v for k, v in json.loads(text).items() if k not in REQUEST_FIELDS}
            identities[canonical(identity)] = identity
        return list(identities.values())

    def export_jsonl(self, path: str | Path) -> int:
        """One sample a line with its prompt and parameters; returns how many."""
        count = 0
        with Path(path).open("w", encoding="utf-8") as file:
            for row, parameters, prompt in self._joined():
                if not _sound(row, parameters, prompt):
                    raise self._damaged("some samples are not what was written")
                line = dict(zip(_COLUMNS, row, strict=True))
                line |= {"parameters": json.loads(parameters or ""), "prompt": prompt}
                file.write(canonical(line) + "\n")
                count += 1
        return count

    def import_jsonl(self, path: str | Path) -> int:
        """Add exported samples that are not here yet; returns how many.

        Raises `StoreError`, naming the line, for one that is unreadable or does not match its key;
        nothing is then added.
        """
        prompts, settings, samples = {}, {}, {}
        with Path(path).open("rb") as file:
            for number, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                    row = tuple(line[c] for c in _COLUMNS)
                    parameters, prompt = canonical(line["parameters"]), line["prompt"]
                except (ValueError, KeyError, TypeError) as error:
                    raise StoreError(
                        f"{path}:{number}: not an exported sample ({error})"
                    ) from error
                if not _sound(row, parameters, prompt):
                    raise StoreError(f"{path}:{number}: the sample does not match its key")
                prompts[row[1]], settings[row[2]], samples[row[0]] = prompt, parameters, row
        for key in self.get(list(samples)):
            del samples[key]
        self._insert(prompts, settings, list(samples.values()))
        return len(samples)


def _intact(row: Row) -> bool:
    try:
        return row[-1] == digest([row[0], *row[4:8]])
    except (TypeError, ValueError):  # bytes, say, where a text was
        return False


def _is_sha(name: Any, text: Any) -> bool:
    return isinstance(text, str) and name == digest(text, 64)


def _sound(row: Row, parameters: Any, prompt: Any) -> bool:
    return (
        _is_sha(row[1], prompt)
        and _is_sha(row[2], parameters)
        and row[0] == sample_key(parameters, row[1], row[3])
        and _intact(row)
    )
