"""The papers that are reproduced: the only place that lists them; what is missing of one, said."""

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from workbench.errors import RunError
from workbench.paths import data_folder, notebook_folder

ANATOMY = ("__init__", "paper", "presets", "study")
"""Files that every paper has, beside those of its method."""


@dataclass(frozen=True)
class Paper:
    """One paper: the folder `papers/<name>/`, and the embedded models it runs on.

    `models`: names that `load` knows, the one to rebuild first. `rebuild`: `"module:function"` that
    makes them again; on a higher floor, so named here and imported when used.
    """

    name: str
    models: tuple[str, ...]
    rebuild: str

    @property
    def module(self) -> ModuleType:
        """`papers/<name>/paper.py`: TITLE, CLAIM, NOTEBOOK, PUBLISHED, Settings, preflight."""
        return importlib.import_module(f"workbench.papers.{self.name}.paper")

    @property
    def notebook(self) -> Path:
        """The shipped notebook."""
        return notebook_folder() / self.module.NOTEBOOK

    def rebuilder(self) -> Callable[..., Any]:
        """The function `(folder, seed=) → card` that trains the embedded models again."""
        module, _, function = self.rebuild.partition(":")
        return getattr(importlib.import_module(module), function)


PAPERS = (
    Paper("safetylock", ("tiny",), "workbench.tiny.chat_model:rebuild"),
    Paper("pas", ("survey",), "workbench.tiny.survey_model:rebuild"),
    Paper("fpo", ("styles",), "workbench.tiny.styles_model:rebuild"),
    Paper(
        "self_verification",
        ("sums", "sums-early", "sums-late"),
        "workbench.tiny.sums_model:rebuild",
    ),
)


def check(papers: Sequence[Paper] = PAPERS) -> None:
    """Raise `RunError`, listing all of it, for papers that are incomplete or registered twice.

    Looked for: the files of `ANATOMY`, the notebook, and the folder of each embedded model.
    """
    problems = [
        f"{name}: registered {count} times"
        for name, count in Counter(p.name for p in papers).items()
        if count > 1
    ]
    for paper in papers:
        problems += _missing(paper)
    if problems:
        raise RunError("papers/registry.py does not hold:\n  " + "\n  ".join(problems))


def _missing(paper: Paper) -> list[str]:
    folder = Path(__file__).parent / paper.name
    if not folder.is_dir():
        return [f"{paper.name}: no folder papers/{paper.name}/"]
    files = [name for name in ANATOMY if not (folder / f"{name}.py").is_file()]
    problems = [f"{paper.name}: papers/{paper.name}/{name}.py is missing" for name in files]
    if "paper" not in files and not paper.notebook.is_file():
        problems.append(f"{paper.name}: the notebook {paper.notebook} is missing")
    for model in paper.models:
        if not (data_folder() / model / "config.json").is_file():
            problems.append(f"{paper.name}: the embedded model {data_folder() / model} is missing")
    return problems
