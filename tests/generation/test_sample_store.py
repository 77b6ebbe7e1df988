"""The store of samples: nothing lost, nothing wrong returned, whatever happens to the file."""

import contextlib
import json
import multiprocessing
import os
import signal
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.texts import texts
from workbench.errors import StoreError
from workbench.generation.requests import Sample, sample_key
from workbench.generation.sample_store import SampleStore
from workbench.hashing import canonical, digest

FORK = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import
SETTINGS = canonical({"schema": 1, "weights": "w", "seed": 0})


def key(index, prompt="Hello.", settings=SETTINGS):
    return sample_key(settings, digest(prompt, 64), index)


def row(index, text="yes", prompt="Hello.", settings=SETTINGS, stage="s"):
    return (settings, prompt, index, Sample(text, "eos", 3, 7), stage)


def filled(path, count=5):
    with SampleStore(path) as store:
        store.put(row(i, f"text {i}", f"prompt {i % 2}") for i in range(count))
    return [key(i, f"prompt {i % 2}") for i in range(count)]


def by_hand(path, statement, *values):
    with sqlite3.connect(path) as db:
        db.execute(statement, values)
    db.close()


@settings(max_examples=60, deadline=None)
@given(
    replies=st.lists(texts(), max_size=6), prompt=texts(),
    reason=st.sampled_from(["stop", "eos", "length"]), numbers=st.integers(0, 2**40),
)  # fmt: skip
def test_what_is_put_is_what_is_got(replies, prompt, reason, numbers):
    with SampleStore() as store:
        samples = [Sample(text, reason, numbers + i, numbers) for i, text in enumerate(replies)]
        store.put((SETTINGS, prompt, i, sample, "s") for i, sample in enumerate(samples))
        keys = [key(i, prompt) for i in range(len(replies) + 1)]
        stored = store.get(keys)
        assert [stored[k] for k in keys[: len(replies)]] == [
            Sample(s.text, s.finish_reason, s.n_tokens, s.prompt_tokens, cached=True)
            for s in samples
        ]
        assert keys[-1] not in stored
        assert len(store) == store.written == len(replies)


def test_a_file_keeps_them_for_the_next_process(tmp_path):
    path = tmp_path / "new folder" / "samples.sqlite"
    keys = filled(path)
    with SampleStore(path) as store:
        assert [store.get(keys)[k].text for k in keys] == [f"text {i}" for i in range(5)]
        assert store.stages() == {"s": (5, 15)}
        assert store.identities() == [{"weights": "w"}]
    prompts = sqlite3.connect(path).execute("SELECT text FROM prompts ORDER BY text").fetchall()
    assert prompts == [("prompt 0",), ("prompt 1",)]  # once each


def test_every_part_of_the_identity_is_a_part_of_the_key():
    keys = {key(0), key(1), key(0, "Hello"), key(0, settings=canonical({"weights": "v"}))}
    assert len(keys) == 4
    assert all(len(k) == 64 for k in keys)


def test_written_counts_what_was_drawn_twice():
    with SampleStore() as store:
        store.put([row(0), row(1)])
        store.put([row(1, "again")])
        assert (len(store), store.written) == (2, 3)
        assert store.get([key(1)])[key(1)].text == "again"


def test_twenty_thousand_keys():
    with SampleStore() as store:
        store.put(row(i, str(i)) for i in range(20_000))
        keys = [key(i) for i in range(20_001)]
        found = store.get(keys)
        assert [found[k].text for k in keys[:-1]] == [str(i) for i in range(20_000)]
        assert len(found) == 20_000


def write(path, start, stop, pipe):
    with SampleStore(path) as store:
        for i in range(start, stop):
            store.put([row(2 * i, "a" * 3000), row(2 * i + 1, "b" * 3000)])
            pipe.send(i)


def started(target, *args):
    """A process that runs `target(*args, pipe)`, and our end of the pipe."""
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=target, args=(*args, theirs))
    process.start()
    theirs.close()
    return process, ours


def test_two_processes_write_one_file_while_a_third_reads(tmp_path):
    path = tmp_path / "samples.sqlite"
    writers = [started(write, path, 0, 150), started(write, path, 100, 250)]
    writers[0][1].recv()
    with SampleStore(path) as store:
        seen = 0
        while any(process.is_alive() for process, _ in writers):
            seen = max(seen, len(store.get([key(i) for i in range(500)])))
        assert seen
        for process, _ in writers:
            process.join()
            assert process.exitcode == 0
        assert len(store.get([key(i) for i in range(500)])) == len(store) == 500
        assert store.written == 600
        assert store.repair() == 0


def test_killed_while_writing(tmp_path):
    """kill -9 in mid-run: what was reported as written is there, in whole transactions."""
    path = tmp_path / "samples.sqlite"
    process, pipe = started(write, path, 0, 10**6)
    last = [pipe.recv() for _ in range(40)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with contextlib.suppress(EOFError):
        while True:
            last = pipe.recv()
    with SampleStore(path) as store:
        assert len(store) == store.written >= 2 * (last + 1)
        assert len(store) % 2 == 0
        keys = [key(i) for i in range(len(store))]
        assert set(store.get(keys)) == set(keys)
        assert store.repair() == 0
        store.put([row(10**7)])


def opens(path, barrier, pipe):
    barrier.wait()
    try:
        SampleStore(path).close()
        pipe.send("")
    except (StoreError, sqlite3.Error, TypeError) as error:
        pipe.send(repr(error))


def test_many_processes_make_the_same_new_file(tmp_path):
    """None may see the tables half made."""
    for attempt in range(6):
        barrier = FORK.Barrier(8)
        many = [started(opens, tmp_path / f"{attempt}.sqlite", barrier) for _ in range(8)]
        assert [pipe.recv() for _, pipe in many] == [""] * 8
        for process, _ in many:
            process.join()


def opens_and_dies(path, statement, pipe):
    """Open a store, killed at its n-th SQL statement."""
    connect, left = sqlite3.connect, statement

    def count(_):
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.set_trace_callback(count)
        return db

    sqlite3.connect = traced
    SampleStore(path)


def test_killed_while_the_file_is_made(tmp_path):
    """However far the first process got: the next one finds nothing, or a store."""
    codes = []
    for statement in range(1, 30):
        path = tmp_path / f"{statement}.sqlite"
        process, _ = started(opens_and_dies, path, statement)
        process.join()
        codes.append(process.exitcode)
        with SampleStore(path) as store:
            store.put([row(0)])
            assert store.get([key(0)])[key(0)].text == "yes"
    assert codes[:12] == [-signal.SIGKILL] * 12
    assert codes[-1] == 0


def test_another_schema_is_refused(tmp_path):
    path = tmp_path / "samples.sqlite"
    filled(path)
    by_hand(path, "UPDATE meta SET value = 0 WHERE name = 'schema'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=rf"{path.name} holds samples of schema 0, this version"):
        SampleStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "tables",
    [
        ["CREATE TABLE users (name TEXT)"],
        ["CREATE TABLE meta (x TEXT)", "CREATE TABLE samples (y TEXT)"],
        ["CREATE TABLE meta (name TEXT, value INTEGER)", "CREATE TABLE samples (y TEXT)"],
    ],
)
def test_a_database_of_another_program_is_refused(tmp_path, tables):
    path = tmp_path / "other.sqlite"
    for table in tables:
        by_hand(path, table)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"other.sqlite"):
        SampleStore(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path):
    text, folder = tmp_path / "notes.txt", tmp_path / "folder"
    text.write_text("no database, but long enough to have a header " * 9)
    folder.mkdir()
    for path in (text, folder, text / "below" / "samples.sqlite"):
        with pytest.raises(StoreError, match=rf"{path} cannot be used as a store"):
            SampleStore(path)
    assert text.read_text().startswith("no database")


DAMAGE = {
    "text": "UPDATE samples SET text = 'no' WHERE key = ?",
    "text as bytes": "UPDATE samples SET text = X'ff00' WHERE key = ?",
    "text not UTF-8": "UPDATE samples SET text = CAST(X'f1656c6c6f' AS TEXT) WHERE key = ?",
    "reason": "UPDATE samples SET finish_reason = 'eos ' WHERE key = ?",
    "tokens": "UPDATE samples SET n_tokens = n_tokens + 1 WHERE key = ?",
    "digest": "UPDATE samples SET digest = '' WHERE key = ?",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_row_is_refused_and_repair_drops_it_alone(tmp_path, damage):
    path = tmp_path / "samples.sqlite"
    keys = filled(path)
    by_hand(path, DAMAGE[damage], keys[2])
    with SampleStore(path) as store:
        with pytest.raises(StoreError, match=rf"{path}: the sample {keys[2][:12]}.*--repair"):
            store.get(keys)
        with pytest.raises(StoreError, match="--repair"):
            store.export_jsonl(tmp_path / "out.jsonl")
        assert set(store.get([k for k in keys if k != keys[2]])) == {*keys} - {keys[2]}
        assert store.repair() == 1
        assert set(store.get(keys)) == {*keys} - {keys[2]}
        assert store.repair() == 0
        store.put([row(2, "text 2", "prompt 0")])
        assert store.get(keys)[keys[2]].text == "text 2"
        assert store.repair() == 0


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("UPDATE samples SET sample_index = 9 WHERE key = ?", {2}),
        ("UPDATE samples SET prompt_sha = 'x' WHERE key = ?", {2}),
        ("UPDATE samples SET parameters_sha = 'x' WHERE key = ?", {2}),
        ("UPDATE samples SET key = 'x' WHERE key = ?", {2}),
        ("UPDATE prompts SET text = 'Hi' WHERE text = 'prompt 0' AND ? != ''", {0, 2, 4}),
        ("DELETE FROM prompts WHERE text = 'prompt 1' AND ? != ''", {1, 3}),
        ("UPDATE parameters SET json = '{}' WHERE ? != ''", {0, 1, 2, 3, 4}),
        ("UPDATE parameters SET json = 'x' WHERE ? != ''", {0, 1, 2, 3, 4}),
    ],
)
def test_repair_also_finds_what_a_lookup_does_not_see(tmp_path, statement, lost):
    path = tmp_path / "samples.sqlite"
    keys = filled(path)
    by_hand(path, statement, keys[2])
    with SampleStore(path) as store:
        with pytest.raises(StoreError, match="--repair"):
            store.export_jsonl(tmp_path / "out.jsonl")
        assert store.repair() == len(lost)
        assert set(store.get(keys)) == {k for i, k in enumerate(keys) if i not in lost}
        # What is drawn again is whole again.
        store.put(row(i, f"text {i}", f"prompt {i % 2}") for i in lost)
        assert store.repair() == 0
        assert store.export_jsonl(tmp_path / "out.jsonl") == 5
        assert store.identities() == [{"weights": "w"}]


def test_a_damaged_page_is_a_store_error(tmp_path):
    path = tmp_path / "samples.sqlite"
    with SampleStore(path) as store:
        store.put(row(i, "text " * 50) for i in range(400))
    content = bytearray(path.read_bytes())
    content[4096 * 6 : 4096 * 60] = b"\xa5" * 4096 * 54
    path.write_bytes(content)
    with pytest.raises(StoreError, match=str(path)), SampleStore(path) as store:
        store.get([key(i) for i in range(400)])
    for use in (SampleStore.repair, len, SampleStore.stages):
        with pytest.raises(StoreError, match=str(path)), SampleStore(path) as store:
            use(store)


def test_a_disk_that_refuses_is_a_store_error(tmp_path):
    path = tmp_path / "samples.sqlite"
    with SampleStore(path) as store:
        store.put([row(0)])
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 1}")  # a full disk
        with pytest.raises(StoreError, match=rf"{path}: samples cannot be written: .*full"):
            store.put([row(1), row(2, "x" * 100_000)])
        assert len(store) == store.written == 1
        store._db.execute("PRAGMA max_page_count = 100000")
        store.put([row(1)])
        assert store.get([key(0), key(1)]).keys() == {key(0), key(1)}
    with pytest.raises(StoreError, match="closed"):
        store.get([key(0)])
    with pytest.raises(StoreError, match="closed"):
        store.put([row(0)])
    store.close()


def test_a_file_that_another_program_holds(tmp_path, monkeypatch):
    path = tmp_path / "samples.sqlite"
    filled(path)
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda p, **more: connect(p, **more | {"timeout": 0.05})
    )
    with SampleStore(path) as store:
        holder = connect(path)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            store.put([row(77)])
        holder.rollback()
        store.put([row(77)])


def exported(tmp_path, count=5):
    keys = filled(tmp_path / "from.sqlite", count)
    with SampleStore(tmp_path / "from.sqlite") as store:
        assert store.export_jsonl(tmp_path / "out.jsonl") == count
    return keys, tmp_path / "out.jsonl"


def test_export_and_import(tmp_path):
    keys, path = exported(tmp_path)
    with SampleStore(tmp_path / "to.sqlite") as store:
        store.put([row(3, "text 3", "prompt 1")])
        assert store.import_jsonl(path) == 4
        assert store.import_jsonl(path) == 0
        assert len(store) == store.written == 5
        with SampleStore(tmp_path / "from.sqlite") as before:
            assert store.get(keys) == before.get(keys)
        assert store.repair() == 0
        assert store.export_jsonl(tmp_path / "again.jsonl") == 5
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    again = [json.loads(line) for line in (tmp_path / "again.jsonl").read_text().splitlines()]
    for line in (*lines, *again):
        line.pop("created")
    assert again == lines


def test_an_export_with_a_byte_order_mark_and_windows_line_ends(tmp_path):
    _, path = exported(tmp_path)
    content = path.read_bytes().replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    with SampleStore(tmp_path / "to.sqlite") as store:
        assert store.import_jsonl(path) == 5


@settings(max_examples=30, deadline=None)
@given(text=texts(), prompt=texts())
def test_any_text_survives_the_export(tmp_path_factory, text, prompt):
    """Line separators of any kind, quotes, NUL."""
    path = tmp_path_factory.mktemp("export") / "out.jsonl"
    with SampleStore() as store, SampleStore() as other:
        store.put([row(0, text, prompt)])
        store.export_jsonl(path)
        assert other.import_jsonl(path) == 1
        assert other.get([key(0, prompt)])[key(0, prompt)].text == text


@pytest.mark.parametrize(
    "change",
    [
        {"text": "no"},
        {"prompt": "Hi"},
        {"prompt": 7},
        {"prompt": None},
        {"sample_index": 9},
        {"parameters": {"schema": 1, "weights": "v", "seed": 0}},
        {"parameters": None},
        {"key": "0" * 64},
        {"digest": ""},
        {"n_tokens": float("nan")},
        {"n_tokens": "3"},
        {"stage": None},
        {"stage": ["s"]},
        {"created": None},
    ],
    ids=str,
)
def test_a_changed_line_is_refused_and_nothing_added(tmp_path, change):
    _, path = exported(tmp_path)
    lines = path.read_text().splitlines()
    lines[3] = json.dumps(json.loads(lines[3]) | change)
    path.write_text("\n".join(lines))
    with SampleStore() as store:
        with pytest.raises(StoreError, match=rf"{path}:4|cannot be written"):
            store.import_jsonl(path)
        assert len(store) == store.written == 0


@pytest.mark.parametrize("line", [b"{", b"[]", b"7", b"{}", b'{"key": "\xff"}', b"null"], ids=str)
def test_a_line_that_is_no_sample_is_refused(tmp_path, line):
    _, path = exported(tmp_path, 2)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with SampleStore() as store:
        with pytest.raises(StoreError, match=rf"{path}:3: not an exported sample"):
            store.import_jsonl(path)
        assert len(store) == 0
