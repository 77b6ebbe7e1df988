"""run(): execute one paper's notebook with papermill into a folder of its own."""

import contextlib
import json
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from filelock import FileLock, Timeout
from nbclient.exceptions import CellTimeoutError
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import LocalHandler, papermill_io

from workbench.arguments import one_of
from workbench.errors import RunError, WorkbenchError
from workbench.papers.parameters import PRESETS
from workbench.papers.registry import paper_named
from workbench.paths import as_written
from workbench.runs import parameters
from workbench.runs.kernel import kernel
from workbench.runs.parameters import unformatted
from workbench.runs.record import read_results
from workbench.runs.report import write_report
from workbench.writing import whole

log = logging.getLogger(__name__)

_SECONDS = 300
"""How long a kernel on a busy machine may take to start, or to send what it has put out."""


class _WholeNotebooks(LocalHandler):
    """Papermill's files, which it would write in place: a kill would leave half a notebook."""

    def write(self, buf: str, path: str) -> None:
        with whole(path) as partial:
            partial.write_text(buf, encoding="utf-8")


papermill_io.register("/", _WholeNotebooks())


def run(
    paper: str,
    given: dict[str, Any] | None = None,
    *,
    preset: str = "tiny",
    out: str | Path | None = None,
    progress: bool = True,
) -> Path:
    """Run a paper's notebook; returns its folder: `notebook.ipynb`, `report.html`, `results.json`.

    `out` defaults to `runs/<paper>/<time>-<id>/`, and is taken as it is written. A run that failed
    or was interrupted leaves notebook and report so far, one that was killed its notebook; with the
    same `out` again it goes on from what it finished.

    Raises `RunError`, before anything runs, for an unknown paper, preset or parameter, a parameter
    that the paper refuses, a folder that cannot be written or named in a notebook, or one that
    another run is using or has finished in; and, naming the cell, where the notebook fails or its
    kernel dies. Others of `WorkbenchError` where models or data cannot serve. `KeyboardInterrupt`
    passes through.
    """
    registered = paper_named(paper)
    for name, instead in (("preset", "preset"), ("out_dir", "out")):
        if name in (given or {}):
            raise RunError(f"{name} is given by --{instead}, from Python by {instead}=")
    given = parameters.check(registered.notebook, dict(given or {}))
    try:
        one_of("preset", preset, PRESETS)
        registered.module.preflight(preset, given)
    except WorkbenchError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise RunError(str(error)) from None
    out = as_written(default_folder(paper) if out is None else out)
    with prepared(out):
        target = out.resolve() / "notebook.ipynb"
        values = {**given, "preset": preset, "out_dir": str(target.parent)}
        try:
            _execute(registered.notebook, target, values, progress)
            if not (out / "results.json").exists():
                raise RunError("finished without recording results")
            read_results(out)
            write_report(target, out / "report.html")
        except (RunError, KeyboardInterrupt) as error:
            # Only what ran to its end has results.
            (out / "results.json").unlink(missing_ok=True)
            if target.exists():
                write_report(target, out / "report.html")
            if isinstance(error, KeyboardInterrupt):
                raise
            raise RunError(f"{paper} {error}\nThe notebook so far: {target}") from error
    return out


def _execute(notebook: Path, target: Path, values: dict[str, Any], progress: bool) -> None:
    """Execute into `target`. Raises `RunError` where a cell fails or the kernel dies."""
    with kernel() as manager:
        try:
            papermill.execute_notebook(
                unformatted(notebook),
                unformatted(target),
                values,
                km=manager,
                kernel_name="python3",
                language="python",
                progress_bar=progress,
                request_save_on_cell_execute=True,
                start_timeout=_SECONDS,
                iopub_timeout=_SECONDS,
            )
        except PapermillExecutionError as error:
            raise RunError(
                f"failed in cell {error.cell_index} (executed as [{error.exec_count}]): "
                f"{error.ename}: {error.evalue}"
            ) from error
        except (RuntimeError, CellTimeoutError) as error:
            raise RunError(
                f"stopped in {_begun(target)}: {error}{manager.death()}. If memory ran out, ask "
                f"for less. What was finished is kept: run again with --out {target.parent}"
            ) from error


def default_folder(paper: str) -> Path:
    """A fresh folder name under `runs/`."""
    return Path("runs") / paper / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


@contextmanager
def prepared(out: Path) -> Iterator[None]:
    """Create the folder, prove that it takes a file, and hold it while a run is in it.

    Raises `RunError` where that fails, another run is in it, one has finished there, or files that
    are not of a run would be lost.
    """
    missing = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as probe:
            probe.write(b"\0" * 2**20)
        lock = FileLock(out / ".lock").acquire(timeout=0)
    except Timeout:
        raise RunError(f"{out} is in use by another run; choose another --out") from None
    except OSError as error:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise RunError(f"cannot write to {out}: {error.strerror or error}") from None
    with lock:
        try:
            _clear(out)
        except OSError as error:
            raise RunError(f"cannot use {out}: {error}; choose another --out") from None
        yield


def _clear(out: Path) -> None:
    """Remove results and report of a run that did not end.

    `RunError` where one did, or where a file of these names is not of a run: it is left alone.
    """
    notebook, results, report = (out / n for n in ("notebook.ipynb", "results.json", "report.html"))
    there = [path for path in (notebook, results, report) if path.exists()]
    for path in there:
        if not path.is_file():
            raise RunError(f"{path} is in the way: it is no file; choose another --out")
    # Papermill marks what it executes, from the first cell on.
    ours = notebook in there and b'"papermill"' in notebook.read_bytes()
    if results in there and (ours or notebook not in there):
        try:
            json.loads(results.read_text(encoding="utf-8"))["metrics"]
        except (ValueError, LookupError, TypeError, RecursionError):
            if ours:
                log.warning("%s is damaged; it is made again", results)
        else:
            if report in there or not ours:
                raise RunError(f"{out} already holds a run (results.json); choose another --out")
    if there and not ours:
        raise RunError(
            f"{there[0]} is not of a run and would be lost; choose another --out or move it"
        )
    for left in (results, report):
        left.unlink(missing_ok=True)


def _begun(target: Path) -> str:
    """The cell begun last, by papermill's own times; where there is none, the kernel's start."""
    cells = nbformat.read(target, as_version=4).cells if target.exists() else []
    begun = [i for i, cell in enumerate(cells) if cell.metadata.papermill.get("start_time")]
    if not begun:
        return "the start of its kernel"
    return f"cell {begun[-1]} ({cells[begun[-1]].source.strip().partition(chr(10))[0]})"
