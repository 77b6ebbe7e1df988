"""Runs that are killed: started in a process of their own, watched from outside, begun again."""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

import psutil

from workbench.generation.sample_store import SampleStore
from workbench.hashing import digest

MARK = "WORKBENCH_KILLS"
"""In the environment of a run and all that it starts, so that orphans are found."""
CLI = ("-m", "workbench.cli")


class Started:
    """`workbench run` as a shell starts it; runs of one `folder` share one for temporary files."""

    def __init__(self, folder: Path, *arguments: str, program=CLI, terminal=None) -> None:
        self.token, self.out = secrets.token_hex(8), folder / "out"
        # Not below `folder`: the path of a socket may have 107 bytes.
        self.temporary = Path(tempfile.gettempdir()) / f"kills-{digest(str(folder))[:8]}"
        self.temporary.mkdir(exist_ok=True)
        words = [*program, "run", *arguments, "--out", str(self.out)]
        self.log = (folder / f"log-{self.token}").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, *words], stdin=terminal, stdout=terminal or self.log,
            stderr=terminal or self.log, start_new_session=True,
            preexec_fn=_heed_signals if terminal is None else _own_terminal,
            env={**os.environ, "TQDM_DISABLE": "" if terminal else "1", MARK: self.token,
                 "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def family(self) -> list[psutil.Process]:
        """All that lives of it: the run first, then its kernel, then what the kernel started."""
        return sorted(_marked(self.token), key=lambda p: (p.pid != self.process.pid, p.pid))

    def kernel(self) -> psutil.Process | None:
        for process in self.family():
            with contextlib.suppress(psutil.Error):
                if "kernel.json" in " ".join(process.cmdline()):
                    return process
        return None

    def wait(self, timeout: float = 300) -> int:
        return self.process.wait(timeout)

    def said(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def kill(self, whom: str, signum: int = signal.SIGKILL) -> None:
        """`run`, `kernel`, `group` (the run's process group, as a terminal has it) or `all`."""
        if whom == "group":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signum)
            return
        family = self.family() if whom == "all" else []
        victim = {"run": self.process, "kernel": self.kernel()}.get(whom)
        for process in family or [victim or self.process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signum)

    def left(self, patience: float = 10) -> list[str]:
        """Processes that still live, files for a kernel, and files half written."""
        deadline = time.time() + patience
        while time.time() < deadline and (living := _marked(self.token)):
            time.sleep(0.05)
        files = sorted(p.name for p in self.temporary.iterdir())
        names = [f"process {' '.join(p.cmdline())}" for p in living]
        return [*names, *files, *half_written(self.out)]

    def tidy(self) -> None:
        """End what lives of it, and remove its temporary files."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.temporary, ignore_errors=True)


def half_written(out: Path) -> list[str]:
    """What a step that was not finished has left."""
    left = [*out.rglob("*.partial"), *out.rglob("*.parts")]
    return [str(path.relative_to(out)) for path in left]


def stage(out: Path, began: float = 0.0) -> str:
    """What a run in `out` that began then is doing: start, or the cell begun last."""
    notebook, report = out / "notebook.ipynb", out / "report.html"
    if not notebook.exists() or notebook.stat().st_mtime < began:
        return "start"
    if report.exists() and report.stat().st_mtime >= began:
        return "end"
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    begun = [c for c in cells if c["metadata"]["papermill"]["start_time"]]
    code = ["".join(c["source"]) for c in begun if c["cell_type"] == "code"]
    return code[-1].strip().partition("\n")[0][:60] if code else "kernel start"


def results(out: Path) -> dict:
    """What must not depend on kills: all but provenance and what is a measurement of time."""
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    del content["provenance"]
    content["metrics"] = [m for m in content["metrics"] if not m["name"].startswith("step_ratio")]
    return content


def samples(out: Path) -> int:
    """Samples in the store of a run, each drawn once."""
    if not (out / "samples.sqlite").exists():
        return 0
    with SampleStore(out / "samples.sqlite") as store:
        assert store.written == len(store)
        return len(store)


def made(out: Path) -> dict[str, int]:
    """When each finished step was written: results, and the policies and features they are of."""
    steps = list(out.glob("cache/*.json"))
    names = [path.name.rpartition("-")[0] for path in steps]
    steps += [path for name in names for path in out.glob(f"policies/{name}/model.safetensors")]
    states = [(path, json.loads(path.read_text())) for path in out.glob("features/*/run.json")]
    steps += [path for path, state in states if state["done"] == state["rows"]]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in steps}


def _marked(token: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != "zombie" and process.environ().get(MARK) == token:
                found.append(process)
    return found


def _heed_signals() -> None:
    # A job started in a shell's background ignores Ctrl-C, under nohup SIGHUP; so would children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _own_terminal() -> None:
    _heed_signals()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
