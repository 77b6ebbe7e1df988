"""What the README says: snippets define what they use and run, tables and commands are true."""

import ast
import builtins
import re
import shlex
from math import prod

import pytest
from safetensors import safe_open

from tests.test_package import ROOT
from workbench.cli import main
from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.papers.registry import PAPERS, paper_named
from workbench.paths import data_folder
from workbench.runs import execute

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT.partition("## Add a paper")[0], re.S)


def test_snippets_use_what_one_of_them_defines():
    nodes = [node for snippet in SNIPPETS for node in ast.walk(ast.parse(snippet))]
    named = [n for n in nodes if isinstance(n, ast.Name)]
    known = set(dir(builtins)) | {n.id for n in named if isinstance(n.ctx, ast.Store)}
    known |= {a.asname or a.name for n in nodes for a in getattr(n, "names", [])}
    assert {n.id for n in named} <= known


def test_the_path_in_five_lines_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for snippet in SNIPPETS[:3]:
        text = snippet.replace("[:60]", "[:20]").replace('"cuda"', '"cpu"')
        exec(text.replace("generate(model, prompts", "generate(model, prompts[:2]"), names)
    assert len(names["chats"]) == len(names["labels"]) == 40
    assert names["direction"].layer.tolist() == [1, 2]


ROWS = re.findall(r"^\| `(\w+)` \| (.*) \(arXiv (\S+)\) \| `(\S+)` \| (.*) \|$", TEXT, re.M)


def test_the_table_of_papers_is_the_registry():
    assert [(name, title, notebook) for name, title, _, notebook, _ in ROWS] == [
        (paper.name, paper.module.TITLE, paper.module.NOTEBOOK) for paper in PAPERS
    ]


@pytest.mark.parametrize(("name", "_", "arxiv", "__", "ships"), ROWS)
def test_what_the_table_says_of_a_paper_holds(name, _, arxiv, __, ships):
    paper = paper_named(name)
    assert f"arXiv {arxiv}" in paper.notebook.read_text(encoding="utf-8")
    if not paper.models:
        assert "embedded" not in ships
        return
    said = float(re.search(r"embedded (\d\.\d) M-parameter", ships)[1])
    with safe_open(data_folder() / paper.models[0] / "model.safetensors", "np") as file:
        count = sum(prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    assert said == round(count / 1e6, 1)


RUNS = re.findall(r"^(workbench run .*?)(?:  #.*)?$", TEXT, re.M)


class StartedError(Exception):
    """A run got as far as its folder."""


@pytest.mark.parametrize("command", RUNS)
def test_commands_are_taken(command, monkeypatch, capsys):
    def begin(out):
        raise StartedError

    monkeypatch.setattr(execute, "prepared", begin)
    monkeypatch.setattr("workbench.hub.reachable", lambda: False)
    arguments = shlex.split(command)[1:]
    if "small" in arguments:
        try:
            place_of("smollm2")
        except ModelError as error:
            pytest.skip(str(error))
    own = "FOLDER" in command or ("--preset paper" in command and "http" not in command)
    if own:  # a folder of one's own, or a model that the hub has
        assert main(arguments) == 2
        assert re.search("FOLDER|cannot be reached|needs|is no", capsys.readouterr().err)
    else:
        with pytest.raises(StartedError):
            main(arguments)
