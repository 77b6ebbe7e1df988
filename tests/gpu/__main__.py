"""`python -m tests.gpu [--minutes 8] [--only NAME] [--rehearse]`: every check that wants a GPU.

The most valuable first, each in its time; what does not fit is skipped with the reason. FILE is
written anew after every check. Ratios are medians over interleaved rounds after a warm-up, the
device waited for, with the least and the most; beside each speed stands how far its results are
from those of plain forwards.
"""

import argparse
import os
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import torch

from tests.gpu.checks import CHECKS
from tests.gpu.running import obstacle, run
from workbench.runs.record import _git
from workbench.writing import write_json

LIBRARIES = "torch transformers nnsight sae-lens trl peft datasets scikit-learn".split()
NO_GPU = (
    "no CUDA GPU here, and these checks measure on one. --rehearse runs each of them on the CPU at "
    "toy shapes: it shows that they work, and its figures mean nothing."
)


def device() -> dict[str, Any]:
    """What is measured on: name, memory, compute capability, driver, CUDA."""
    if not torch.cuda.is_available():
        return {"name": "cpu"}
    properties = torch.cuda.get_device_properties(0)
    driver = None
    with suppress(OSError):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(asked, capture_output=True, text=True).stdout.partition("\n")[0]
    return {
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 1e9, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "driver": driver or None,
        "cuda": torch.version.cuda,
    }


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    out = {"python": sys.version.partition(" ")[0]}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            out[name] = version(name)
    return out


def header(minutes: float, rehearsal: bool) -> dict[str, Any]:
    """The file before the first check."""
    commit, dirty = _git()
    return {
        "schema": 1, "rehearsal": rehearsal, "minutes": minutes,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit, "dirty": dirty, "device": device(), "versions": versions(), "checks": [],
    }  # fmt: skip


def preload() -> None:
    """Import here once what every rehearsed check would import in a process of its own."""
    with suppress(ImportError):
        from tests.benchmarks import (  # noqa: F401
            capture,
            compiled,
            fit,
            fpo,
            gate,
            generation,
            graphhop,
            retrieval,
            steering,
        )  # fmt: skip


def show(record: dict[str, Any]) -> None:
    """Print one check's outcome and values."""
    reason = f": {record['reason']}" if "reason" in record else ""
    peak = f", peak {record['peak_gb']} GB" if "peak_gb" in record else ""
    print(f"{record['name']}: {record['status']}{reason} ({record['seconds']} s{peak})")
    for name, v in record["values"].items():
        spread = f"   {v['low']:.4g} to {v['high']:.4g}, {v['rounds']} rounds" if "low" in v else ""
        goal = f"   must be at most {v['at_most']:g}" if "at_most" in v else ""
        print(f"  {name:<40} {v['value']:>12.5g}{spread}{goal}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--json", default="gpu.json", help="where the results go (gpu.json)")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, at toy shapes")
    parser.add_argument("--only", nargs="+", choices=CHECKS, metavar="NAME", help="no other checks")
    given = parser.parse_args(arguments)
    if given.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        preload()
    elif not torch.cuda.is_available():
        print(NO_GPU, file=sys.stderr)
        return 2
    deadline = time.monotonic() + 60 * given.minutes
    out = header(given.minutes, given.rehearse)
    write_json(given.json, out)
    for check in (CHECKS[name] for name in CHECKS if name in (given.only or CHECKS)):
        left = deadline - time.monotonic()
        free = float("inf") if given.rehearse else torch.cuda.mem_get_info()[0] / 1e9
        if why := obstacle(check, left, free):
            record = {"name": check.name, "status": "skipped", "reason": why, "values": {},
                      "seconds": 0.0}  # fmt: skip
        else:
            record = run(check, min(check.seconds, left), toy=given.rehearse)
        show(record)
        out["checks"].append(record)
        write_json(given.json, out)
    return int(any(c["status"] in ("failed", "timed out") for c in out["checks"]))


if __name__ == "__main__":
    raise SystemExit(main())
