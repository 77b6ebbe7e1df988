"""The plan of the house: a folder imports only from lower floors, and no circle inside one."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import workbench

PACKAGE = Path(workbench.__file__).parent
GROUND = (
    "errors",
    "hashing",
    "arguments",
    "paths",
    "reading",
    "writing",
    "encodings",
    "files",
    "parquet",
    "hub",
)
FLOORS = (
    ("ground",),
    ("models", "plots", "evaluation"),
    ("activations", "generation", "sae", "data", "training", "retrieval"),
    ("steering", "worlds", "kopl", "retrievers", "readers"),
    ("papers",),
    ("widgets", "runs", "tiny"),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The face, workbench/__init__.py, names its modules by strings and imports none of them.
MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", "."): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix("workbench.") for name in names} & set(MODULES)


def room(module: str) -> str:
    first = module.partition(".")[0]
    return "ground" if first in GROUND else first


IMPORTS = {module: imported(path) for module, path in MODULES.items()}
ARROWS = [(source, target) for source, targets in IMPORTS.items() for target in targets]


def test_a_folder_imports_only_from_lower_floors():
    assert {room(module) for module in MODULES} <= set(FLOOR), "a room without a floor"
    rising = [
        f"{source} imports {target}"
        for source, target in ARROWS
        if room(source) != room(target) and FLOOR[room(source)] <= FLOOR[room(target)]
    ]
    assert not rising


def test_files_of_a_folder_import_each_other_without_a_circle():
    TopologicalSorter(IMPORTS).prepare()  # CycleError names the circle


def test_papers_never_import_each_other():
    paper = {m: m.split(".")[1] for m in MODULES if m.startswith("papers.") and m.count(".") == 2}
    crossing = [a for a in ARROWS if {*a} <= set(paper) and paper[a[0]] != paper[a[1]]]
    assert not crossing


def test_few_arrows_between_rooms():
    assert len({(room(a), room(b)) for a, b in ARROWS if room(a) != room(b)}) <= 75


def test_every_init_is_one_docstring_and_no_module_is_long():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path
        if path.name == "__init__.py" and path.parent != PACKAGE:
            (only,) = ast.parse(text).body
            assert isinstance(only, ast.Expr), path
