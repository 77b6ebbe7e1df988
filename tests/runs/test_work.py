"""Where a run at `small` keeps its steps: one process at a time, one state of the source."""

import os
import subprocess
import sys

import pytest

from workbench.errors import WriteError
from workbench.runs import work
from workbench.runs.work import work_folder

ASK = "from workbench.runs.work import work_folder; print(work_folder('fpo', 'small', 'mine'))"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(work, "_held", {})
    yield tmp_path / "cache"
    for lock in work._held.values():
        lock.release()


def ask() -> tuple[str, str]:
    """What another process is told, and what it logs."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_other_presets_keep_in_their_own_folder(preset, tmp_path, cache):
    assert work_folder("fpo", preset, tmp_path) == tmp_path
    assert not cache.exists()


def test_a_second_run_is_given_the_same_folder_and_says_what_is_there(cache, caplog):
    folder = work_folder("fpo", "small", "a")
    assert folder.is_dir()
    assert folder.is_relative_to(cache)
    assert not caplog.text
    (folder / "step.json").write_text("{}")
    assert work_folder("fpo", "small", "b") == folder  # the same cell again, in one process
    assert "which is not done again" in caplog.text
    assert work_folder("pas", "small", "a") != folder


def test_another_process_works_in_its_own_folder_until_this_one_ends(cache):
    folder, log = ask()
    assert folder.startswith(str(cache))
    assert not log
    assert str(work_folder("fpo", "small", "a")) == folder
    other, log = ask()
    assert other == "mine"
    assert "another run works in" in log


def test_another_source_begins_anew_and_the_oldest_is_removed(monkeypatch):
    folders = []
    for state, digest in enumerate(["aa", "bb", "cc"]):
        monkeypatch.setattr(work, "source_digest", lambda digest=digest: digest)
        folders.append(work_folder("fpo", "small", "out"))
        os.utime(folders[-1], (state, state))
        for lock in work._held.values():  # as at the end of a process
            lock.release()
        work._held.clear()
    keeping = work_folder("fpo-like", "small", "out")
    assert [f.exists() for f in folders] == [False, True, True]
    assert keeping.exists()


def test_a_folder_in_use_is_not_removed(monkeypatch):
    for digest in ("aa", "bb", "cc"):
        monkeypatch.setattr(work, "source_digest", lambda digest=digest: digest)
        work_folder("fpo", "small", "out")
    assert all(folder.exists() for folder in work._held)


def test_the_digest_follows_source_and_libraries(monkeypatch):
    before = work.source_digest.__wrapped__()
    assert before == work.source_digest.__wrapped__()
    monkeypatch.setattr(work, "version", lambda name: "0")
    assert work.source_digest.__wrapped__() != before


def test_an_unknown_preset_and_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="use one of tiny, small, paper"):
        work_folder("fpo", "smal", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(WriteError, match="cannot be written"):
        work_folder("fpo", "small", tmp_path)
