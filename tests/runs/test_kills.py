"""Killed at any moment, a run leaves nothing behind, and begun again ends as if undisturbed.

`pytest -m slow --log-cli-level=INFO tests/runs/test_kills.py` kills whole papers, and shows when.
"""

import logging
import os
import pty
import random
import signal
import time
from collections import Counter

import nbformat
import pytest

from tests.helpers.kills import Started, half_written, made, results, samples, stage

log = logging.getLogger(__name__)

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
from workbench.papers import registry

module = SimpleNamespace(preflight=lambda preset, given: None)
paper = SimpleNamespace(module=module, notebook=Path(sys.argv.pop(1)))
registry.paper_named = lambda name: paper
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

    def start(folder, **options):
        started.append(Started(folder, "toy", program=("-c", PROGRAM, str(path)), **options))
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
    assert half_written(out) == list(out.glob("cache/*.lock")) == []


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
    assert "begun" in (run.out / "report.html").read_text()

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
    assert (run.out / "report.html").exists()

    run = toy(tmp_path)
    until_in(run, 4)
    (run.out / "allowed4").touch()
    assert run.wait() == 0, run.said()
    assert run.left() == []
    logs = [log.read_text() for log in tmp_path.glob("log-*")]
    assert not any(word in text for text in logs for word in ("Traceback", "DeadKernelError"))
    is_as_undisturbed(run.out, interruptions=4)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_stopped_at_any_stage_says_how_to_go_on(toy, tmp_path, signum):
    """From its first moment to its last, also twice in a row, as by an impatient user."""
    (tmp_path / "out").mkdir()
    for number in range(STEPS):
        (tmp_path / f"out/allowed{number}").touch()
    chance, again, ended = random.Random(signum), 0, False
    while not ended:
        run, at = toy(tmp_path), time.time() + chance.uniform(0.5, 4 + again)
        while time.time() < at and run.process.poll() is None:
            time.sleep(0.01)
        run.kill("group", signum)
        if again % 2:
            time.sleep(chance.random())
            run.kill("group", signum)
        code = run.wait()
        ended = all((run.out / name).exists() for name in ("results.json", "report.html"))
        assert code in (0, 128 + signum, -signum)  # before it begins, after it has ended
        assert run.left() == []
        assert "Traceback" not in run.said()
        assert "DeadKernelError" not in run.said()
        assert code != 128 + signum or f"interrupted ({signum.name})" in run.said()
        again += not ended
    is_as_undisturbed(run.out, interruptions=again)


def test_a_terminal_that_is_closed_ends_the_run(toy, tmp_path):
    terminal, end = pty.openpty()
    run = toy(tmp_path, terminal=end)
    os.close(end)
    until_in(run, 1)
    os.close(terminal)
    assert run.wait() == 129
    assert run.left() == []


PAPERS = {
    "self_verification": "-p limit=4 -p seeds=1 -p k=3 -p p=2 -p sc=3",
    "neural_comprehension": "-p lengths=2,8 -p rows=10 -p stories=5 -p texts=20 -p repeats=1",
    "fpo": "-p methods=fpo,tdpo2 -p alphas=5 -p seeds=1 -p steps=6 -p pairs=64 -p held_out=32",
}
KILLS = 20


@pytest.mark.slow
@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_killed_at_random(paper, tmp_path):
    """Begun again and killed again in one folder until it ends, then in the next."""

    def start(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return Started(tmp_path / name, paper, *PAPERS[paper].split()), time.time()

    run, began = start("undisturbed")
    assert run.wait() == 0, run.said()
    seconds, expected, drawn = time.time() - began, results(run.out), samples(run.out)
    run.tidy()
    log.info("%s: %.0f s undisturbed", paper, seconds)
    chance, folder, killed, before = random.Random(paper), 0, 0, {}
    while killed < KILLS:
        (run, began), at = start(str(folder)), seconds * chance.random()
        while time.time() - began < at and run.process.poll() is None:
            time.sleep(0.01)
        doing, whom = stage(run.out, began), ("run", "kernel", "group", "all")[killed % 4]
        if run.process.poll() is None:
            run.kill(whom)
        # Before there is a kernel, and after it has ended, the run itself is killed.
        code = run.wait()
        assert code in (0, -signal.SIGKILL, 1 if whom == "kernel" else 0), run.said()
        assert not [name for name in run.left() if name.startswith("process")]
        there, drawn_so_far = made(run.out), samples(run.out)
        if code:
            killed += 1
            log.info(
                "%2d %-6s killed at %5.1f s, %2d steps and %3d samples after it: %s",
                killed, whom, at, len(there), drawn_so_far, doing,
            )  # fmt: skip
        assert {name: there[name] for name in before} == before  # nothing is made again
        assert drawn_so_far <= drawn
        before = there
        if (run.out / "results.json").exists() and (run.out / "report.html").exists():
            assert results(run.out) == expected
            assert drawn_so_far == drawn
            if code == 0:
                assert run.left() == []
                log.info("the same results after %d kills", killed)
            run.tidy()
            folder, before = folder + 1, {}
