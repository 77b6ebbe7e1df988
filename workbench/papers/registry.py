"""The papers that are reproduced: the only place that lists them.

Notebook, preflight, embedded models and their rebuilding follow from one line here; `workbench
list`, `run` and `data rebuild` read it.
"""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from workbench.errors import RunError, nearest
from workbench.paths import data_folder, notebook_folder

ANATOMY = ("__init__", "paper", "presets", "study", "tables", "figures")
"""Files that every paper has, beside those of its method."""
FACTS = ("TITLE", "CLAIM", "NOTEBOOK", "PUBLISHED", "preflight")
"""What every `paper.py` says."""
BROKEN = (ImportError, SyntaxError, NameError, AttributeError, TypeError, ValueError, LookupError)
"""How a `paper.py` fails that somebody is still writing."""


@dataclass(frozen=True)
class Paper:
    """One paper: the folder `papers/<name>/` and the embedded models that it runs on.

    `models`: names that `load` knows; `workbench data rebuild` takes the first. `rebuild`:
    `"module:function"` that makes them all again, named and not imported, since it lies on a higher
    floor.
    """

    name: str
    models: tuple[str, ...] = ()
    rebuild: str = ""

    @property
    def module(self) -> ModuleType:
        """`papers/<name>/paper.py`: TITLE, CLAIM, NOTEBOOK, PUBLISHED, Settings, preflight."""
        return importlib.import_module(f"workbench.papers.{self.name}.paper")

    @property
    def notebook(self) -> Path:
        """The shipped notebook."""
        return notebook_folder() / self.module.NOTEBOOK

    def rebuilder(self) -> Callable[..., str]:
        """The function `(folder, seed=…) → card` that trains the embedded models again."""
        module, _, function = self.rebuild.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            nowhere = f"{self.name}: rebuild={self.rebuild!r} leads nowhere: {error}"
            raise RunError(nowhere) from error


PAPERS = (
    Paper("safetylock", ("tiny",), "workbench.tiny.chat_model:rebuild"),
    Paper("pas", ("survey",), "workbench.tiny.survey_model:rebuild"),
    Paper("fpo", ("styles",), "workbench.tiny.styles_model:rebuild"),
    Paper("graphhop"),
    Paper("reasonchainqa"),
    Paper(
        "neural_comprehension",
        ("symbols", "flips-early", "flips"),
        "workbench.tiny.symbols_model:rebuild",
    ),
    Paper(
        "self_verification",
        ("sums", "sums-early", "sums-late"),
        "workbench.tiny.sums_model:rebuild",
    ),
)


def paper_named(name: str) -> Paper:
    """A registered paper that can run.

    Raises `RunError`: for an unknown name with the nearest one, for a name registered twice, and
    for a paper with parts missing, naming them.
    """
    named = [paper for paper in PAPERS if paper.name == name]
    if not named:
        known = [paper.name for paper in PAPERS]
        raise RunError(
            f"unknown paper {name!r}{nearest(name, known)}; `workbench list` shows them: "
            f"{', '.join(known)}"
        )
    if problems := problems_of(named):
        raise RunError("; ".join(problems))
    return named[0]


def problems_of(papers: Sequence[Paper]) -> list[str]:
    """What keeps papers from running, a sentence each; empty where all is there.

    Looked for: a name registered once, the files of `ANATOMY` and the names of `FACTS`, the
    notebook, the folder of each embedded model and the module that rebuilds them.
    """
    names = [paper.name for paper in papers]
    problems = [
        f"{name} is registered {names.count(name)} times in papers/registry.py"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    for paper in dict.fromkeys(papers):
        problems += [f"{paper.name}: {missing} is missing" for missing in _missing(paper)]
    return problems


def _missing(paper: Paper) -> list[str]:
    folder = Path(__file__).parent / paper.name
    if not paper.name.isidentifier() or not folder.is_dir():
        return [f"the folder papers/{paper.name}/"]
    missing = [f"papers/{paper.name}/{n}.py" for n in ANATOMY if not (folder / f"{n}.py").is_file()]
    if (folder / "paper.py").is_file():
        missing += _missing_facts(paper)
    models = [data_folder() / model for model in paper.models]
    missing += [f"the embedded model {m}" for m in models if not (m / "config.json").is_file()]
    if paper.models and not _exists(paper.rebuild):
        missing.append(f"the module of rebuild={paper.rebuild!r}")
    return missing


def _missing_facts(paper: Paper) -> list[str]:
    try:
        module = paper.module
    except BROKEN as error:
        kind = type(error).__name__
        return [f"a papers/{paper.name}/paper.py that can be imported ({kind}: {error})"]
    missing = [f"{f} in papers/{paper.name}/paper.py" for f in FACTS if not hasattr(module, f)]
    name = getattr(module, "NOTEBOOK", None)
    if not (isinstance(name, str) and name and paper.notebook.is_file()):
        missing.append(f"the notebook {notebook_folder() / str(name)}")
    return missing


def _exists(rebuild: str) -> bool:
    module, colon, function = rebuild.partition(":")
    try:
        return bool(colon and function) and importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
