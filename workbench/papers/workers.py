"""Independent jobs shared among worker processes: the same results on any number of them."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from workbench.errors import RunError
from workbench.paths import EMBEDDED

if TYPE_CHECKING:  # workers import this module first, and some need no torch
    from workbench.models.model import Model

MOST = 4
"""Workers at most: each holds the libraries once more."""
Keep = Callable[[str, dict[str, Any], Callable[[], Any]], Any]
"""(name, what it depends on, compute) → the result as plain data, from a cache or computed."""
_bench: Any = None


@dataclass(frozen=True)
class Job:
    """One result to compute: `function(bench, *arguments)`, plain data; the rest is for `Keep`."""

    name: str
    key: dict[str, Any]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


def cores() -> int:
    """Processors of this machine, `MOST` at most: as many workers as are of use."""
    return min(os.cpu_count() or 1, MOST)


def worker_count(model: "Model") -> int:
    """A worker per core for an embedded model as it was loaded; 1 for any other, or an edited one.

    Each worker loads the model again, which only a small one is cheap enough for.
    """
    return cores() if as_loaded(model) else 1


def as_loaded(model: "Model") -> bool:
    """Whether `load` of its name gives this embedded model: weights, forward and tokenizer."""
    from workbench.models.loading import load

    if model.name not in EMBEDDED or model.folds or model.hooks:
        return False
    return load(model.name).identity() == model.identity()


@contextmanager
def worker_pool(
    count: int, bench: Any, setup: Callable[..., Any], *arguments: Any
) -> Iterator[Callable[[Sequence[Job], Keep, str], list[Any]]]:
    """Yield the function (jobs, keep, title) → their results, in order.

    `bench`: what jobs work with, here in this process. More than one worker make it afresh by
    `setup(*arguments)`, each in a process of its own, started when first needed; jobs and their
    arguments must then be picklable. An error of a job, or an interrupt, passes through once the
    jobs that run have ended; the others are not begun. `RunError` where a worker is killed.
    """
    if count == 1:
        yield lambda jobs, keep, title: [
            keep(job.name, job.key, lambda job=job: job.function(bench, *job.arguments))
            for job in tqdm(jobs, desc=title, delay=5)
        ]
        return
    processes = ProcessPoolExecutor(
        count, multiprocessing.get_context("spawn"), _set_up, (setup, arguments)
    )
    # An interrupt is this process's to answer: workers inherit what their thread blocks.
    threads = ThreadPoolExecutor(
        count, initializer=signal.pthread_sigmask, initargs=(signal.SIG_BLOCK, {signal.SIGINT})
    )

    def results_of(jobs: Sequence[Job], keep: Keep, title: str) -> list[Any]:
        results: dict[int, Any] = {}
        waiting, ended = enumerate(jobs), SimpleQueue[bool]()

        # A thread for each process asks `keep`, and waits in its place.
        def work_through() -> None:
            try:
                for i, job in waiting:
                    compute = partial(_computed, processes, job)
                    results[i] = keep(job.name, job.key, compute)
                    ended.put(True)
            finally:
                _drop(waiting)
                ended.put(False)

        try:
            working = [threads.submit(work_through) for _ in range(count)]
            left = count
            with tqdm(desc=title, delay=5, total=len(jobs)) as progress:
                # This wait is in C: one on a lock of Python's, interrupted, can leave it taken.
                while left:
                    if ended.get():
                        progress.update()
                    else:
                        left -= 1
        finally:
            _drop(waiting)
        for thread in working:
            thread.result()
        return [results[i] for i in range(len(jobs))]

    try:
        yield results_of
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process was killed; if memory ran out, ask for less. What was finished is "
            "kept: run again to go on"
        ) from error
    finally:
        processes.shutdown(wait=False, cancel_futures=True)
        threads.shutdown(cancel_futures=True)
        processes.shutdown()


def _computed(processes: ProcessPoolExecutor, job: Job) -> Any:
    return processes.submit(_work, job).result()


def _drop(jobs: Iterator[Any]) -> None:
    """Take all jobs that are left, so that no thread begins one."""
    deque(jobs, maxlen=0)


def _set_up(setup: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    global _bench
    # Where the parent is killed, workers must not stay behind.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _bench = setup(*arguments)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os._exit(1)


def _work(job: Job) -> Any:
    return job.function(_bench, *job.arguments)
