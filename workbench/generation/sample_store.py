"""SampleStore: every completion ever drawn, in one SQLite file, so that nothing is drawn twice."""

import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from workbench.errors import StoreError, WriteError
from workbench.generation.claims import Claims
from workbench.generation.requests import REQUEST_FIELDS, Sample, sample_key
from workbench.generation.sample_rows import (
    COLUMNS,
    Row,
    fault,
    intact,
    is_sha,
    line_of,
    read_lines,
    sound,
)
from workbench.generation.store_file import connect, identity, is_database, located, require_same
from workbench.hashing import canonical, digest
from workbench.reading import parse_json
from workbench.writing import whole

log = logging.getLogger(__name__)

_AT_ONCE = 500
_MARK = {bytes: "CAST(? AS TEXT)"}
"""How values are bound, by type; others as they are."""


class SampleStore:
    """Samples by key (see `requests.sample_key`), prompts and parameters stored once each.

    `path=None` lives in memory. Several processes may use one file (WAL), several threads one
    store. A context manager. `claims`: which samples are being drawn now, and by another call.

    Raises `StoreError`, naming the path, for a file that is no store of this schema (it is left as
    it was) or cannot be opened.

    >>> with wb.SampleStore("samples.sqlite") as store:
    ...     wb.generate(model, prompts, n=10, temperature=1.0, store=store)
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = located(path)
        self.claims = Claims(self.path)
        self._db = connect(self.path)
        self._file = identity(self.path)
        # A transaction belongs to the connection: a second thread's rows would end up in it.
        self._writing = threading.Lock()

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

    @property
    def state(self) -> tuple[int, int]:
        """A value that is another one after anybody has written, here or elsewhere."""
        elsewhere = next(self._rows("PRAGMA data_version"))[0]
        return elsewhere, self._db.total_changes

    def get(self, keys: Sequence[str]) -> dict[str, Sample]:
        """The stored samples among `keys`.

        Raises `StoreError` where a row does not match its own digest.
        """
        samples: dict[str, Sample] = {}
        for start in range(0, len(keys), _AT_ONCE):
            chunk = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT {','.join(COLUMNS)} FROM samples WHERE key IN ({marks})"
            for row in self._rows(query, chunk):
                if not intact(row):
                    raise self._damaged(f"the sample {row[0][:12]}… is not what was written")
                samples[row[0]] = Sample(*row[4:8], cached=True)
        return samples

    def put(self, rows: Iterable[tuple[str, str, int, Sample, str]]) -> None:
        """Store (parameters JSON, prompt text, sample index, sample, stage) in one transaction.

        Raises `StoreError` where the disk refuses, or a sample is of other types than `Sample`
        says; the samples of earlier calls stay.
        """
        prompts: dict[str, str] = {}
        settings: dict[str, str] = {}
        samples: list[Row] = []
        sha_of: dict[str, str] = {}
        now = time.time()
        for parameters, prompt, index, sample, stage in rows:
            for text in (prompt, parameters):
                if text not in sha_of:
                    sha_of[text] = digest(text, 64)
            p, q = sha_of[prompt], sha_of[parameters]
            prompts[p], settings[q] = prompt, parameters
            key = sample_key(parameters, p, index)
            content = (sample.text, sample.finish_reason, sample.n_tokens, sample.prompt_tokens)
            row = (key, p, q, index, *content, stage, now, digest([key, *content]))
            if wrong := fault(row):
                raise StoreError(f"{self.path}: a sample cannot be kept: {wrong}")
            samples.append(row)
        self._insert(prompts, settings, samples)

    def _insert(
        self, prompts: dict[str, str], settings: dict[str, str], samples: list[Row]
    ) -> None:
        tables = {"prompts": [*prompts.items()], "parameters": [*settings.items()],
                  "samples": samples}  # fmt: skip
        try:
            try:
                self._write(tables)
            except UnicodeEncodeError:  # half of a surrogate pair, which SQLite takes as bytes
                self._write({t: [_as_bytes(row) for row in rows] for t, rows in tables.items()})
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.path}: samples cannot be written: {error}. Those of earlier calls are "
                "kept: make room (or give a store elsewhere) and call again"
            ) from error
        require_same(self.path, self._file)

    def _write(self, tables: Mapping[str, Sequence[Row]]) -> None:
        with self._writing, self._db:
            for table, rows in tables.items():
                if rows:
                    does = "REPLACE" if table == "samples" else "IGNORE"
                    marks = ",".join(_MARK.get(type(value), "?") for value in rows[0])
                    self._db.executemany(f"INSERT OR {does} INTO {table} VALUES ({marks})", rows)
            self._db.execute(
                "UPDATE meta SET value = value + ? WHERE name = 'written'",
                (len(tables["samples"]),),
            )

    def _damaged(self, damage: str) -> StoreError:
        return StoreError(
            f"{self.path}: {damage}. Drop damaged rows with: workbench samples {self.path} --repair"
        )

    def repair(self) -> int:
        """Drop samples whose digest, key, prompt or parameters do not match; returns how many.

        Raises `StoreError` where whole pages of the file cannot be read.
        """
        bad = [row[0] for row, parameters, prompt in self._joined()
               if not sound(row, parameters, prompt)]  # fmt: skip
        wrong = [
            (table, name)
            for table, column in (("prompts", "text"), ("parameters", "json"))
            for name, text in self._rows(f"SELECT sha, {column} FROM {table}")
            if not is_sha(name, text)
        ]
        try:
            with self._writing, self._db:
                for table, column, name in [
                    *(("samples", "key", name) for name in bad),
                    *((table, "sha", name) for table, name in wrong),
                ]:
                    where = f"CAST({column} AS BLOB) = CAST(? AS BLOB)"
                    for raw in _raw(name):
                        self._db.execute(f"DELETE FROM {table} WHERE {where}", (raw,))
        except sqlite3.Error as error:
            raise StoreError(f"{self.path} cannot be repaired: {error}") from error
        if bad:
            log.warning("%s: %d damaged samples dropped", self.path, len(bad))
        return len(bad)

    def _joined(self) -> Iterator[tuple[Row, str | None, str | None]]:
        """(row, its parameters, its prompt) of every sample, None for what is missing."""
        columns = ",".join(f"s.{c}" for c in COLUMNS)
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

    def renderings(self) -> dict[tuple[str, tuple[str, ...]], set[str | None]]:
        """(prompt's SHA-256, stops) → digests of how the request was read, where that is kept."""
        query = (
            "SELECT DISTINCT s.prompt_sha, q.json FROM samples s "
            "JOIN parameters q ON q.sha = s.parameters_sha WHERE q.json LIKE '%\"rendered\":%'"
        )
        renderings: dict[tuple[str, tuple[str, ...]], set[str | None]] = {}
        for prompt, text in self._rows(query):
            settings = parse_json(text, str(self.path), StoreError)
            key = (prompt, tuple(settings.get("stop", ())))
            renderings.setdefault(key, set()).add(settings.get("rendered"))
        return renderings

    def identities(self) -> list[dict[str, str]]:
        """What the stored samples depend on besides their requests, each once."""
        identities = {}
        used = "SELECT parameters_sha FROM samples"
        query = f"SELECT sha, json FROM parameters WHERE sha IN ({used}) ORDER BY sha"
        for name, text in self._rows(query):
            if not is_sha(name, text):
                raise self._damaged("decoding parameters are not what was written")
            identity = {
                k: v
                for k, v in parse_json(text, str(self.path), StoreError).items()
                if k not in REQUEST_FIELDS
            }
            identities[canonical(identity)] = identity
        return list(identities.values())

    def export_jsonl(self, path: str | Path) -> int:
        """One sample a line with its prompt and parameters; returns how many.

        Raises `StoreError` for damaged samples, and where `path` is a folder or a database (this
        one, too), which stays, or cannot be written.
        """
        count = 0
        try:
            if Path(path).is_dir() or is_database(Path(path)):
                raise StoreError(f"{Path(path)} is a folder or a database: give another path")
            with whole(path) as partial, partial.open("wb") as file:
                for row, parameters, prompt in self._joined():
                    if parameters is None or prompt is None or not sound(row, parameters, prompt):
                        raise self._damaged("some samples are not what was written")
                    file.write(_bytes(line_of(row, parameters, prompt)))
                    count += 1
        except WriteError:
            raise
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from None
        return count

    def import_jsonl(self, path: str | Path) -> int:
        """Add exported samples that are not here yet; returns how many.

        Raises `StoreError`, naming the line, for one that is unreadable, of wrong types, does not
        match its key, or is there twice with different texts; nothing is then added.
        """
        prompts, settings, samples = read_lines(path)
        present = self.get(list(samples))
        others = [
            key for key, sample in present.items() if (*samples.pop(key)[4:8],) != _values(sample)
        ]
        if others:
            log.warning(
                "%s: %d samples have another text than in %s, the first %s…; those here stay",
                path, len(others), self.path, others[0][:12],
            )  # fmt: skip
        self._insert(prompts, settings, list(samples.values()))
        return len(samples)


def _values(sample: Sample) -> Row:
    return sample.text, sample.finish_reason, sample.n_tokens, sample.prompt_tokens


def _as_bytes(row: Row) -> Row:
    return tuple(_bytes(value) if isinstance(value, str) else value for value in row)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _raw(name: Any) -> list[Any]:
    """What may stand in the file for a name that was read: see `text_of`."""
    if not isinstance(name, str):
        return [name]
    encoded = []
    for errors in ("surrogatepass", "surrogateescape"):
        with suppress(UnicodeEncodeError):
            encoded.append(name.encode("utf-8", errors))
    return encoded
