"""How much faster a short way is than the long one, measured in turns within a run."""

import time
from collections.abc import Callable

import torch


def alternated(slow: Callable[[], object], fast: Callable[[], object], rounds: int) -> list[float]:
    """(Seconds of `slow`) / (seconds of `fast`) in every round, in turns who is first.

    CPU seconds on one thread, else those of the wall; each is called once before.
    """
    slow(), fast()
    ratios = []
    for i in range(rounds):
        order = (slow, fast) if i % 2 else (fast, slow)
        seconds = {call: _seconds(call) for call in order}
        ratios.append(seconds[slow] / max(seconds[fast], 1e-9))
    return ratios


def _seconds(call: Callable[[], object]) -> float:
    start = _clock()
    call()
    return _clock() - start


def _clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()
