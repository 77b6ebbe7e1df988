"""A background thread for a widget: the latest request wins, and stop acts at the next forward."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from workbench.models.anatomy import first
from workbench.models.model import Model

Job = Callable[[threading.Event], None]
"""A function of the event that asks it to stop."""


class Stopped(Exception):  # noqa: N818 - nobody's error
    """The work was asked to stop."""


class Worker:
    """Runs one job at a time off the UI thread; a new one stops the one that runs.

    `busy(True)` is called when a job starts, `busy(False)` when none is left, `failed(error)` where
    one raised anything but `Stopped`.
    """

    def __init__(
        self, busy: Callable[[bool], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="workbench-widget")
        self._busy, self._failed = busy, failed
        # Cancelling a job reports it in the thread that starts the next.
        self._guard = threading.RLock()
        self._stop, self._over = threading.Event(), threading.Event()
        self._over.set()
        self._last: Future[None] | None = None
        self._closed = False

    def start(self, job: Job) -> None:
        """Stop the running job, forget waiting ones, then run `job`; does nothing after `close`."""
        with self._guard:
            if self._closed:
                return
            self._stop.set()
            if self._last is not None:
                self._last.cancel()
            stop, over = self._stop, self._over = threading.Event(), threading.Event()
            self._last = self._pool.submit(self._run, job, stop)
            self._last.add_done_callback(partial(self._done, over))

    def stop(self) -> None:
        """Ask the running job to stop; returns at once."""
        with self._guard:
            self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the last job is over and reported. Raises `TimeoutError`."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"the work is not over after {timeout:g} s")

    def close(self) -> None:
        """Stop, and take no more jobs."""
        with self._guard:
            self._closed = True
            self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, job: Job, stop: threading.Event) -> None:
        self._busy(True)
        if not stop.is_set():
            job(stop)

    def _done(self, over: threading.Event, future: "Future[None]") -> None:
        with self._guard:
            last = future is self._last
        error = None if future.cancelled() else future.exception()
        if last:
            self._busy(False)
        if error is not None and not isinstance(error, Stopped):
            self._failed(error)
        over.set()


@contextmanager
def stoppable(
    model: Model, stop: threading.Event, ran: Callable[[int], None] = lambda _: None
) -> Iterator[None]:
    """A block in which this thread's forwards of the model raise `Stopped` once `stop` is set.

    `ran` is called with the number of rows of each forward.
    """
    thread = threading.get_ident()

    def look(_: Any, __: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            if stop.is_set():
                raise Stopped
            ran(len(first(output)))

    handle = model.layer(0).register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()
