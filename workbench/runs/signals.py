"""Signals that end a program: it cleans up once, and the shell gets the status it expects."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import psutil

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end; `status` is what a shell calls such an end."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.status = 128 + signum


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `Stopped` in the block at the first Ctrl-C, SIGTERM or SIGHUP.

    A further one kills all child processes, so that cleaning up, which waits for them, ends soon.
    Signals that are ignored, as under `nohup`, stay so.
    """
    came: list[int] = []

    def stop(signum: int, _: Any) -> None:
        came.append(signum)
        if len(came) == 1:
            raise Stopped(signum)
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()

    def dropped(unraisable: Any) -> None:
        # It came in a finaliser or a weak reference's callback, which can raise nothing: once more.
        if isinstance(unraisable.exc_value, Stopped):
            threading.Timer(0.05, os.kill, (os.getpid(), came.pop())).start()
        else:
            report(unraisable)

    report, sys.unraisablehook = sys.unraisablehook, dropped
    heeded = [s for s in _SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    before = [signal.signal(s, stop) for s in heeded]
    try:
        yield
    except Exception as error:
        # What a library made of the interrupt, or a terminal that is gone.
        if came:
            raise Stopped(came[0]) from error
        raise
    finally:
        sys.unraisablehook = report
        for signum, handler in zip(heeded, before, strict=True):
            signal.signal(signum, handler)
