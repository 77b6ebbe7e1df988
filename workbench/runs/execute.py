"""run(): execute one paper's notebook with papermill into a folder of its own."""

import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import default

from workbench.errors import RunError, nearest
from workbench.papers.registry import paper_named
from workbench.runs import parameters
from workbench.runs.report import write_report

PRESETS = ("tiny", "paper")


class _IpcKernelManager(AsyncKernelManager):
    """Talks to its kernel over sockets of its own, so that parallel runs share none.

    Jupyter's default would be kernel-ipc-1 and so on in the working directory, which two runs
    begun there at once would both choose.
    """

    @default("transport")
    def _transport_default(self) -> str:
        return "ipc"

    @default("connection_file")
    def _connection_file_default(self) -> str:
        return f"{tempfile.gettempdir()}/kernel-{secrets.token_hex(8)}.json"


def run(
    paper: str,
    given: dict[str, Any] | None = None,
    *,
    preset: str = "tiny",
    out: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Run a paper's notebook; returns its folder: `notebook.ipynb`, `report.html`, `results.json`.

    `out` defaults to `runs/<paper>/<time>-<id>/`. A failed or interrupted run keeps its partial
    notebook and report there.

    Raises `RunError`, before anything runs, for an unknown paper, preset or parameter or an
    unwritable folder; and, naming the cell, where the notebook fails. `KeyboardInterrupt` passes
    through after the partial notebook is written.
    """
    registered = paper_named(paper)
    if preset not in PRESETS:
        raise RunError(
            f"unknown preset {preset!r}{nearest(preset, PRESETS)}; presets are {', '.join(PRESETS)}"
        )
    for name, instead in (("preset", "preset"), ("out_dir", "out")):
        if name in (given or {}):
            raise RunError(f"{name} is given by --{instead}, from Python by {instead}=")
    given = parameters.check(registered.notebook, dict(given or {}))
    registered.module.preflight(preset, given)
    out = Path(out) if out else default_folder(paper)
    prepare(out)
    target = out / "notebook.ipynb"
    values = {**given, "preset": preset, "out_dir": str(out.resolve())}
    try:
        papermill.execute_notebook(
            str(registered.notebook),
            str(target),
            values,
            kernel_manager_class=_IpcKernelManager,
            kernel_name="python3",
            language="python",
            progress_bar=progress,
            request_save_on_cell_execute=True,
        )
    except PapermillExecutionError as error:
        write_report(target, out / "report.html")
        raise RunError(
            f"{paper} failed in cell {error.cell_index} (executed as [{error.exec_count}]): "
            f"{error.ename}: {error.evalue}\nThe notebook so far: {target}"
        ) from error
    write_report(target, out / "report.html")
    if not (out / "results.json").exists():
        raise RunError(f"{paper} finished without recording results; see {target}")
    return out


def default_folder(paper: str) -> Path:
    """A fresh folder name under `runs/`."""
    return Path("runs") / paper / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def prepare(out: Path) -> None:
    """Create the folder and prove that it takes a file; `RunError` where it does not."""
    if (out / "results.json").exists():
        raise RunError(f"{out} already holds a run (results.json); choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 2**20)
        probe.unlink()
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror or error}") from error
