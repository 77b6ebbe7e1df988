"""What is no store, or no export, is refused by name and left as it was, byte for byte."""

import json
import os
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.generation.test_sample_store import by_hand, exported, filled, key, row
from workbench.errors import StoreError
from workbench.generation import store_file
from workbench.generation.requests import Sample
from workbench.generation.sample_store import SampleStore

ALTERED = {
    "trigger": "CREATE TRIGGER t AFTER INSERT ON samples BEGIN DELETE FROM samples; END",
    "view": "CREATE VIEW v AS SELECT 1",
    "table": "CREATE TABLE more (x)",
    "virtual table": "CREATE VIRTUAL TABLE f USING fts5(x)",
    "index": "CREATE INDEX i ON samples (stage)",
    "index on an expression": "CREATE INDEX i ON samples (abs(n_tokens))",
    "column": "ALTER TABLE samples ADD COLUMN x",
    "generated column": "ALTER TABLE samples ADD COLUMN x GENERATED ALWAYS AS (n_tokens + 1)",
    "name of a column": "ALTER TABLE samples RENAME COLUMN stage TO stages",
    "missing table": "DROP TABLE prompts",
    "statistics": "ANALYZE",
    "missing number": "DELETE FROM meta WHERE name = 'written'",
    "another number": "INSERT INTO meta VALUES ('x', 1)",
    "number as text": "UPDATE meta SET value = 'x' WHERE name = 'written'",
    "negative number": "UPDATE meta SET value = -1 WHERE name = 'written'",
    "schema as text": "UPDATE meta SET value = 'one' WHERE name = 'schema'",
}
MADE = {
    "other program": "CREATE TABLE users (name TEXT)",
    "view for a table": "CREATE TABLE x (y); CREATE VIEW samples AS SELECT * FROM x;"
    "CREATE VIEW meta AS SELECT 'schema' AS name, 1 AS value",
    "same names": "CREATE TABLE meta (name, value); CREATE TABLE prompts (sha, text);"
    "CREATE TABLE parameters (sha, json); CREATE TABLE samples (key)",
    "check": "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value < 9)) "
    "WITHOUT ROWID",
    "generated": "CREATE TABLE meta (name TEXT, value AS (1))",
    "a recursive view": "CREATE VIEW meta AS WITH RECURSIVE r(value) AS (SELECT 1 UNION ALL "
    "SELECT value + 1 FROM r) SELECT 'schema' AS name, value FROM r",
    "marked": "PRAGMA application_id = 7",
    "versioned": "PRAGMA user_version = 7",
    "its own WAL": "PRAGMA journal_mode = WAL; CREATE TABLE users (name TEXT)",
    "many tables": "BEGIN;" + "".join(f"CREATE TABLE t{i} (x);" for i in range(5000)) + "COMMIT",
}


def refused(path, match=""):
    """`path` cannot be a store; it and its log stay (-shm is where SQLite's readers meet)."""
    files = [p for p in path.parent.iterdir() if p.is_file() and not p.match("*-shm")]
    before = {p: p.read_bytes() for p in files}
    with pytest.raises(StoreError, match=rf"{path.name}.*{match}"):
        SampleStore(path)
    assert {p: p.read_bytes() for p in before} == before
    assert {p.name for p in path.parent.iterdir()} <= {p.name for p in before} | {
        path.name, f"{path.name}-shm"
    }  # fmt: skip


@pytest.mark.parametrize("change", ALTERED)
def test_a_store_that_was_altered_is_refused(tmp_path, change):
    path = tmp_path / "s.sqlite"
    filled(path)
    (tmp_path / "s.sqlite.lock").unlink()
    by_hand(path, "PRAGMA journal_mode = DELETE")
    by_hand(path, ALTERED[change])
    refused(path, "not one of samples")


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("live", [False, True])
def test_a_database_of_another_program_stays_as_it_is(tmp_path, made, live):
    """Also while that program has it open."""
    path = tmp_path / "other.sqlite"
    db = sqlite3.connect(path)
    db.executescript(MADE[made])
    if not live:
        db.close()
    refused(path, "not one of samples")
    db.close()


def test_a_log_of_another_database_beside_a_store(tmp_path):
    path, other = tmp_path / "s.sqlite", tmp_path / "other.sqlite"
    filled(path)
    (tmp_path / "s.sqlite.lock").unlink()
    db = sqlite3.connect(other)
    db.executescript(MADE["its own WAL"])
    (tmp_path / "s.sqlite-wal").write_bytes((tmp_path / "other.sqlite-wal").read_bytes())
    db.close()
    refused(path)


def test_what_is_no_database(tmp_path):
    store = tmp_path / "store" / "s.sqlite"
    filled(store)
    whole = store.read_bytes()
    for name, content in {
        "text": b"no database " * 100, "zeros": b"\0" * 4096, "header": whole[:100],
        "cut": whole[:5000], "magic": b"SQLite format 3\0", "one": b"x",
        "pages": whole[:28] + b"\xff" * 4 + whole[32:5000], "page size": whole[:16] + b"\1\1" +
        whole[18:], "schema": whole.replace(b"CREATE TABLE meta", b"CREATE TABEL meta"),
    }.items():  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        (folder / "s.sqlite").write_bytes(content)
        refused(folder / "s.sqlite")


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    began = time.monotonic()
    for name in ("folder", "pipe", "loop", "n" * 300, "a\0b", "pipe/below"):
        with pytest.raises(StoreError, match="cannot be used as a store of samples"):
            SampleStore(tmp_path / name)
    with pytest.raises(StoreError, match="it is no file"):
        SampleStore("/dev/zero")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("name", ["a b?mode=memory#x%20.sqlite", "ü\u2028.sqlite", "link"])
def test_names_that_mean_something_in_an_address(tmp_path, name):
    if name == "link":
        (tmp_path / name).symlink_to("target")
    keys = filled(tmp_path / name)
    with SampleStore(tmp_path / name) as store:
        assert set(store.get(keys)) == set(keys)


def test_a_store_has_one_name(tmp_path, monkeypatch):
    keys = filled(tmp_path / "s.sqlite")
    (tmp_path / "link.sqlite").symlink_to("s.sqlite")
    monkeypatch.chdir(tmp_path)
    stores = [SampleStore(n) for n in ("s.sqlite", "link.sqlite", tmp_path / "s.sqlite")]
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    with stores[0].claims.held(keys) as ours:
        assert ours == set(keys)
        for store in stores[1:]:
            with store.claims.held(keys) as theirs:
                assert not theirs
    assert list((tmp_path / "sub").iterdir()) == []
    os.link(tmp_path / "s.sqlite", tmp_path / "second.sqlite")
    for name in ("s.sqlite", "second.sqlite", "link.sqlite"):
        with pytest.raises(StoreError, match="has another name"):
            SampleStore(tmp_path / name)
    with pytest.raises(StoreError, match=r"give SampleStore\(\)"):
        SampleStore(":memory:")


@pytest.mark.parametrize("happens", ["removed", "replaced"])
def test_a_file_that_is_gone_keeps_nothing_more(tmp_path, happens):
    path = tmp_path / "s.sqlite"
    filled(tmp_path / "other.sqlite")
    with SampleStore(path) as store:
        store.put([row(0)])
        path.unlink() if happens == "removed" else os.replace(tmp_path / "other.sqlite", path)
        with pytest.raises(StoreError, match=r"s\.sqlite was removed or replaced.*not kept"):
            store.put([row(1)])


# ---- rows


ANY = (
    st.text(st.characters(codec=None), max_size=8)
    | st.text(
        st.sampled_from(["\\", "\ud800", "\udc00", "u", "d", "8", "0", '"']), max_size=12
    ).map(lambda text: text + "\\ud800")
    | st.just("\\ud800 and \ud800")
)


@settings(max_examples=60, deadline=None)
@given(text=ANY, prompt=ANY, stage=ANY, stop=ANY)
def test_halves_of_surrogate_pairs_are_kept(tmp_path_factory, text, prompt, stage, stop):
    folder = tmp_path_factory.mktemp("halves")
    of = json.dumps({"stop": [stop], "w": 1}, sort_keys=True, separators=(",", ":"),
                    ensure_ascii=False)  # fmt: skip
    with SampleStore(folder / "a") as store:
        store.put([row(0, text, prompt, of, stage)])
        assert store.get([key(0, prompt, of)])[key(0, prompt, of)].text == text
        assert list(store.stages()) == [stage]
        store.export_jsonl(folder / "out")
        assert store.repair() == 0
    with SampleStore() as other:
        assert other.import_jsonl(folder / "out") == 1
        assert other.get([key(0, prompt, of)])[key(0, prompt, of)].text == text


WRONG = {
    name: [7, None, True, [], {}, 0.5] for name in ("text", "prompt", "stage", "key", "digest",
                                                    "finish_reason", "prompt_sha")
} | {
    name: ["3", None, True, False, 10**30, -1, 2.0, 2**63, [1], {}]
    for name in ("n_tokens", "prompt_tokens", "sample_index")
} | {"created": ["now", None, True, []], "parameters": [None, [], "{}", 3, True]}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n in WRONG for v in WRONG[n]], ids=repr)
def test_rows_of_wrong_types_are_refused_by_line(tmp_path, name, value):
    _, path = exported(tmp_path, 3)
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {name: value})
    path.write_text("\n".join(lines))
    with SampleStore() as store:
        with pytest.raises(StoreError, match=rf"{path}:2: not an exported sample \({name} is "):
            store.import_jsonl(path)
        assert len(store) == store.written == 0


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line.replace('"text":', '"more":1,"text":'),
        lambda line: line.replace('"stage":"s",', ""),
        lambda line: line.replace('"text":', '"text":"x","text":'),
        lambda line: line.replace('"n_tokens":3', '"n_tokens":NaN'),
        lambda line: line.replace('"n_tokens":3', '"n_tokens":' + "9" * 5000),
        lambda line: line.replace('"created":', '"created":1e999,"x":'),
        lambda line: line.replace('"stage":"s"', '"stage":' + "[" * 9**5 + "]" * 9**5),
        lambda line: line + line,
        lambda line: line[: len(line) // 2],
        lambda line: "\0" * 20,
    ],
)  # fmt: skip
def test_lines_that_are_no_rows_are_refused(tmp_path, edit):
    _, path = exported(tmp_path, 3)
    lines = path.read_text().splitlines()
    assert edit(lines[1]) != lines[1]
    path.write_text("\n".join([lines[0], edit(lines[1]), lines[2]]))
    with SampleStore() as store:
        with pytest.raises(StoreError, match=rf"{path}:2: not an exported sample"):
            store.import_jsonl(path)
        assert len(store) == 0


def test_a_key_twice(tmp_path, caplog):
    with SampleStore() as store:
        for number, text in enumerate(("yes", "no")):
            store.put([row(0, text)])
            store.export_jsonl(tmp_path / f"{number}.jsonl")
    lines = [(tmp_path / f"{n}.jsonl").read_text() for n in (0, 1)]
    (tmp_path / "same.jsonl").write_text(lines[0] * 2)
    (tmp_path / "both.jsonl").write_text(lines[0] + lines[1])
    with SampleStore() as store:
        with pytest.raises(StoreError, match=r"both.jsonl:2: the sample of line 1 again"):
            store.import_jsonl(tmp_path / "both.jsonl")
        assert len(store) == 0
        assert store.import_jsonl(tmp_path / "same.jsonl") == 1
        assert store.import_jsonl(tmp_path / "1.jsonl") == 0
        assert store.get([key(0)])[key(0)].text == "yes"
    assert "1 samples have another text" in caplog.text


@pytest.mark.parametrize("sample", [Sample(None, "eos", 1, 1), Sample("x", "eos", 10**30, 1),
                                    Sample("x", "eos", -5, 1), Sample("x", "eos", "3", 1)],
                         ids=repr)  # fmt: skip
def test_a_sample_of_wrong_types_is_not_kept(sample):
    settings_json, prompt, index, _, stage = row(0)
    with SampleStore() as store:
        with pytest.raises(StoreError, match="a sample cannot be kept"):
            store.put([row(1), (settings_json, prompt, index, sample, stage)])
        assert len(store) == 0


def test_an_export_that_fails_leaves_the_old_one(tmp_path):
    filled(tmp_path / "s.sqlite")
    by_hand(tmp_path / "s.sqlite", "UPDATE samples SET n_tokens = 9 WHERE sample_index = 3")
    (tmp_path / "out").write_text("before")
    with SampleStore(tmp_path / "s.sqlite") as store, pytest.raises(StoreError, match="--repair"):
        store.export_jsonl(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"


def test_threads_write_through_one_store():
    with SampleStore() as store:

        def write(first):
            for i in range(first, first + 50):
                store.put([row(2 * i), row(2 * i + 1)])
                assert len(store.get([key(2 * i), key(2 * i + 1)])) == 2

        many = [threading.Thread(target=write, args=(50 * n,)) for n in range(6)]
        for thread in many:
            thread.start()
        for thread in many:
            thread.join()
        assert len(store) == store.written == 600
        assert store.repair() == 0


def test_a_log_that_goes_away_while_a_store_is_opened_is_none(tmp_path, monkeypatch):
    path = tmp_path / "samples.sqlite"
    filled(path)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # as it was a moment ago
    with SampleStore(path) as store:
        assert len(store)


@pytest.mark.parametrize("times", [1, 2])
def test_a_store_that_was_torn_for_a_moment_is_opened(tmp_path, monkeypatch, times):
    path, require = tmp_path / "samples.sqlite", store_file._require
    filled(path)
    torn = [sqlite3.DatabaseError("database disk image is malformed")] * times

    def while_another_closes(db, path):
        if torn:
            raise torn.pop()
        require(db, path)

    monkeypatch.setattr(store_file, "_require", while_another_closes)
    with SampleStore(path) as store:
        assert len(store)
