"""The package as a whole: what is public, what a wheel holds, how it is written."""

import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import workbench

PACKAGE = Path(workbench.__file__).parent
ROOT = PACKAGE.parent
IMPORT_ALL = """
import importlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
for path in sorted((root / "workbench").rglob("*.py")):
    name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    assert pathlib.Path(importlib.import_module(name).__file__) == path, name
from workbench.paths import data_folder, notebook_folder
from workbench.papers import registry
assert data_folder().is_relative_to(root) and notebook_folder().is_relative_to(root)
assert registry.problems_of(registry.PAPERS) == []
"""


def test_every_public_name_resolves():
    for name in workbench.__all__:
        assert getattr(workbench, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        workbench.lod  # noqa: B018


def test_every_public_function_and_class_shows_how_it_is_used():
    public = {name: getattr(workbench, name) for name in workbench.__all__}
    callables = {
        name: x for name, x in public.items() if inspect.isroutine(x) or inspect.isclass(x)
    }
    assert len(callables) > 20
    assert [name for name, x in callables.items() if ">>>" not in (x.__doc__ or "")] == []


def test_a_wheel_holds_every_module_and_file(tmp_path):
    """Built, unpacked without dependencies into a fresh folder, and every module imported there."""
    source, fresh = tmp_path / "source", tmp_path / "fresh"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("workbench", "data", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
         "-w", str(tmp_path), str(source)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(fresh)
    files = [p.relative_to(source) for p in (source / "workbench").rglob("*") if p.is_file()]
    assert not [p for p in files if not (fresh / p).is_file()]
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, str(fresh)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(fresh)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_linted_and_formatted():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, str(ROOT)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
