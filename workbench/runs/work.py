"""Where a run keeps what takes long: in its own folder, or where later runs find it too."""

import functools
import logging
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.arguments import one_of
from workbench.hashing import digest, file_digest
from workbench.papers.parameters import PRESETS
from workbench.paths import cache_folder
from workbench.runs.record import LIBRARIES
from workbench.writing import disk_errors

log = logging.getLogger(__name__)

KEPT = 2
"""Folders of a paper, each of another state of the source; older ones are removed."""
_held: dict[Path, FileLock] = {}


def work_folder(paper: str, preset: str, out: str | Path) -> Path:
    """The folder for a run's cache, samples and trained models, of which every one says its key.

    At `small` one below `cache_folder()`, so that a second run, wherever it writes its results,
    begins with what the first one finished; `out` at `tiny`, which always computes, being the check
    that all works here, and at `paper`, whose models are too large to lie in a home folder. Named
    by the package's source and the versions of its libraries: after a change all is computed anew.
    One process at a time uses it, until it ends: another one works in its own `out`.

    Raises `ValueError` for an unknown preset, `WriteError` where the disk refuses.

    >>> work = work_folder("fpo", "small", out)
    >>> keep = partial(cached, work / "cache")
    """
    out = Path(out)
    if one_of("preset", preset, PRESETS) != "small":
        return out
    folder = cache_folder() / "small" / f"{paper}-{source_digest()}"
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not _hold(folder):
            log.warning("another run works in %s; what this one finishes stays in %s", folder, out)
            return out
        if any(folder.iterdir()):
            log.warning("%s holds what earlier runs finished, which is not done again", folder)
        folder.touch()
        _clear(paper, folder)
    return folder


@functools.cache
def source_digest() -> str:
    """Digest of the package's source and of the libraries that it calls."""
    package = Path(__file__).parents[1]
    source = {str(p.relative_to(package)): file_digest(p) for p in package.rglob("*.py")}
    return digest([source, [version(name) for name in LIBRARIES]])


def _hold(folder: Path) -> bool:
    """Whether the folder is this process's until it ends."""
    if folder not in _held:
        lock = FileLock(f"{folder}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        _held[folder] = lock
    return True


def _clear(paper: str, current: Path) -> None:
    """Remove a paper's folders but the newest, unless a process uses them."""
    others = [p for p in current.parent.glob(f"{paper}-*/") if p != current]
    others.sort(key=lambda path: path.stat().st_mtime)
    for old in others[: -(KEPT - 1)]:
        with suppress(Timeout), FileLock(f"{old}.lock", timeout=0) as lock:
            shutil.rmtree(old, ignore_errors=True)
            Path(lock.lock_file).unlink(missing_ok=True)
