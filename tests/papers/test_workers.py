"""Jobs on worker processes: in order, errors and keeps as in one process."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench.errors import DatasetError, RunError
from workbench.papers.workers import Job, worker_pool


def bench(factor):
    return {"factor": factor}


def product(made, number):
    if number < 0:
        raise DatasetError(f"{number} is negative")
    return made["factor"] * number


def jobs(*numbers):
    return [Job(f"n{n}", {"n": n}, product, (n,)) for n in numbers]


@pytest.mark.parametrize("count", [1, 2])
def test_results_come_in_order_and_what_is_kept_is_not_done_again(count):
    kept, lock = {"n2": "kept"}, threading.Lock()

    def keep(name, key, compute):
        result = kept.get(name) or compute()
        with lock:
            kept[name] = result
        return result

    with worker_pool(count, bench(3), bench, 3) as results_of:
        assert results_of(jobs(1, 2, 5, 4), keep, "first") == [3, "kept", 15, 12]
        assert results_of(jobs(4, 6), keep, "second") == [12, 18]
    assert kept == {"n1": 3, "n2": "kept", "n5": 15, "n4": 12, "n6": 18}


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_passes_through_and_ends_the_others(count):
    done = []

    def keep(name, key, compute):
        done.append(name)
        return compute()

    with (
        pytest.raises(DatasetError, match="-1 is negative"),
        worker_pool(count, bench(3), bench, 3) as results_of,
    ):
        results_of(jobs(1, -1, *range(2, 2000)), keep, "jobs")
    assert len(done) < 2000


def slow(made, number):
    time.sleep(0.05)
    return number


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_passes_through(count):
    def keep(name, key, compute):
        result = compute()
        if name == "n3":
            os.kill(os.getpid(), signal.SIGINT)
        return result

    many = [Job(f"n{n}", {}, slow, (n,)) for n in range(400)]
    with pytest.raises(KeyboardInterrupt), worker_pool(count, bench(3), bench, 3) as results_of:
        results_of(many, keep, "jobs")


def end(made, number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_of(tmp_path):
    killed = [*jobs(1), Job("end", {}, end, (1,)), *jobs(2)]
    with (
        pytest.raises(RunError, match=r"a worker process was killed; .*run again to go on"),
        worker_pool(2, bench(3), bench, 3) as results_of,
    ):
        results_of(killed, lambda name, key, compute: compute(), "jobs")


STARTING = """
import os, signal, threading
from tests.papers.test_workers import bench, jobs, worker_pool

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with worker_pool(2, None, bench, 3) as results_of:
        threading.Timer(AFTER, os.killpg, (0, signal.SIGINT)).start()
        results_of(jobs(*range(20000)), lambda name, key, compute: compute(), "")
"""


@pytest.mark.parametrize("after", [0.1, 0.3, 0.6])
def test_workers_that_are_starting_leave_an_interrupt_to_their_parent(tmp_path, after):
    done = script(tmp_path, STARTING.replace("AFTER", str(after)))
    # Python's own locks may be interrupted while they are taken back, and then say so on top.
    torn = done.stderr.endswith("RuntimeError: release unlocked lock\n")
    assert torn or done.returncode == -signal.SIGINT, done.stderr[-2000:]
    assert "SpawnProcess" not in done.stderr
    assert done.stderr.count("KeyboardInterrupt") == 1


ORPHANS = """
import os, signal
from tests.papers.test_workers import Job, bench, worker_pool

def pid(made):
    return os.getpid()

if __name__ == "__main__":
    with worker_pool(2, None, bench, 3) as results_of:
        print(*results_of([Job("pid", {}, pid, ())], lambda name, key, compute: compute(), ""))
        os.kill(os.getpid(), signal.SIGKILL)
"""


def script(tmp_path, text):
    path = tmp_path / "script.py"
    path.write_text(text, encoding="utf-8")
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": paths}, start_new_session=True,
    )  # fmt: skip


def test_workers_end_where_their_parent_is_killed(tmp_path):
    done = script(tmp_path, ORPHANS)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    worker = int(done.stdout.split()[-1])
    for _ in range(100):
        if not psutil.pid_exists(worker) or psutil.Process(worker).status() == "zombie":
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} is still there")
