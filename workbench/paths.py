"""Folders of the shipped files: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def data_folder() -> Path:
    """Folder of the embedded models and samples."""
    inside = _PACKAGE / "data_files"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def notebook_folder() -> Path:
    """Folder of the paper notebooks, as shipped: never written to."""
    inside = _PACKAGE / "notebooks"
    return inside if inside.is_dir() else _PACKAGE.parent / "notebooks"


EMBEDDED = tuple(sorted(p.parent.name for p in data_folder().glob("*/config.json")))
"""Models that ship: every folder of `data/` with a config."""
