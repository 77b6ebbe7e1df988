"""Jobs on worker processes: in order, errors and keeps as in one process."""

import threading

import pytest

from workbench.errors import DatasetError
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


@pytest.mark.parametrize("count", [1, 2])
def test_an_interrupt_passes_through(count):
    with pytest.raises(KeyboardInterrupt), worker_pool(count, bench(3), bench, 3) as results_of:
        results_of(jobs(1), interrupted, "jobs")


def interrupted(name, key, compute):
    raise KeyboardInterrupt
