"""Bytes and seconds of a training step, by the allocator's own events; and memory given back."""

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch


def held(tensors: Iterable[Any]) -> int:
    """Bytes of distinct storages among tensors, modules and optimisers."""
    storages: dict[int, int] = {}
    for owner in tensors:
        for tensor in _tensors(owner):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def release() -> None:
    """Give back to the system what is no longer used, where the C library can.

    What a training took on a CPU lies in a heap that seldom shrinks by itself; models that nnsight
    wraps hold themselves, until they are looked for.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def transient(step: Callable[[], Any]) -> int:
    """Most bytes allocated at one moment of `step` beyond what there was before it.

    On a GPU what the caching allocator reports; on the CPU the running sum of PyTorch's own
    allocation events, which other processes and Python's memory do not touch.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    # The profiler's own reports of starting and stopping are of no interest here.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profiler:
        step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    most = total = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        total += event.nbytes()
        most = max(most, total)
    return most


def seconds(step: Callable[[], Any]) -> float:
    """Wall seconds of one `step`, the device waited for."""
    _wait()
    started = time.perf_counter()
    step()
    _wait()
    return time.perf_counter() - started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _tensors(owner: Any) -> Iterator[torch.Tensor]:
    if isinstance(owner, torch.Tensor):
        yield owner
    elif isinstance(owner, torch.nn.Module):
        for tensor in (*owner.parameters(), *owner.buffers()):
            yield tensor
            if tensor.grad is not None:
                yield tensor.grad
    elif isinstance(owner, torch.optim.Optimizer):
        for state in owner.state.values():
            yield from (v for v in state.values() if isinstance(v, torch.Tensor))
