"""Where the shipped files are: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

EMBEDDED = ("tiny", "sums", "sums-early", "sums-late", "survey", "styles")
"""Models that ship: chat, sums at three stages of training, questionnaire, styles of lists."""

_PACKAGE = Path(__file__).parent


def data_folder() -> Path:
    """The embedded model and samples."""
    inside = _PACKAGE / "data_files"
    return inside if inside.is_dir() else _PACKAGE.parent / "data"


def notebook_folder() -> Path:
    """The paper notebooks, as shipped: never written to."""
    inside = _PACKAGE / "notebooks"
    return inside if inside.is_dir() else _PACKAGE.parent / "notebooks"
