"""A paper as a user runs it, in a process of its own."""

import json
import os
import subprocess
import sys


def run(paper, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", "run", paper, *map(str, arguments)],
        capture_output=True, text=True, timeout=1200, check=False,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip


def metrics(out):
    """Name → metric of a finished run."""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {m["name"]: m for m in results["metrics"]}


def finished(paper, out, *arguments):
    """The metrics of a run that must succeed."""
    done = run(paper, *arguments, "--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return metrics(out)
