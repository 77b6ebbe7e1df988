"""--out and text arrive as they are written: nothing is expanded, formatted or taken for remote."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from papermill.parameterize import add_builtin_parameters, parameterize_path

from workbench.errors import RunError
from workbench.paths import as_written
from workbench.runs import execute, parameters, record

PARAMETERS = """preset: str = "tiny"  # scale
text: str = ""  # any text
out_dir: str = ""  # folder"""
RECORD = """import os
import workbench as wb
wb.record(out_dir, paper="toy", preset=preset, parameters={"text": text, "here": os.getcwd()},
          metrics=[], seed=0, device="cpu")"""
ODD = """we{ird} {text} {0} %20%s ~ 'q' "d" $HOME `x` #1 \\\\n ünï 语 ?*[a]& a:b;c|d"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A paper of one short cell, its notebook in a folder of an odd name."""
    folder = tmp_path / "{shipped}"
    folder.mkdir()
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, RECORD)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "x", "language": "python"}
    nbformat.write(
        nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "t.ipynb"
    )
    module = SimpleNamespace(preflight=lambda preset, given: None)
    paper = SimpleNamespace(module=module, notebook=folder / "t.ipynb")
    monkeypatch.setattr(execute, "paper_named", lambda name: paper)
    monkeypatch.chdir(tmp_path)


def test_a_folder_and_a_text_arrive_as_they_are_written(toy, tmp_path):
    text = f"{ODD}\n\t%ls\n!ls\r\\N{{BULLET}} \\u0041 \x00\x1b trailing\\"
    before = set(os.listdir(tmp_path))
    out = execute.run("toy", {"text": text}, out=f"{ODD}\n/../{ODD}\n/in/", progress=False)
    assert out == tmp_path / f"{ODD}\n" / "in"
    assert set(os.listdir(tmp_path)) - before == {f"{ODD}\n"}
    content = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert content["parameters"] == {"text": text, "here": str(tmp_path)}
    assert {"notebook.ipynb", "report.html"} <= set(os.listdir(out))
    with pytest.raises(RunError, match="already holds a run"):
        execute.run("toy", out=out)


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(min_size=1))
def test_papermill_formats_no_path(path, name):
    values = add_builtin_parameters({name: "x"})
    assert parameterize_path(parameters.unformatted(Path(path)), values) == str(Path(path))


@pytest.mark.parametrize("out", ["~", "~/x", " ", "-", ".", "a/./b", "s3:/x", "s3:x", "c++", "\n"])
def test_what_is_a_folder_of_this_machine(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    assert as_written(out) == Path(out)
    with execute.prepared(as_written(out)):
        assert (tmp_path / out).is_dir()


@pytest.mark.parametrize(
    "out",
    ["", "a\0b", "s3://b/x", "gs://b", "http://h/x", "HTTPS://h", "abs://a", "adl://a", "hdfs://a",
     "file:///tmp/x", "github+x://y", "a\udcff", "file/x", "file", "long/" + "x" * 300,
     "deep/" + "/".join(["x" * 200] * 30)],
)  # fmt: skip
def test_what_is_none_is_named_and_leaves_nothing(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError) as caught, execute.prepared(as_written(out)):
        pass
    assert repr(out)[1:-1][:60] in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
    assert caught.value.__cause__ is None


def test_a_folder_that_is_gone_or_has_no_name_is_named(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(RunError, match="cannot write to 'x'"):
        as_written("x")
    odd = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(odd)
    monkeypatch.chdir(odd)
    with pytest.raises(RunError, match="'x': its path is not UTF-8"):
        as_written("x")


GOOD = {
    "paper": "toy", "preset": "tiny", "parameters": {},
    "metrics": [
        {"name": "a", "value": 1, "n": 2, "ci95": None, "published": None,
         "published_setting": None, "unit": None},
        {"name": "b", "value": 1.5, "n": 2, "ci95": [1, 2.0], "published": 3,
         "published_setting": "theirs", "unit": "seeds"},
    ],
    "provenance": {"device": "cpu", "seconds": 1.0, "seed": 0},
}  # fmt: skip


def test_results_are_read_with_and_without_an_interval(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps(GOOD))
    results = record.read_results(tmp_path)
    assert results == GOOD


def test_the_runs_of_a_paper_are_read_below_a_folder(tmp_path, caplog):
    for name, text in {
        "b": json.dumps(GOOD), "a": json.dumps(GOOD | {"preset": "small"}), "c": "[]",
        "d": json.dumps(GOOD | {"paper": "other"}), "e/deeper": json.dumps(GOOD),
    }.items():  # fmt: skip
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "results.json").write_text(text)
    runs = record.read_runs(tmp_path, "toy")
    assert [(name, run["preset"]) for name, run in runs.items()] == [("a", "small"), ("b", "tiny")]
    assert "left out" in caplog.text
    assert str(tmp_path / "c") in caplog.text
    assert [*record.read_runs(tmp_path / "b", "toy")] == ["b"]
    assert record.read_runs(tmp_path / "none", "toy") == {}


def broken():
    """Records that are none."""
    yield "not json"
    yield "[]"
    yield "null"
    yield json.dumps({"metrics": []})
    for name in GOOD.keys() - {"parameters"}:
        yield json.dumps({**GOOD, name: None})
        yield json.dumps({k: v for k, v in GOOD.items() if k != name})
    for name, value in (
        ("value", None), ("value", "1"), ("value", True), ("n", None), ("name", 3), ("ci95", [1]),
        ("ci95", 3), ("ci95", ["a", "b"]), ("published", "x"),
    ):  # fmt: skip
        yield json.dumps({**GOOD, "metrics": [{**GOOD["metrics"][1], name: value}]})
    yield json.dumps(GOOD).replace("1.5", "NaN")


@pytest.mark.parametrize("text", broken())
def test_what_is_no_record_is_named(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(RunError, match=r"results\.json"):
        record.read_results(tmp_path)
