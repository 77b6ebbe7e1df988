"""Signals that end a program are raised once, with the status of a shell, and are not lost."""

import os
import signal
import time

import pytest

from workbench.runs.signals import Stopped, stopped_by_signals


def stop(signum):
    os.kill(os.getpid(), signum)
    time.sleep(5)


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_is_raised_with_its_status(interruptible, name, status):
    signum = getattr(signal, name)
    before = signal.signal(signum, signal.SIG_DFL)
    with pytest.raises(Stopped, match=name) as caught, stopped_by_signals():
        stop(signum)
    assert caught.value.status == status
    assert signal.signal(signum, before) == signal.SIG_DFL


def test_what_a_library_made_of_it_is_no_error(interruptible):
    def library():
        try:
            stop(signal.SIGINT)
        except KeyboardInterrupt:
            raise ValueError("cancelled") from None

    with pytest.raises(Stopped), stopped_by_signals():
        library()


class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


def test_one_that_comes_where_exceptions_are_dropped_is_not_lost(interruptible, capsys):
    def dropping():
        Dropping()
        time.sleep(5)

    with pytest.raises(Stopped), stopped_by_signals():
        dropping()
    assert "Exception ignored" not in capsys.readouterr().err


def test_one_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopped_by_signals():
        os.kill(os.getpid(), signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)
