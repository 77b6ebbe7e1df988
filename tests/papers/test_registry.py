"""What is missing of a paper is named; a paper that is added as the README says runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import workbench
from workbench.cli import main
from workbench.errors import RunError
from workbench.papers import registry
from workbench.papers.registry import PAPERS, Paper, paper_named, problems_of
from workbench.paths import EMBEDDED

ROOT = Path(workbench.__file__).parents[1]
SUMS = "workbench.tiny.sums_model:rebuild"


def test_the_registered_papers_are_whole_and_share_out_the_embedded_models():
    assert problems_of(PAPERS) == []
    assert sorted(model for paper in PAPERS for model in paper.models) == sorted(EMBEDDED)
    for paper in PAPERS:
        assert paper_named(paper.name) is paper
        assert not paper.models or callable(paper.rebuilder())


@pytest.mark.parametrize(
    ("paper", "problem"),
    [
        (Paper("pos"), "pos: the folder papers/pos/ is missing"),
        (Paper("pas", ("servey",), SUMS), r"pas: the embedded model .*servey is missing"),
        (Paper("pas", ("survey",), "workbench.tiny.survy_model:rebuild"),
         "pas: the module of rebuild='workbench.tiny.survy_model:rebuild' is missing"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(monkeypatch, capsys, paper, problem):
    monkeypatch.setattr(registry, "PAPERS", (paper, PAPERS[0]))
    with pytest.raises(RunError, match=problem):
        paper_named(paper.name)
    assert main(["list"]) == 2
    out, err = capsys.readouterr()
    assert re.search(problem, err)
    assert PAPERS[0].module.TITLE in out, "the others are still listed"
    assert main(["run", paper.name]) == 2
    assert re.search(problem, capsys.readouterr().err)


def test_a_paper_registered_twice_is_named(monkeypatch, capsys):
    monkeypatch.setattr(registry, "PAPERS", (*PAPERS, PAPERS[0]))
    assert main(["list"]) == 2
    assert "safetylock is registered 2 times in papers/registry.py" in capsys.readouterr().err
    assert main(["run", "safetylock"]) == 2
    assert main(["run", "pos"]) == 2
    assert "unknown paper 'pos'; did you mean 'pas'?" in capsys.readouterr().err


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package in which papers may be broken and added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("workbench", "notebooks"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "data").symlink_to(ROOT / "data")
    return root


def cli(root, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(root), "TQDM_DISABLE": "1"}
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False, cwd=root, env=environment,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("workbench/papers/fpo/study.py", "fpo: papers/fpo/study.py is missing"),
        ("workbench/papers/fpo/paper.py", "fpo: papers/fpo/paper.py is missing"),
        ("notebooks/03_fpo.ipynb", "03_fpo.ipynb is missing"),
    ],
)
def test_a_missing_file_is_named_without_a_traceback(checkout, path, problem):
    hidden = (checkout / path).rename(checkout / "hidden")
    try:
        for arguments in (["list"], ["run", "fpo", "--out", checkout / "out"]):
            done = cli(checkout, *arguments)
            assert done.returncode == 2
            assert problem in done.stderr
            assert "Traceback" not in done.stderr
        assert "pas: Personality Alignment" in cli(checkout, "list").stdout
    finally:
        hidden.rename(checkout / path)


SCAFFOLD = "TITLE = CLAIM = 'odd'; PUBLISHED = []; NOTEBOOK = 'odd.ipynb'\ndef preflight(p, g): 0\n"


@pytest.mark.parametrize(
    ("facts", "notebook", "problem"),
    [
        ("def broken(:\n", "{}", "that can be imported (SyntaxError"),
        ("import nosuch\n", "{}", "that can be imported (ModuleNotFoundError"),
        ("1 + 'a'\n", "{}", "that can be imported (TypeError"),
        (SCAFFOLD + "NOTEBOOK = None\n", "{}", "the notebook"),
        (SCAFFOLD + "NOTEBOOK = ''\n", "{}", "the notebook"),
        (SCAFFOLD.replace("PUBLISHED", "RESULTS"), "{}", "PUBLISHED in papers/odd/paper.py"),
        (SCAFFOLD, "[]", "odd.ipynb: "),
        (SCAFFOLD, "{}", "odd.ipynb: "),
        (SCAFFOLD, "not json", "odd.ipynb: "),
    ],
)
def test_a_paper_somebody_is_still_writing_is_named(checkout, facts, notebook, problem):
    registered = checkout / "workbench/papers/registry.py"
    before, folder = registered.read_text(encoding="utf-8"), checkout / "workbench/papers/odd"
    folder.mkdir()
    try:
        for name in registry.ANATOMY:
            (folder / f"{name}.py").write_text(facts if name == "paper" else "")
        (checkout / "notebooks/odd.ipynb").write_text(notebook)
        registered.write_text(before.replace("PAPERS = (\n", 'PAPERS = (\n    Paper("odd"),\n'))
        for arguments in (["list"], ["run", "odd", "--out", checkout / "out-odd"]):
            done = cli(checkout, *arguments)
            assert done.returncode, "not a success"
            assert problem in done.stderr
            assert "Traceback" not in done.stderr
        assert "pas: Personality Alignment" in cli(checkout, "list").stdout
    finally:
        registered.write_text(before)
        shutil.rmtree(folder)
        (checkout / "notebooks/odd.ipynb").unlink()


@pytest.mark.parametrize("rebuild", ["", "workbench.tiny.chat_model", "workbench.no.mod:f", "no:f"])
def test_a_rebuild_that_leads_nowhere_is_named(rebuild):
    paper = Paper("safetylock", ("tiny",), rebuild)
    assert problems_of([paper]) == [f"safetylock: the module of rebuild={rebuild!r} is missing"]
    with pytest.raises(RunError, match="leads nowhere"):
        paper.rebuilder()


def test_preset_and_folder_are_no_parameters(capsys):
    for given, instead in (("preset=paper", "--preset"), ("out_dir=/x", "--out")):
        assert main(["run", "safetylock", "-p", given]) == 2
        assert f"is given by {instead}" in capsys.readouterr().err


def add(target, content):
    """A new file, a notebook of cells, or a line in the registry."""
    if target.suffix == ".ipynb":
        cells = [nbformat.v4.new_code_cell(cell) for cell in content.split("# %%\n")]
        cells[0].metadata["tags"] = ["parameters"]
        kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(
            nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), target
        )
    elif target.exists():
        before = target.read_text(encoding="utf-8")
        assert "PAPERS = (\n" in before
        target.write_text(before.replace("PAPERS = (\n", f"PAPERS = (\n    {content}"))
    else:
        target.parent.mkdir(exist_ok=True)
        target.write_text(content)


def test_a_paper_added_as_the_readme_says_runs(checkout):
    """Every file is taken from the README's section, as a stranger would."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"## Add a paper\n(.*?)\n<!--", text, re.S)[1]
    assert len(section.splitlines()) <= 40
    code = re.search(r"```python\n(.*?)```", section, re.S)[1]
    _, *parts = re.split(r"^# ((?:workbench|notebooks)/[\w/]+\.\w+).*\n", code, flags=re.M)
    for path, content in zip(parts[::2], parts[1::2], strict=True):
        add(checkout / path, content)
    (checkout / "workbench/papers/coin/__init__.py").write_text('"""A coin."""\n')
    listed = cli(checkout, "list")
    assert listed.returncode == 0, listed.stderr
    assert "coin: A fair coin" in listed.stdout
    assert "-p tosses=0  int: tosses per seed" in listed.stdout
    done = cli(checkout, "run", "coin", "-p", "tosses=50", "--out", checkout / "out")
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads((checkout / "out" / "results.json").read_text(encoding="utf-8"))
    (share,) = results["metrics"]
    assert (share["n"], share["unit"]) == (150, "seeds and tosses")
    assert (share["published"], share["published_setting"]) == (0.5, "a new coin, Table 1")
    assert "Plotly.newPlot" in (checkout / "out" / "report.html").read_text(encoding="utf-8")
