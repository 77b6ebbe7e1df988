"""Runs: parameters checked first, results complete, failures keep what is there."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from workbench.errors import RunError
from workbench.evaluation.metrics import FIELDS, metric
from workbench.papers.safetylock.paper import TITLE
from workbench.runs import execute, parameters, record
from workbench.runs.cache import cached
from workbench.runs.report import write_report


def notebook(folder: Path, name: str, *cells: str) -> Path:
    """A notebook whose first cell is its parameters."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    book.cells[0].metadata["tags"] = ["parameters"]
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "x", "language": "python"}
    nbformat.write(book, folder / name)
    return folder / name


PARAMETERS = """preset: str = "tiny"  # scale
alpha: float = 1.0  # strength
seeds: int = 3  # how many
grid: list[float] = [1.0]  # values
flag: bool = False  # switch
out_dir: str = ""  # folder"""
RECORD = """import workbench as wb
from workbench.evaluation.metrics import metric
wb.record(out_dir, paper="toy", preset=preset, parameters={"alpha": alpha},
          metrics=[metric("a", alpha, 1, (alpha, alpha))], seed=0, device="cpu")"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A paper of three short cells in a folder of its own."""
    module = SimpleNamespace(NOTEBOOK="toy.ipynb", preflight=lambda preset, given: None)
    paper = SimpleNamespace(module=module, notebook=tmp_path / "toy.ipynb")
    monkeypatch.setattr(execute, "paper_named", lambda name: paper)
    return lambda *cells: notebook(tmp_path, "toy.ipynb", PARAMETERS, *cells)


def test_a_run_leaves_notebook_report_and_results(toy, tmp_path):
    toy(
        "import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1, 2])).show('plotly_mimetype')",
        RECORD,
    )
    out = execute.run("toy", {"alpha": "2.5"}, out=tmp_path / "out", progress=False)
    content = json.loads((out / "results.json").read_text())
    assert content["metrics"][0]["value"] == 2.5
    assert content["parameters"] == {"alpha": 2.5}
    assert not any(c.get("outputs") for c in nbformat.read(tmp_path / "toy.ipynb", 4).cells)
    report = (out / "report.html").read_text()
    assert report.count("plotly.js v") == 1
    assert "Plotly.newPlot" in report


def test_results_schema(tmp_path):
    row = metric("asr", 0.5, 10, (0.4, 0.6), 0.49, "8B")
    path = record.record(
        tmp_path, paper="p", preset="tiny", parameters={}, metrics=[row], seed=1, device="cpu"
    )
    content = json.loads(path.read_text())
    assert set(content) == {"paper", "preset", "parameters", "metrics", "provenance"}
    assert tuple(content["metrics"][0]) == FIELDS
    assert set(content["provenance"]) == {
        "git", "dirty", "versions", "device", "seed", "started", "seconds", "peak_memory_bytes"
    }  # fmt: skip
    assert content["provenance"]["peak_memory_bytes"] > 10**7
    assert content["provenance"]["versions"]["torch"].startswith("2.")
    with pytest.raises(RunError, match="recorded twice"):
        record.record(
            tmp_path, paper="p", preset="t", parameters={}, metrics=[row, row], seed=1, device="c"
        )


def test_parameters_are_cast_to_their_declared_types(toy):
    path = toy("pass")
    given = {"alpha": "2", "seeds": "4", "grid": "1,2.5", "flag": "true", "preset": "x"}
    assert parameters.check(path, given) == {
        "alpha": 2.0, "seeds": 4, "grid": [1.0, 2.5], "flag": True, "preset": "x"
    }  # fmt: skip


VALUES = {
    "seeds": ("many", "1.5", 1.5, "1.0", 1.0, "1e3", "true", True, float("nan"), float("inf"),
              "9" * 10**5, [1], None),
    "alpha": ("x", "nan", "-inf", "1e999", float("nan"), 10**400, True, [1], None),
    "flag": ("perhaps", "", 2, [True], 1, 0, 1.0, "yes", "TRUE", None),
    "grid": ("a,b", "1,nan", "1e999", "[NaN]", "[1e999]", "[" * 10**5, "[[1]]", "[1", "[true]",
             ["x"], [float("inf")], "[" + "9" * 10**5 + "]"),
    "preset": ("\udcff", None, True, 3, ["tiny"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in VALUES.items() for v in vs],
                         ids=lambda v: repr(v)[:20])  # fmt: skip
def test_values_that_do_not_fit_the_type_are_named(toy, name, value):
    with pytest.raises(RunError, match=rf"parameter {name}") as caught:
        parameters.check(toy("pass"), {name: value})
    assert len(str(caught.value)) < 400


NO_KERNEL = nbformat.v4.new_notebook(
    cells=[nbformat.v4.new_code_cell("a = 1", metadata={"tags": ["parameters"]})]
)


@pytest.mark.parametrize("text", ["", "not json", nbformat.writes(NO_KERNEL)])
def test_a_file_that_is_no_notebook_is_named(tmp_path, text):
    (tmp_path / "n.ipynb").write_text(text)
    with pytest.raises(RunError, match=r"n\.ipynb: .*Save it in JupyterLab"):
        parameters.declared(tmp_path / "n.ipynb")


def test_unknown_names_are_refused_with_the_nearest(toy, tmp_path):
    toy(RECORD)
    with pytest.raises(RunError, match=r"unknown parameter 'alhpa'; did you mean 'alpha'\?"):
        execute.run("toy", {"alhpa": "2"}, out=tmp_path / "out")
    with pytest.raises(RunError, match=r"preset='papper'; .* did you mean 'paper'\?"):
        execute.run("toy", preset="papper", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unwritable_and_used_folders(toy, tmp_path):
    toy(RECORD)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot write to .*file/out: Not a directory"):
        execute.run("toy", out=tmp_path / "file" / "out")
    execute.run("toy", out=tmp_path / "out", progress=False)
    with pytest.raises(RunError, match="already holds a run"):
        execute.run("toy", out=tmp_path / "out")


@pytest.mark.parametrize("kernel_ended", ["before the report", "in mid-write", "after failing"])
def test_results_of_a_run_that_did_not_end_are_made_again(toy, tmp_path, caplog, kernel_ended):
    out = tmp_path / "out"
    if kernel_ended == "after failing":
        toy(RECORD, "raise ValueError('no table')")
        with pytest.raises(RunError, match=r"toy failed in cell .*ValueError: no table"):
            execute.run("toy", {"alpha": 1}, out=out, progress=False)
        assert not (out / "results.json").exists()
    toy(RECORD)
    if kernel_ended != "after failing":
        execute.run("toy", {"alpha": 1}, out=out, progress=False)
    if kernel_ended == "before the report":
        (out / "report.html").unlink()
    elif kernel_ended == "in mid-write":
        (out / "results.json").write_text((out / "results.json").read_text()[:100])
    execute.run("toy", {"alpha": 2}, out=out, progress=False)
    assert json.loads((out / "results.json").read_text())["metrics"][0]["value"] == 2
    assert ("results.json is damaged; it is made again" in caplog.text) == ("mid" in kernel_ended)


def test_results_of_a_notebook_run_by_hand_are_not_removed(toy, tmp_path):
    toy(RECORD)
    out = tmp_path / "out"
    execute.run("toy", {"alpha": 1}, out=out, progress=False)
    for name in ("notebook.ipynb", "report.html"):
        (out / name).unlink()
    with pytest.raises(RunError, match="already holds a run"):
        execute.run("toy", out=out)


@pytest.mark.parametrize("name", ["results.json", "report.html", "notebook.ipynb"])
@pytest.mark.parametrize(
    "content", ['{"mine": 1}', '{"cells": [], "metadata": {}}', "[" * 10**5, None]
)
def test_files_that_no_run_made_are_left_alone(toy, tmp_path, name, content):
    toy(RECORD)
    path = tmp_path / "out" / name
    path.parent.mkdir()
    path.mkdir() if content is None else path.write_text(content)
    for _ in range(2):  # the first call leaves its lock there
        with pytest.raises(RunError, match=rf"{name} is (not of a run|in the way)"):
            execute.run("toy", out=path.parent, progress=False)
    assert path.is_dir() if content is None else path.read_text() == content


def test_a_long_path_for_temporary_files_holds_no_run_up(toy, tmp_path, monkeypatch):
    toy(RECORD)
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    execute.run("toy", out=tmp_path / "out", progress=False)


def test_a_full_disk_is_found_before_the_run(toy, tmp_path, monkeypatch):
    toy(RECORD)

    def full(dir):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(RunError, match="No space left on device"):
        execute.run("toy", out=tmp_path / "out")


def test_a_failed_run_keeps_its_notebook_and_names_the_cell(toy, tmp_path):
    toy("print('so far')", "raise ValueError('gate is broken')", RECORD)
    with pytest.raises(RunError, match=r"failed in cell .*ValueError: gate is broken"):
        execute.run("toy", out=tmp_path / "out", progress=False)
    assert "so far" in (tmp_path / "out" / "notebook.ipynb").read_text()
    assert "gate is broken" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "results.json").exists()


def test_no_results_is_a_failure(toy, tmp_path):
    toy("pass")
    with pytest.raises(RunError, match="without recording results"):
        execute.run("toy", out=tmp_path / "out", progress=False)


def test_cached_step_runs_once_and_a_killed_one_leaves_nothing(tmp_path, caplog):
    calls = []

    def compute():
        calls.append(1)
        return {"x": [1.5, None]}

    for _ in range(2):
        assert cached(tmp_path, "step", {"a": 1}, compute) == {"x": [1.5, None]}
        assert cached(tmp_path, "other", {}, list) == []
    assert caplog.text.count("holds finished steps, which are not done again") == 1, "said once"
    assert (len(caplog.messages), len(calls)) == (1, 1)
    cached(tmp_path, "step", {"a": 2}, compute)
    assert len(calls) == 2

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "step", {"a": 3}, killed)
    assert len(list(tmp_path.iterdir())) == 3


def test_report_of_an_unfinished_notebook(tmp_path):
    path = notebook(tmp_path, "n.ipynb", "1 + 1")
    write_report(path, tmp_path / "r.html")
    assert "1 + 1" not in (tmp_path / "r.html").read_text().split("<body")[0]


def cli(*args, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", *args],
        capture_output=True, text=True, timeout=120, check=False, **kwargs,
    )  # fmt: skip


def test_cli_refusals_are_one_clear_line(tmp_path):
    for args, message in (
        (("safetylok",), "unknown paper 'safetylok'; did you mean 'safetylock'?"),
        (("safetylock", "--preset", "paper", "-p", "finetuned_id=a/b"), "cannot be reached"),
    ):
        done = cli("run", *args, "--out", str(tmp_path / "out"))
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


def test_import_and_help_stay_light():
    code = (
        "import sys, workbench, workbench.cli\n"
        "heavy = {'torch', 'transformers', 'nnsight', 'plotly', 'papermill', 'datasets', 'trl'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "run" in cli("--help").stdout


def test_list_and_doctor():
    listed = cli("list").stdout
    assert TITLE in listed
    assert "-p alpha=0.0  float: strength" in listed
    doctor = cli("doctor", env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert doctor.returncode == 0, doctor.stdout
    assert "preset=tiny will work" in doctor.stdout
    assert "offline by HF_HUB_OFFLINE" in doctor.stdout


def test_ctrl_c_keeps_the_notebook_and_says_how_to_go_on(tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "run", "safetylock", "--out", str(out)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True,
        # A job started in a shell's background ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.time() + 90
    while time.time() < deadline and '"execution_count": 2' not in _read(out / "notebook.ipynb"):
        time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Run again with: workbench run safetylock --preset tiny --out {out}" in stderr
    assert nbformat.read(out / "notebook.ipynb", 4).cells


def _read(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""
