"""Where a run at `small` keeps its steps: one process at a time, one state of the source."""

import os
import subprocess
import sys
from types import SimpleNamespace

import nbformat
import pytest

from workbench.errors import WriteError
from workbench.generation.endpoint import Endpoint
from workbench.generation.local import LocalBackend
from workbench.paths import notebook_folder
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


@pytest.mark.parametrize("library", ["torch", "peft", "numpy", "scipy"])
def test_the_digest_follows_source_and_libraries(library, monkeypatch):
    before = work.source_digest.__wrapped__()
    assert before == work.source_digest.__wrapped__()
    installed = work.version
    other = {library: "0"}
    monkeypatch.setattr(work, "version", lambda name: other.get(name) or installed(name))
    assert work.source_digest.__wrapped__() != before


def test_a_link_to_nowhere_is_no_source(tmp_path, monkeypatch):
    """As an editor leaves one beside a file with changes that are not saved."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "work.py").write_text("state = 1")
    monkeypatch.setattr(work, "__file__", str(tmp_path / "runs" / "work.py"))
    before = work.source_digest.__wrapped__()
    (tmp_path / "runs" / ".#work.py").symlink_to("somebody@somewhere.1")
    assert work.source_digest.__wrapped__() == before
    (tmp_path / "runs" / "work.py").write_text("state = 2")
    assert work.source_digest.__wrapped__() != before


def test_what_does_not_tell_weights_apart_stays_in_its_own_folder(tmp_path, cache):
    assert work_folder("self_verification", "small", tmp_path, shared=False) == tmp_path
    assert not cache.exists()


def test_samples_of_a_server_are_not_shared_by_runs(tmp_path, cache):
    """Another server's model may have the same name: `default`, say."""
    cells = nbformat.read(notebook_folder() / "09_self_verification.ipynb", as_version=4).cells
    (cell,) = [c.source for c in cells if 'samples.sqlite"' in c.source]
    stores = []
    study = SimpleNamespace(run=lambda *arguments: stores.append(arguments[3]))
    for model in (Endpoint("http://127.0.0.1:1/v1", "default"), object.__new__(LocalBackend)):
        names = {"work_folder": work_folder, "LocalBackend": LocalBackend, "study": study}
        names |= {"preset": "small", "out": tmp_path, "model": model}
        exec(cell, names | dict.fromkeys(("problems", "settings", "stages")))
    assert stores[0] == tmp_path / "samples.sqlite"
    assert stores[1].is_relative_to(cache)


def test_an_unknown_preset_and_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="use one of tiny, small, paper"):
        work_folder("fpo", "smal", tmp_path)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(WriteError, match=r"cannot be written.*WORKBENCH_CACHE names"):
        work_folder("fpo", "small", tmp_path)
