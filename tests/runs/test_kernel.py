"""A run's kernel ends when the run does, busy or just starting, and leaves no file."""

import contextlib
import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from jupyter_core.utils import run_sync

from workbench.runs.kernel import _folder, kernel
from workbench.writing import locked

PARENT = """import os, signal, sys, time
from jupyter_core.utils import run_sync
from workbench.runs.kernel import kernel

with kernel() as manager:
    run_sync(manager.start_kernel)()
    if sys.argv[1] != "starting":
        client = manager.client()
        client.start_channels()
        run_sync(client.wait_for_ready)(timeout=60)
        client.execute(sys.argv[1])
        time.sleep(0.5)
    print(manager.provisioner.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)"""


@pytest.fixture
def adopting():
    """Orphans come to this process, as they do to a desktop's, and not to process 1."""
    if sys.platform != "linux":
        pytest.skip("only Linux has subreapers")
    library, set_child_subreaper = ctypes.CDLL(None), 36
    library.prctl(set_child_subreaper, 1)
    yield
    library.prctl(set_child_subreaper, 0)


@pytest.mark.usefixtures("adopting")
@pytest.mark.parametrize("busy", ["starting", "pass", "sum(range(10**13))"])
def test_a_kernel_ends_with_a_parent_that_is_killed(busy):
    """Also one in a long call that lets no other thread run."""
    done = subprocess.run([sys.executable, "-c", PARENT, busy], capture_output=True, text=True)
    pid = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie":
            os.waitpid(pid, 0)
            return
        time.sleep(0.02)
    psutil.Process(pid).kill()
    pytest.fail("the kernel lives on")


def test_a_kernel_is_this_interpreter_and_leaves_no_file(tmp_path, monkeypatch):
    # A kernelspec of the user's, which Jupyter would choose.
    spec = tmp_path / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    with kernel() as manager:
        folder = os.path.dirname(manager.connection_file)
        run_sync(manager.start_kernel)()
        client = manager.client()
        client.start_channels()
        run_sync(client.wait_for_ready)(timeout=60)
        process = psutil.Process(manager.provisioner.pid)
        assert process.cmdline()[0] == sys.executable
        assert len(os.listdir(folder)) >= 6  # five sockets and the file that names them
        assert process.environ()["TMPDIR"].startswith(folder)
    assert not process.is_running()
    assert not os.path.exists(folder)


def test_a_kernel_interrupted_while_it_is_ended_is_killed(monkeypatch):
    def interrupt(self):
        raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt), kernel() as manager:
        run_sync(manager.start_kernel)()
        process = psutil.Process(manager.provisioner.pid)
        monkeypatch.setattr(type(manager), "shutdown_kernel", interrupt)
    process.wait(5)
    assert not os.path.exists(manager.connection_file)


def hold(go, times):
    """Take a folder, again and again, and see that nobody else removes or uses it."""
    for _ in range(times):
        go.wait(60)
        with _folder() as folder:
            mine = folder / "mine"
            mine.touch(exist_ok=False)
            inode = folder.stat().st_ino
            time.sleep(0.0005)
            assert mine.exists()
            assert folder.stat().st_ino == inode
            assert folder.stat().st_mode & 0o077 == 0


def test_runs_that_start_at_once_never_share_or_lose_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("workbench.runs.kernel._PREFIX", prefix := f"w{os.getpid()}-")
    fork = multiprocessing.get_context("fork")
    go = fork.Barrier(3)
    many = [fork.Process(target=hold, args=(go, 100)) for _ in range(3)]
    for process in many:
        process.start()
    for process in many:
        process.join(60)
        assert process.exitcode == 0
    assert not [p for place in (tmp_path, "/tmp") for p in Path(place).glob(f"{prefix}*")]


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    with locked(tmp_path / "gone") as ours:
        assert not ours
    assert not (tmp_path / "gone").exists()
