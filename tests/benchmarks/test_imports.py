"""Benchmarks start: every module and everything their cells import is there."""

import ast
import importlib
from pathlib import Path

import pytest

MODULES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if "test" not in p.stem)


@pytest.mark.parametrize("name", MODULES)
def test_modules_and_the_code_of_cells_import_what_exists(name):
    if name == "widgets":
        pytest.importorskip("playwright")
    module = importlib.import_module(f"tests.benchmarks.{name}")
    for value in vars(module).values():
        if not isinstance(value, str) or "import " not in value or value == module.__doc__:
            continue
        for node in ast.walk(ast.parse(value.replace("%%capture", ""))):
            if isinstance(node, ast.ImportFrom):
                source = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(source, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")
