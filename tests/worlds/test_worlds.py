"""The floor of the worlds: they need neither torch nor a paper."""

import subprocess
import sys
from pathlib import Path

import workbench


def test_no_world_imports_torch_or_a_paper():
    folder = Path(workbench.__file__).parent / "worlds"
    names = [f"workbench.worlds.{p.stem}" for p in folder.glob("*.py") if p.stem != "__init__"]
    code = f"import sys, {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(names) <= set(loaded)
    assert "torch" not in loaded
    assert not [name for name in loaded if name.startswith("workbench.papers")]
