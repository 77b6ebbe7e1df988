"""The floor plan: a module imports only from floors below its own."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
FLOORS = {
    0: ("errors", "paths", "hub"),
    1: (
        "anatomy",
        "models",
        "data",
        "problem_sets",
        "problems",
        "prompts",
        "checkpoints",
        "safelock",
        "shards",
        "inventories",
        "respondents",
    ),
    2: (
        "forwards",
        "activations",
        "logistic",
        "probes",
        "contrasts",
        "directions",
        "projections",
        "completions",
        "stops",
        "sampling",
        "store",
        "batching",
        "kvcache",
        "decoding",
        "local",
        "choices",
        "refusals",
        "endpoint",
        "generation",
        "judges",
        "metrics",
        "features",
        "feature_distance",
        "feature_counts",
        "feature_store",
        "feature_runs",
        "feature_lens",
        "feature_tables",
        "feature_cards",
        "sae_health",
        "sae_training",
    ),
    3: (
        "steering_hooks",
        "steering",
        "token_scores",
        "typesetting",
        "plots",
        "feature_plots",
        "training_plots",
    ),
    4: ("papers",),
    5: ("runs", "widgets"),
    6: ("cli",),
}
# Within a floor an arrow is allowed only where listed here.
BESIDE = {
    ("hub", "errors"),
    ("models", "anatomy"),
    ("problems", "data"),
    ("respondents", "inventories"),
    ("prompts", "models"),
    ("checkpoints", "models"),
    ("activations", "forwards"),
    ("probes", "activations"),
    ("probes", "logistic"),
    ("directions", "activations"),
    ("directions", "contrasts"),
    *(("store", x) for x in ("completions",)),
    ("sampling", "completions"),
    ("endpoint", "completions"),
    ("endpoint", "stops"),
    ("endpoint", "refusals"),
    *(("decoding", x) for x in ("batching", "completions", "kvcache", "sampling", "stops")),
    *(("local", x) for x in ("batching", "completions", "decoding", "forwards")),
    ("choices", "local"),
    *((x, "features") for x in ("sae_training", "sae_health", "feature_lens")),
    *(("feature_tables", x) for x in ("feature_runs", "features")),
    *(("feature_cards", x) for x in ("feature_counts", "feature_runs")),
    ("feature_store", "feature_counts"),
    *(
        ("feature_runs", x)
        for x in ("feature_counts", "feature_distance", "feature_store", "features")
    ),
    ("plots", "typesetting"),
    ("token_scores", "steering"),
    ("steering", "steering_hooks"),
    ("contrasts", "activations"),
    ("problems", "problem_sets"),
    *((x, "plots") for x in ("feature_plots", "training_plots")),
    ("feature_plots", "typesetting"),
    *(("generation", x) for x in ("completions", "endpoint", "local", "store")),
}
WORKSHOP = "tiny"
GRAMMAR_READERS = {"papers/safetylock/evaluate.py", "papers/safetylock/scales.py", "cli.py"}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names}
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (n.split(".")[1] for n in names if n.startswith("workbench."))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_below(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    where = path.relative_to(PACKAGE).as_posix()
    if room == WORKSHOP:
        return
    for target in imported(path):
        if target == WORKSHOP:
            assert where in GRAMMAR_READERS, f"{where} imports the workshop"
        elif target in FLOOR and target != room:
            below = FLOOR[target] < FLOOR[room] or (room, target) in BESIDE
            assert below, f"{where} (floor {FLOOR[room]}) imports {target} (floor {FLOOR[target]})"


def test_papers_never_import_each_other():
    papers = {p.name for p in (PACKAGE / "papers").iterdir() if p.is_dir() and p.name[0] != "_"}
    for path in (PACKAGE / "papers").rglob("*.py"):
        own = path.relative_to(PACKAGE / "papers").parts[0]
        text = path.read_text(encoding="utf-8")
        assert not [p for p in papers - {own} if f"workbench.papers.{p}" in text]


def test_the_wheel_lists_every_package():
    listed = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(listed["tool"]["setuptools"]["packages"])
    found = {
        ".".join(p.parent.relative_to(PACKAGE.parent).parts) for p in PACKAGE.rglob("__init__.py")
    }
    assert listed == found | {"workbench.data_files", "workbench.notebooks"}


def test_every_public_name_resolves_and_modules_stay_small():
    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        workbench.lod  # noqa: B018
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 320, path


def test_linted_and_formatted():
    root = PACKAGE.parent
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(root)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
