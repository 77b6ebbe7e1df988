"""Folders: of the shipped files, beside the package or inside it in a wheel; and the cache."""

import os
import re
from pathlib import Path

from workbench.errors import RunError

_PACKAGE = Path(__file__).parent


def data_folder() -> Path:
    """Folder of the embedded models and samples."""
    inside = _PACKAGE / "data_files"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def small_folder() -> Path:
    """Folder of our texts for a small real model, which readers call `"small"`."""
    return data_folder() / "small"


def notebook_folder() -> Path:
    """Folder of the paper notebooks, as shipped: never written to."""
    inside = _PACKAGE / "notebooks"
    return inside if inside.is_dir() else _PACKAGE.parent / "notebooks"


def cache_folder() -> Path:
    """Where converted models and steps of runs at `small` are kept.

    `WORKBENCH_CACHE`, else `workbench` in the user's cache. Raises `RunError` where the path begins
    with the home of somebody who has none.
    """
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    text = os.environ.get("WORKBENCH_CACHE") or f"{user}/workbench"
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise RunError(
            f"{text} is no folder: there is no such home. WORKBENCH_CACHE names the folder of the "
            "cache"
        ) from None


def require_cache() -> Path:
    """`cache_folder()`. Raises as that, and `RunError` where nothing can be written to it."""
    folder = cache_folder()
    there = next(p for p in (folder, *folder.parents) if os.path.exists(p))
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise RunError(f"{folder} cannot be written. WORKBENCH_CACHE names the folder of the cache")
    return folder


def as_written(out: str | Path) -> Path:
    """`out` as a folder of this machine. Raises `RunError` for what is none or no text."""
    text = os.fspath(out)
    try:
        if not text or "\0" in text or re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
            raise RunError(f"--out {text!r:.200} is no folder of this machine")
        path = Path(text)
        path = path.resolve() if ".." in path.parts else path
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise RunError(f"--out {text!r:.200}: its path is not UTF-8; choose another") from None
    except (OSError, RuntimeError) as error:  # nowhere to start from, or links in a circle
        raise RunError(f"cannot write to {text!r:.200}: {error}") from None
    return path


EMBEDDED = tuple(sorted(p.parent.name for p in data_folder().glob("*/config.json")))
"""Models that ship: every folder of `data/` with a config."""
