"""Background work: the latest job wins, errors are shown, stop acts at the next forward."""

import threading
import time

import pytest
import torch

import workbench as wb
from workbench.widgets.worker import Stopped, Worker, stoppable


def test_the_latest_job_wins_and_busy_ends_once():
    ran, busy, errors = [], [], []
    worker = Worker(busy.append, errors.append)
    started = threading.Event()

    def long(stop):
        started.set()
        ran.append("long")
        stop.wait(30)

    worker.start(long)
    assert started.wait(10)
    for name in "abc":
        worker.start(lambda _, name=name: ran.append(name))
    worker.wait(10)
    worker.close()
    assert ran == ["long", "c"]
    assert busy[0] is True
    assert busy[-1] is False
    assert not errors


def test_an_error_is_reported_and_the_next_job_runs():
    ran, errors = [], []
    worker = Worker(lambda _: None, errors.append)

    def bad(_):
        raise KeyError("inner")

    def halted(_):
        raise Stopped

    worker.start(bad)
    worker.wait(10)
    worker.start(halted)
    worker.wait(10)
    worker.start(lambda _: ran.append(1))
    worker.wait(10)
    worker.close()
    worker.start(lambda _: ran.append(2))
    assert [type(e) for e in errors] == [KeyError]
    assert ran == [1]


def test_waiting_ends_after_the_error_has_been_shown():
    shown = []

    def slow(error):
        time.sleep(0.2)
        shown.append(error)

    worker = Worker(lambda _: None, slow)

    def bad(_):
        raise ValueError("late")

    worker.start(bad)
    worker.wait(10)
    assert [str(e) for e in shown] == ["late"]
    worker.start(lambda stop: stop.wait(30))
    with pytest.raises(TimeoutError):
        worker.wait(0.05)
    worker.close()
    worker.wait(10)


def test_stop_acts_at_the_next_forward_of_that_thread_only(tiny):
    stop, rows = threading.Event(), []
    plain = torch.tensor([[1, 2, 3]] * 4)
    with torch.no_grad(), stoppable(tiny, stop, rows.append):
        tiny.hf(input_ids=plain)
        stop.set()
        elsewhere = threading.Thread(target=lambda: tiny.hf(input_ids=plain))
        elsewhere.start()
        elsewhere.join()
        with pytest.raises(Stopped):
            tiny.hf(input_ids=plain)
        with pytest.raises(Stopped):
            wb.capture(tiny, ["How do I mend the gate of Mara?"])
        with pytest.raises(Stopped):
            wb.generate(tiny, ["How do I mend the gate of Mara?"])
    assert rows == [4]
    assert tiny.in_flight is None
    wb.generate(tiny, ["How do I mend the gate of Mara?"], max_new_tokens=2)
