"""Runs checks one by one, each in a process of its own within its time, and records what came."""

import math
import multiprocessing
import re
import signal
import statistics
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

import torch

from tests.gpu.checks import CHECKS, Check

Plain = dict[str, Any]
_PATH = re.compile(r"(?<![\w/.])~?/(?:[\w.@+-]+/)+")


def run(check: Check, limit: float, *, toy: bool) -> Plain:
    """The record of one check, ended after `limit` seconds."""
    # A forked process is there at once, but must not meet a GPU that its parent has used.
    context = multiprocessing.get_context("fork" if toy else "spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(check.name, toy, theirs), daemon=True)
    began = time.monotonic()
    process.start()
    theirs.close()
    out: Plain = {"name": check.name, "status": "timed out", "values": {}}
    try:
        while (left := began + limit - time.monotonic()) > 0 and ours.poll(left):
            message = ours.recv()
            out["values"] |= message.pop("values", {})
            out |= message
    except EOFError:
        if out["status"] == "timed out":
            process.join()
            out |= {"status": "failed", "reason": f"its process ended with {_end(process)}"}
    finally:
        process.kill()
        process.join()
    if out["status"] == "timed out":
        out["reason"] = f"not done after {limit:.0f} s"
    return out | {"seconds": round(time.monotonic() - began, 1)}


def obstacle(check: Check, left: float, free_gb: float) -> str | None:
    """Why a check is not begun: too little time (under half of its own) or memory."""
    if left < check.seconds / 2:
        return f"it may take {check.seconds:g} s, and {max(left, 0):.0f} s are left"
    if free_gb < check.gigabytes:
        return f"it needs {check.gigabytes:g} GB of GPU memory, and {free_gb:.1f} GB are free"
    return None


def measured(value: float | list[float]) -> Plain:
    """A number; of one number a round the median, the least, the most and how many.

    Raises `ValueError` for one that is not finite.
    """
    rounds = value if isinstance(value, list) else [value]
    if not all(map(math.isfinite, rounds)):
        raise ValueError(f"a measured number is not finite: {value}")
    out: Plain = {"value": statistics.median(rounds)}
    if isinstance(value, list):
        out |= {"low": min(rounds), "high": max(rounds), "rounds": len(rounds)}
    return out


def without_paths(message: str) -> str:
    """A message with the folders of files left out."""
    return _PATH.sub("…/", message)


def _work(name: str, toy: bool, pipe: Connection) -> None:
    """Run one check here; sends what it yields, and at last its status."""
    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        torch.set_num_threads(1)
    peak, check = 0.0, CHECKS[name]
    try:
        for got in check.run(toy):
            if isinstance(got, str):
                pipe.send({"reason": without_paths(got)})
                continue
            values = {key: measured(value) for key, value in got.items()}
            for key in values.keys() & check.at_most.keys():
                values[key]["at_most"] = check.at_most[key]
            # Some of what is measured sets the peak back.
            peak = max(peak, torch.cuda.max_memory_allocated() / 1e9 if on_gpu else 0.0)
            pipe.send({"values": values} | ({"peak_gb": round(peak, 2)} if on_gpu else {}))
        pipe.send({"status": "ok"})
    except ImportError as error:
        pipe.send({"status": "skipped", "reason": without_paths(f"a library is missing: {error}")})
    # Whatever is wrong with one check, the next ones are run.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        traceback.print_exc()
        first = f"{type(error).__name__}: {error}".partition("\n")[0][:500]
        pipe.send({"status": "failed", "reason": without_paths(first)})
    sys.stdout.flush()


def _end(process: Any) -> str:
    code = process.exitcode
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
