"""Killed at any moment, a run leaves nothing behind, and begun again ends as if undisturbed."""

import signal
import time
from collections import Counter

import nbformat
import pytest

from tests.helpers.kills import Started, half_written, results

STEPS = 5
CELLS = (
    'preset: str = "tiny"  # scale\nout_dir: str = ""  # folder',
    f"""import time
from pathlib import Path
from workbench.runs.cache import cached

out = Path(out_dir)
def step(number):
    with (out / "begun").open("a") as file:
        file.write(f"{{number}}\\n")
    while not (out / f"allowed{{number}}").exists():
        time.sleep(0.02)
    return number
done = [cached(out / "cache", f"step{{i}}", {{}}, lambda i=i: step(i)) for i in range({STEPS})]
""",
    """import workbench as wb
from workbench.evaluation.metrics import metric

wb.record(out, paper="toy", preset=preset, parameters={}, seed=0, device="cpu",
          metrics=[metric("sum", sum(done), len(done), (0, sum(done)))])""",
)
PROGRAM = """import sys
from pathlib import Path
from types import SimpleNamespace
from workbench.cli import main
from workbench.runs import execute

module = SimpleNamespace(preflight=lambda preset, given: None)
paper = SimpleNamespace(module=module, notebook=Path(sys.argv.pop(1)))
execute.paper_named = lambda name: paper
sys.exit(main())"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(folder) → a started run of a notebook of cached steps, each of which waits for a file."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in CELLS])
    book.cells[0].metadata["tags"] = ["parameters"]
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
    path = tmp_path_factory.mktemp("toy") / "toy.ipynb"
    nbformat.write(book, path)
    started = []

    def start(folder):
        started.append(Started(folder, "toy", program=("-c", PROGRAM, str(path))))
        return started[-1]

    yield start
    for run in started:
        run.tidy()


def begun(out):
    path = out / "begun"
    return path.read_text().split() if path.exists() else []


def until_in(run, number):
    """Let steps end until the run is in this one."""
    run.out.mkdir(exist_ok=True)
    for allowed in range(number):
        (run.out / f"allowed{allowed}").touch()
    before = begun(run.out).count(str(number))
    for _ in range(1200):
        if begun(run.out).count(str(number)) > before:
            return
        assert run.process.poll() is None, run.said()
        time.sleep(0.05)
    pytest.fail(f"step {number} never began")


def is_as_undisturbed(out, interruptions):
    assert [m["value"] for m in results(out)["metrics"]] == [sum(range(STEPS))]
    again = sum(Counter(begun(out)).values()) - STEPS
    assert 0 <= again <= interruptions  # only the step in hand
    assert half_written(out) == []


def test_a_run_killed_again_and_again(toy, tmp_path):
    """Alone and with all its family; its kernel alone; asked to end; and used by two at once."""
    run = toy(tmp_path)
    until_in(run, 1)
    run.kill("run")
    assert run.wait() == -signal.SIGKILL
    # What no one was left to remove lies in the folder of temporary files, for the next run.
    assert [name.rpartition("-")[0] for name in run.left()] == ["workbench-kernel"]
    assert not (run.out / "results.json").exists()

    run = toy(tmp_path)
    until_in(run, 2)
    other = toy(tmp_path)
    assert other.wait() == 2
    assert f"{run.out} is in use by another run; choose another --out" in other.said()
    run.kill("group", signal.SIGTERM)
    assert run.wait() == 143
    assert run.left() == []
    assert f"Run again with: workbench run toy --preset tiny --out {run.out}\n" in run.said()

    run = toy(tmp_path)
    until_in(run, 3)
    run.kill("kernel")
    assert run.wait() == 1
    assert run.left() == []
    assert "toy stopped in cell 2 (import time): Kernel died by SIGKILL." in run.said()
    assert (run.out / "report.html").exists()
    nbformat.read(run.out / "notebook.ipynb", 4)

    run = toy(tmp_path)
    until_in(run, 4)
    run.kill("run", signal.SIGINT)
    time.sleep(0.1)
    run.kill("run", signal.SIGINT)
    assert run.wait() == 130
    assert run.left() == []

    run = toy(tmp_path)
    until_in(run, 4)
    (run.out / "allowed4").touch()
    assert run.wait() == 0, run.said()
    assert run.left() == []
    assert all("Traceback" not in log.read_text() for log in tmp_path.glob("log-*"))
    is_as_undisturbed(run.out, interruptions=4)
