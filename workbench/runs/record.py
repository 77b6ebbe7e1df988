"""record() and results.json: every number with its n, interval, published value and provenance."""

import logging
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import workbench
from workbench.arguments import shown
from workbench.errors import RunError
from workbench.reading import read_json
from workbench.writing import write_json

log = logging.getLogger(__name__)

LIBRARIES = (
    "steering-workbench torch transformers nnsight sae-lens trl datasets papermill jupyterlab "
    "ipywidgets plotly"
).split()


def record(
    out_dir: str | Path,
    *,
    paper: str,
    preset: str,
    parameters: dict[str, Any],
    metrics: Sequence[dict[str, Any]],
    seed: int,
    device: str,
) -> Path:
    """Write `results.json` into `out_dir`, whole or not at all, with its provenance.

    `metrics`: rows of `evaluation.metrics.measured`; `parameters`: what the run was of, as JSON.
    Raises `RunError` for repeated names, `ValueError` for numbers that are not finite.

    >>> wb.record(out_dir, paper="pas", preset="tiny", parameters={"heads": 24},
    ...           metrics=tables.metrics(study), seed=0, device="cpu")
    """
    names = [m["name"] for m in metrics]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RunError(f"metrics recorded twice: {', '.join(twice)}")
    content = {
        "paper": paper,
        "preset": preset,
        "parameters": parameters,
        "metrics": list(metrics),
        "provenance": provenance(seed, device),
    }
    path = Path(out_dir) / "results.json"
    write_json(path, content)
    return path


def read_results(folder: str | Path) -> dict[str, Any]:
    """The `results.json` of a run's folder.

    `RunError`, naming what is wrong, for one that cannot be read or that `record` did not write.
    """
    path = Path(folder) / "results.json"
    content = read_json(path, RunError)
    try:
        texts = [content["paper"], content["preset"], content["provenance"]["device"]]
        numbers = [content["provenance"]["seconds"], content["provenance"]["seed"]]
        for metric in content["metrics"]:
            texts += [metric["name"], metric["published_setting"] or ""]
            interval = metric["ci95"] or (0, 0)
            numbers += [metric["value"], metric["n"], metric["published"] or 0, *interval]
            texts += [] if len(interval) == 2 else [interval]
    except (LookupError, TypeError) as error:
        raise RunError(f"{path} is no record of a run: {type(error).__name__} {error}") from None
    wrong = [v for v in texts if not isinstance(v, str)]
    wrong += [v for v in numbers if isinstance(v, bool) or not isinstance(v, int | float)]
    if wrong:
        raise RunError(f"{path} is no record of a run: it holds {shown(wrong[0])}")
    return content


def read_runs(folder: str | Path, paper: str) -> dict[str, dict[str, Any]]:
    """Name → results of the runs of a paper in a folder or just below it, in order of names.

    What cannot be read is left out, with a warning.
    """
    runs = {}
    for path in sorted([*Path(folder).glob("results.json"), *Path(folder).glob("*/results.json")]):
        try:
            results = read_results(path.parent)
        except RunError as error:
            log.warning("left out: %s", error)
            continue
        runs |= {path.parent.resolve().name: results} if results["paper"] == paper else {}
    return runs


def provenance(seed: int, device: str) -> dict[str, Any]:
    """What a number needs to be made again: commit, versions, device, seed, time, memory.

    Memory is of this process, without workers.
    """
    git, dirty = _git()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "git": git,
        "dirty": dirty,
        "versions": {"python": platform.python_version(), **{n: version(n) for n in LIBRARIES}},
        "device": device,
        "seed": seed,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(workbench.STARTED)),
        "seconds": round(time.time() - workbench.STARTED, 1),
        # Kibibytes on Linux, bytes on macOS.
        "peak_memory_bytes": peak if sys.platform == "darwin" else peak * 1024,
    }


def _git() -> tuple[str | None, bool | None]:
    """Commit of the checkout the package runs from; None outside one (an installed wheel)."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None, None
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def ask(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, check=True, env=env
        ).stdout.strip()

    try:
        return ask("rev-parse", "HEAD"), bool(ask("status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
