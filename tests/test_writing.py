"""What is written is whole or not there, whoever else writes, and a disk that refuses is named."""

import contextlib
import errno
import json
import multiprocessing
import os
import resource
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models

from tests.helpers.rows import written
from workbench.errors import ShardError, WorkbenchError, WriteError
from workbench.writing import disk_errors, whole, write_json

FORK = multiprocessing.get_context("fork")  # a new interpreter would take seconds to import


def names(folder):
    return sorted(os.listdir(folder))


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "a.txt"
    with whole(path) as partial:
        partial.write_text("half")
        assert not path.exists()
        partial.write_text("all of it")
    assert path.read_text() == "all of it"
    with whole(str(path)) as partial:
        partial.write_text("new")
        assert path.read_text() == "all of it"
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("before", [True, False])
def test_an_exception_leaves_what_was_there(tmp_path, error, kind, before):
    path = tmp_path / "kept"
    if before:
        path.mkdir()
        (path / "old").write_text("old")

    def stop(partial):
        if kind == "folder":
            partial.mkdir()
            partial = partial / "new"
        partial.write_text("half")
        raise error

    with pytest.raises(error), whole(path) as partial:
        stop(partial)
    assert names(tmp_path) == (["kept"] if before else [])
    if before:
        assert names(path) == ["old"]
        assert (path / "old").read_text() == "old"


def test_a_folder_is_replaced_not_merged(tmp_path):
    path = tmp_path / "folder"
    for name in ("first", "second"):
        with whole(path) as partial:
            partial.mkdir()
            (partial / name).write_text(name)
        assert names(path) == [name]
    path = written(tmp_path, "a file", "file")
    with whole(path) as partial:
        partial.mkdir()
    assert path.is_dir()
    assert names(tmp_path) == ["file", "folder"]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    real = Path.replace

    def replace(self, target):
        if Path(target) == path and (self / "new").exists():
            raise OSError(errno.EIO, "broken")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(WriteError, match="folder cannot be written"), whole(path) as partial:
        (partial / "new").mkdir(parents=True)
    assert names(tmp_path) == ["folder"]
    assert names(path) == ["old"]


def write_and_die(path, kind):
    """Write half, and be killed at it."""
    with whole(path) as partial:
        if kind == "folder":
            partial.mkdir()
        (partial / "a" if kind == "folder" else partial).write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, kind):
    path = tmp_path / "a"
    write_json(path, "before")
    process = FORK.Process(target=write_and_die, args=(path, kind))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert json.loads(path.read_text()) == "before"
    write_json(tmp_path / "b", "another file there")
    assert names(tmp_path) == ["a", "b"]


def test_a_folder_is_back_when_its_writer_died_between_old_and_new(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").touch()
    real = Path.replace

    def dies(self, target):
        if Path(target) == path:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target)

    def replace():
        Path.replace = dies
        with whole(path) as partial:
            partial.mkdir()

    process = FORK.Process(target=replace)
    process.start()
    process.join()
    assert not path.exists()
    write_json(tmp_path / "b", 1)
    assert names(tmp_path) == ["b", "folder"]
    assert names(path) == ["old"]


def test_what_a_living_writer_has_is_left_alone(tmp_path):
    with whole(tmp_path / "a") as first:
        first.write_text("first")
        with whole(tmp_path / "a") as second:
            second.write_text("second")
        assert (tmp_path / "a").read_text() == "second"
        assert first.read_text() == "first"
    assert (tmp_path / "a").read_text() == "first"
    assert names(tmp_path) == ["a"]


def fill(path, kind, mark, seconds):
    """Write `path` over and over; every version is of one mark alone."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with whole(path) as partial:
            if kind == "folder":
                partial.mkdir()
                for name in "abc":
                    (partial / name).write_text(mark * 1000)
            else:
                partial.write_text(mark * 3000)


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("worker", [threading.Thread, FORK.Process])
def test_many_writers_of_one_path(tmp_path, kind, worker):
    path = tmp_path / "a"
    workers = [worker(target=fill, args=(path, kind, str(i), 1.0)) for i in range(6)]
    for each in workers:
        each.start()
    seen = set()
    while any(each.is_alive() for each in workers):
        with contextlib.suppress(FileNotFoundError):  # between one folder and the next
            if kind == "file":
                text = path.read_text()
                seen.add(text[0])
                assert text == text[0] * 3000
    for each in workers:
        each.join()
        assert getattr(each, "exitcode", 0) == 0
    assert names(tmp_path) == ["a"]
    if kind == "folder":
        texts = [(path / name).read_text() for name in "abc"]
        assert texts == [texts[0][0] * 1000] * 3
    else:
        assert len(seen) > 1


def test_what_is_written_is_on_the_disk_before_it_appears(tmp_path, monkeypatch):
    """Every file and folder is synced, then renamed, then the folder it lies in is synced."""
    events = []
    real = Path.replace

    def replace(self, target):
        real(self, target)
        events.append("rename")

    monkeypatch.setattr(os, "fsync", lambda fd: events.append(os.readlink(f"/proc/self/fd/{fd}")))
    monkeypatch.setattr(Path, "replace", replace)
    write_json(tmp_path / "a", 1)
    assert [Path(e).name for e in events] == ["a", "rename", tmp_path.name]
    events.clear()
    with whole(tmp_path / "f") as partial:
        (partial / "in").mkdir(parents=True)
        (partial / "in" / "x").touch()
    assert [Path(e).name for e in events] == ["x", "in", "f", "rename", tmp_path.name]


# ---- disks that refuse


def limited(write, path, pipe):
    """`write(path)` where no file may grow beyond 1,000 bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        write(path)
        pipe.send(("nothing", ""))
    except (OSError, RuntimeError, WorkbenchError) as error:
        pipe.send((type(error).__name__, str(error)))


def by_whole(inner):
    def write(path):
        with whole(path) as partial:
            inner(partial)

    return write


def pandas_csv(path):
    import pandas as pd

    pd.DataFrame({"a": range(9000)}).to_csv(path)


WRITERS = {
    "text": by_whole(lambda p: p.write_text("x" * 9000)),
    "json": lambda p: write_json(p, ["x" * 9000]),
    "safetensors": by_whole(lambda p: save_file({"a": torch.zeros(9000)}, p)),
    "npy": by_whole(lambda p: np.save(p.open("wb"), np.zeros(9000))),
    "npz": by_whole(lambda p: np.savez(p.open("wb"), a=np.zeros(9000))),
    "torch": by_whole(lambda p: torch.save(torch.zeros(9000), p)),
    "tokenizer": by_whole(
        lambda p: Tokenizer(models.WordLevel({f"w{i}": i for i in range(900)}, "w0")).save(str(p))
    ),
    "csv": by_whole(pandas_csv),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_whoever_writes(tmp_path, name):
    path = tmp_path / "a"
    path.write_text("before")
    ours, theirs = FORK.Pipe()
    process = FORK.Process(target=limited, args=(WRITERS[name], path, theirs))
    process.start()
    kind, message = ours.recv()
    process.join()
    assert kind == "WriteError", message
    assert message.startswith(f"{path} cannot be written: ")
    assert "make room" in message
    assert names(tmp_path) == ["a"]
    assert path.read_text() == "before"


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EFBIG"])
@pytest.mark.parametrize("at", ["mkdtemp", "fsync", "replace", "write"])
def test_every_refusal_is_named_at_every_step(tmp_path, monkeypatch, code, at):
    path = tmp_path / "a"
    path.write_text("before")
    number = getattr(errno, code)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    owner = {"mkdtemp": "tempfile.mkdtemp", "fsync": "os.fsync", "replace": "pathlib.Path.replace",
             "write": "pathlib.Path.write_text"}[at]  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(owner, refuse)
        with pytest.raises(WriteError, match=rf"{path} cannot be written: {os.strerror(number)}; "):
            write_json(path, 1)
    assert names(tmp_path) == ["a"]
    assert path.read_text() == "before"
    write_json(path, 1)
    assert path.read_text() == "1"


def test_paths_that_are_none(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder" / "in").mkdir(parents=True)
    for name, why in (
        ("file/a", "File exists|Not a directory"),
        ("file/below/a", "Not a directory"),
        ("loop/a", "File exists|Too many levels"),
        ("folder", "Is a directory"),
        ("n" * 300, "File name too long"),
        ("n" * 300 + "/a", "File name too long"),
    ):
        with pytest.raises(WriteError, match=rf"{name} cannot be written: ({why}).*another path"):
            write_json(tmp_path / name, 1)
    assert names(tmp_path) == ["file", "folder", "loop"]
    write_json(tmp_path / ("n" * 250), 1)  # as long as names may be


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "/elsewhere/model.bin"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        FileNotFoundError(errno.ENOENT, "absent", "x"),
        OSError("cannot reach the hub"),
        RuntimeError("out of memory"),
        WorkbenchError("of another kind"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_other_errors_of_the_block_pass_as_they_are(tmp_path, error):
    with pytest.raises(type(error)) as caught, whole(tmp_path / "a"):
        raise error
    assert caught.value is error
    assert names(tmp_path) == []


def test_the_caller_names_the_kind(tmp_path):
    named = pytest.raises(ShardError, match="acts cannot be written: No space left")
    with named, disk_errors(tmp_path / "acts", ShardError):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "a.json"
    content = {"b": [1, 2.5, None, "ü"], "a": {}}
    write_json(path, content)
    assert json.loads(path.read_text(encoding="utf-8")) == content
    assert list(json.loads(path.read_text())) == ["b", "a"]
    for wrong in (float("nan"), [float("inf")], ...):
        with pytest.raises(TypeError if wrong is ... else ValueError):
            write_json(path, wrong)
    assert json.loads(path.read_text()) == content
    write_json(path, content, indent=None)
    assert len(path.read_text().splitlines()) == 1
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
def test_what_is_no_path_is_named(tmp_path, name):
    with pytest.raises(WriteError, match=r"a\\.* is no path; choose another"):
        write_json(tmp_path / name, {})
    assert not list(tmp_path.iterdir())
