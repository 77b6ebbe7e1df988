"""Steps cached: computed once, whoever asks at the same time and whatever lies there."""

import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from workbench.errors import RunError, WriteError
from workbench.runs.cache import cached

FORK = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import


def noting(notes, pause=0.3, result=None):
    def compute():
        with notes.open("a") as file:
            file.write("x")
        time.sleep(pause)
        return {"x": [1.5]} if result is None else result

    return compute


def step(folder, notes):
    assert cached(folder, "step", {"a": 1}, noting(notes)) == {"x": [1.5]}


@pytest.mark.parametrize("worker", [threading.Thread, FORK.Process])
def test_six_at_once_compute_it_once(tmp_path, worker):
    folder, notes = tmp_path / "cache", tmp_path / "notes"
    many = [worker(target=step, args=(folder, notes)) for _ in range(6)]
    for each in many:
        each.start()
    for each in many:
        each.join(60)
        assert getattr(each, "exitcode", 0) == 0
    assert notes.read_text() == "x"
    assert [p.suffix for p in folder.iterdir()] == [".json"]


def test_other_keys_do_not_wait(tmp_path):
    barrier = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        done = [pool.submit(cached, tmp_path, "s", {"a": i}, lambda: barrier.wait(30)) for i in
                range(3)]  # fmt: skip
        assert sorted(d.result() for d in done) == [0, 1, 2]


def test_an_error_lets_the_next_one_try(tmp_path):
    """Of six, the first three fail; then one computes for the others."""
    begun = []

    def compute():
        begun.append(1)
        time.sleep(0.1)
        if len(begun) <= 3:
            raise ValueError("no luck")
        return len(begun)

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(cached, tmp_path, "step", {}, compute) for _ in range(6)]
        failed = [d for d in done if d.exception(60)]
    assert len(failed) == 3
    assert {d.result() for d in done if d not in failed} == {4}


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_step_is_computed_by_who_waits(tmp_path):
    first = FORK.Process(target=cached, args=(tmp_path, "s", {}, lambda: (time.sleep(1), dies())))
    first.start()
    while not list(tmp_path.iterdir()):
        time.sleep(0.01)
    assert cached(tmp_path, "s", {}, lambda: 7) == 7
    assert not first.is_alive()
    assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


DAMAGE = {
    "empty": b"",
    "half": b'{"key": {"a": 1}, "resu',
    "NUL": b"\0" * 40,
    "list": b"[1]",
    "number": b"3",
    "no result": b'{"key": {"a": 1}}',
    "no key": b'{"result": 5}',
    "another key": b'{"key": {"a": 2}, "result": 5}',
    "not UTF-8": b'{"key": {"a": 1}, "result": "\xff"}',
    "UTF-16": '{"key": {"a": 1}, "result": 5}'.encode("utf-16"),
    "deep": b"[" * 100_000,
    "two": b'{"key": {"a": 1}, "result": 5}{"key": {"a": 1}, "result": 5}',
    "digits": b'{"key": {"a": 1}, "result": ' + b"9" * 5000 + b"}",
    "no digest": b'{"key": {"a": 1}, "result": 5}',
    "no digest of this": b'{"key": {"a": 1}, "result": 5, "digest": "0123456789abcdef"}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_made_again(tmp_path, caplog, damage):
    cached(tmp_path, "step", {"a": 1}, lambda: 7)
    (path,) = tmp_path.iterdir()
    path.write_bytes(DAMAGE[damage])
    assert cached(tmp_path, "step", {"a": 1}, lambda: 8) == 8
    assert f"step: {path} is damaged (" in caplog.text
    assert cached(tmp_path, "step", {"a": 1}, lambda: 9) == 8
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("change", [("7", "8"), ('"result": 7', '"result": 7, "result": 8')])
def test_a_damaged_file_that_is_still_json_is_made_again(tmp_path, caplog, change):
    cached(tmp_path, "step", {"a": 1}, lambda: {"x": [1, 7]} if change[0] == "7" else 7)
    (path,) = tmp_path.iterdir()
    start, result = path.read_text().split(', "result"')
    path.write_text(start + f', "result"{result}'.replace(*change, 1))
    assert cached(tmp_path, "step", {"a": 1}, lambda: 9) == 9
    assert "its result is not what was written" in caplog.text


@pytest.mark.parametrize("name", ["../up", "a/b", "", "nul\0", "\ud800"])
def test_a_step_is_named_as_a_file_can_be(tmp_path, name):
    with pytest.raises(ValueError, match="is no file name"):
        cached(tmp_path, name, {}, lambda: 1)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        ({1: "a", 1.5: "b"}, {"1": "a", "1.5": "b"}),
        ({2: "a", None: "b"}, {"2": "a", "null": "b"}),
        (None, None),
        ("\ud800", "\ud800"),
        ([float("inf"), 1e-320], [float("inf"), 1e-320]),
    ],
)
def test_computed_and_restored_are_the_same(tmp_path, result, expected):
    for folder in (tmp_path, tmp_path, ""):
        assert cached(folder, "s", {"nan": float("nan"), "keys": {"10": 1, "2": 2}},
                      lambda: result) == expected  # fmt: skip
    (path,) = tmp_path.iterdir()
    assert json.loads(path.read_text())["result"] == expected


def test_nan_stays(tmp_path):
    for _ in range(2):
        (value,) = cached(tmp_path, "s", {}, lambda: [float("nan")])
        assert value != value


@pytest.mark.parametrize(
    "result", [{1: "a", "1": "b"}, {1}, b"x", [object()]], ids=["keys", "set", "bytes", "object"]
)
def test_what_json_cannot_hold_is_refused(tmp_path, result):
    for folder in (tmp_path, ""):
        with pytest.raises(RunError, match="step s: its result cannot be kept as JSON"):
            cached(folder, "s", {}, lambda: result)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_named_before_the_step_where_it_shows(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    computed = []
    with pytest.raises((WriteError, RunError), match="file"):
        cached(tmp_path / "file", "s", {}, lambda: computed.append(1))
    assert not computed

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"s-.*json cannot be written: No space left.*make room"):
        cached(tmp_path / "new", "s", {}, lambda: 1)
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.parametrize(
    "entry", [torch.zeros(5000), np.zeros(3000), object(), {"a", "b"}, {1: 2}, print, np.int64(3)]
)
def test_a_key_that_is_no_json_is_refused_by_name(tmp_path, entry):
    """The `repr` of a long array leaves out its middle; that of an object is its address."""
    for folder in (tmp_path, ""):
        with pytest.raises(TypeError, match=r"step s: key\['data'\]\[1\]"):
            cached(folder, "s", {"data": [1, entry]}, lambda: 1)


def test_paths_and_tuples_are_keys(tmp_path):
    assert cached(tmp_path, "s", {"a": (tmp_path, 1)}, lambda: 1) == 1
    assert cached(tmp_path, "s", {"a": [str(tmp_path), 1]}, lambda: 2) == 1
    assert cached(tmp_path, "s", {"a": [str(tmp_path), 1.5]}, lambda: 2) == 2
