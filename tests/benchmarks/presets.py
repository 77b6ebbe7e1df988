"""`python -m tests.benchmarks.presets [PAPER …] --out DIR [--page FILE]`: the small presets, twice.

Each paper is run in a new folder with a cache that holds the converted model alone, then once more
in another folder: minutes, CPU seconds, and the most memory of all its processes together.
`--page` writes what was measured as Markdown. Run it where nothing else runs.
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from workbench.papers.registry import PAPERS
from workbench.paths import cache_folder
from workbench.runs.record import read_results

MOST_MINUTES, MOST_AGAIN, MOST_GB = 12, 2, 3
"""Of the first run and of the second start, and memory: what a laptop is asked."""


@dataclass
class Ran:
    """What a run took: `minutes` on the clock, `cpu` seconds of all its processes, `gb` at most."""

    minutes: float
    cpu: float
    gb: float


def run(paper: str, out: Path, cache: Path) -> Ran:
    """Run a paper at small. Raises `SystemExit` where it fails, with what it printed."""
    env = {**os.environ, "WORKBENCH_CACHE": str(cache), "TQDM_DISABLE": "1"}
    words = [sys.executable, "-m", "workbench.cli", "run", paper, "--preset", "small"]
    with open(out.with_suffix(".log"), "w+", encoding="utf-8") as log:
        began = time.perf_counter()
        process = psutil.Popen([*words, "--out", str(out)], env=env, stdout=log, stderr=log)
        used: dict[str, float] = {"cpu": 0.0, "bytes": 0.0}
        watcher = threading.Thread(target=_watch, args=(process, used))
        watcher.start()
        status = process.wait()
        watcher.join()
        log.seek(0)
        if status:
            raise SystemExit(f"{paper}: status {status}\n{log.read()}")
    return Ran((time.perf_counter() - began) / 60, used["cpu"], used["bytes"] / 1e9)


def _watch(process: psutil.Process, used: dict[str, float]) -> None:
    """Add up, twice a second, what a process and its children take, until it ends."""
    seconds: dict[int, float] = {}
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        total = 0
        for each in [process, *process.children(recursive=True)]:
            try:
                total += each.memory_info().rss
                times = each.cpu_times()
                seconds[each.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                continue
        used["bytes"] = max(used["bytes"], total)
        used["cpu"] = sum(seconds.values())
        time.sleep(0.5)


def rows(results: dict[str, Any]) -> list[str]:
    """The metrics of a run as a Markdown table."""
    lines = [
        "| metric | here | 95 % interval | n | published | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for metric in results["metrics"]:
        interval = metric["ci95"]
        published = "" if metric["published"] is None else f"{metric['published']:g}"
        if published and metric["published_setting"]:
            published += f" ({metric['published_setting']})"
        cells = [
            f"`{metric['name']}`", f"{metric['value']:.3g}",
            f"{interval[0]:.3g} to {interval[1]:.3g}" if interval else "",
            f"{metric['n']} {metric.get('unit') or ''}".strip(),
            published, metric.get("verdict") or "",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def machine() -> str:
    """Cores, memory, and what kind of processor."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":")[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else ())
        if line.startswith("model name")
    ]
    gb = psutil.virtual_memory().total / 1e9
    return f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}), {gb:.0f} GB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.presets", description=__doc__)
    parser.add_argument("papers", nargs="*", default=[paper.name for paper in PAPERS])
    parser.add_argument("--out", required=True, type=Path, help="folder for the runs")
    parser.add_argument("--page", type=Path, help="write the tables here")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    page = [f"Measured on {machine()}."]
    for paper in given.papers:
        with tempfile.TemporaryDirectory(dir=given.out) as folder:
            for converted in cache_folder().glob("gguf-*"):
                shutil.copytree(converted, Path(folder) / converted.name)
            first = run(paper, given.out / paper, Path(folder))
            again = run(paper, given.out / f"{paper}-again", Path(folder))
        results = read_results(given.out / paper)
        commit = str(results["provenance"]["git"])[:7]
        took = (
            f"First run {first.minutes:.1f} minutes, {first.cpu:.0f} CPU seconds, "
            f"{first.gb:.2f} GB; second start {again.minutes:.1f} minutes, {again.cpu:.0f} CPU "
            f"seconds, {again.gb:.2f} GB. Commit {commit}."
        )
        print(f"{paper}: {took}", flush=True)
        for what, value, most in (
            ("minutes", first.minutes, MOST_MINUTES),
            ("minutes from the second start", again.minutes, MOST_AGAIN),
            ("GB", max(first.gb, again.gb), MOST_GB),
        ):
            if value > most:
                print(f"    {value:.2f} {what}: more than {most}", flush=True)
        page += ["", f"## `{paper}`", "", took, "", *rows(results)]
    if given.page:
        given.page.write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
