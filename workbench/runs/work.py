"""Where a run keeps what takes long: in its own folder, or where later runs find it too."""

import functools
import logging
import shutil
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from workbench.arguments import one_of
from workbench.errors import WriteError
from workbench.hashing import digest, file_digest
from workbench.papers.parameters import PRESETS
from workbench.paths import cache_folder
from workbench.runs.record import LIBRARIES
from workbench.writing import disk_errors

log = logging.getLogger(__name__)

KEPT = 2
"""Folders of a paper, each of another state of the source; older ones are removed."""
_BENEATH = ("numpy", "scipy", "peft", "tokenizers", "accelerate", "pandas")
"""Libraries that results depend on, beside those that a run records."""
_held: dict[Path, FileLock] = {}


def work_folder(paper: str, preset: str, out: str | Path, *, shared: bool = True) -> Path:
    """The folder for a run's cache, samples and trained models, of which every one says its key.

    At `small` one below `cache_folder()`, so that a second run, wherever it writes its results,
    begins with what the first one finished; `out` at `tiny`, which always computes, being the check
    that all works here, and at `paper`, whose models are too large to lie in a home folder. Named
    by the package's source and the versions of its libraries: after a change all is computed anew.
    One process at a time uses it, until it ends: another one works in its own `out`. `shared`:
    False where what is kept does not tell weights apart, as samples of a server do not: then `out`.

    Raises `ValueError` for an unknown preset, `WriteError` where the disk refuses.

    >>> work = work_folder("fpo", "small", out)
    >>> keep = partial(cached, work / "cache")
    """
    out = Path(out)
    if one_of("preset", preset, PRESETS) != "small" or not shared:
        return out
    folder = cache_folder() / "small" / f"{paper}-{source_digest()}"
    try:
        with disk_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            if not _hold(folder):
                log.warning(
                    "another run works in %s; what this one finishes stays in %s", folder, out
                )
                return out
            folder.mkdir(exist_ok=True)
            if any(folder.iterdir()):
                log.warning("%s holds what earlier runs finished, which is not done again", folder)
            folder.touch()
            _clear(paper, folder)
    except WriteError as error:
        raise WriteError(f"{error}. WORKBENCH_CACHE names the folder of the cache") from error
    return folder


@functools.cache
def source_digest() -> str:
    """Digest of the package's source and of the libraries that it calls."""
    package = Path(__file__).parents[1]
    # Some editors mark an open file by a link to nowhere.
    files = [p for p in package.rglob("*.py") if p.is_file()]
    source = {str(p.relative_to(package)): file_digest(p) for p in files}
    libraries = {*LIBRARIES, *_BENEATH}
    return digest([source, {name: version(name) for name in libraries}])


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
