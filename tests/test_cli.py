"""`workbench samples`: a store shown, repaired, carried over; what is printed of a run."""

import io
import sqlite3
import sys

import pytest

from workbench.cli import _table, main
from workbench.evaluation.metrics import metric
from workbench.generation.requests import Sample
from workbench.generation.sample_store import SampleStore
from workbench.papers.registry import PAPERS, Paper


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "s.sqlite"
    with SampleStore(path) as store:
        store.put(
            ('{"a":1}', "2 + 2?", i, Sample(f" {i}", "eos", 3, 5), "forward") for i in range(4)
        )
    return path


def test_shows_stages_and_counts(filled, capsys):
    assert main(["samples", str(filled)]) == 0
    printed = capsys.readouterr().out
    assert "4 samples, 4 ever written" in printed
    assert "forward" in printed
    assert "12 tokens" in printed


def test_export_and_import_carry_every_sample_over(filled, tmp_path, capsys):
    lines, other = tmp_path / "s.jsonl", tmp_path / "other.sqlite"
    assert main(["samples", str(filled), "--export", str(lines)]) == 0
    SampleStore(other).close()
    assert main(["samples", str(other), "--import", str(lines)]) == 0
    assert "4 samples added" in capsys.readouterr().out
    assert main(["samples", str(other), "--import", str(lines)]) == 0
    assert "0 samples added" in capsys.readouterr().out


def test_repair_drops_what_was_altered(filled, capsys):
    with sqlite3.connect(filled) as db:
        db.execute("UPDATE samples SET text = 'forged' WHERE sample_index = 2")
    assert main(["samples", str(filled), "--repair"]) == 0
    assert "1 damaged samples dropped\n3 samples" in capsys.readouterr().out


def test_a_missing_file_is_not_made(tmp_path, capsys):
    assert main(["samples", str(tmp_path / "no.sqlite")]) == 2
    assert "is no file" in capsys.readouterr().err
    assert not (tmp_path / "no.sqlite").exists()


@pytest.mark.parametrize(
    ("does", "file"),
    [("--import", "missing.jsonl"), ("--import", "."), ("--import", ""), ("--export", "."),
     ("--export", ""), ("--export", "/proc/x.jsonl"), ("--export", "s.sqlite"),
     ("--export", "other.sqlite"), ("--export", "link")],
)  # fmt: skip
def test_files_that_cannot_be_taken_are_named(filled, tmp_path, monkeypatch, capsys, does, file):
    monkeypatch.chdir(tmp_path)
    SampleStore("other.sqlite").close()
    (tmp_path / "link").symlink_to(filled)
    before = [(tmp_path / name).read_bytes() for name in ("s.sqlite", "other.sqlite")]
    assert main(["samples", str(filled), does, file]) == 2
    assert (file or ".") in capsys.readouterr().err
    assert before == [(tmp_path / name).read_bytes() for name in ("s.sqlite", "other.sqlite")]
    with SampleStore(filled) as store:
        assert len(store) == 4


def test_a_run_prints_a_dash_where_there_is_no_interval():
    rows = [metric("a", 0.25, 40, (0.125, 0.5), 0.2, "7B", "seeds"), metric("b", 3e6, 5)]
    provenance = {"device": "cpu", "seconds": 1.0, "seed": 0}
    results = {"paper": "p", "preset": "tiny", "metrics": rows, "provenance": provenance}
    *_, first, second = _table(results).split("\n")
    assert first.split() == ["a", "0.2500", "[0.125,", "0.500]", "40", "0.2", "(7B)"]
    assert second.split() == ["b", "3e+06", "–", "5", "–"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", "-1"], "seed=-1: it must be a whole number at least 0"),
        (["--seed", str(2**32)], "at most 4294967295"),
        (["--out", ""], "--out '' is no folder of this machine"),
        (["--out", "gs://bucket"], "is no folder of this machine"),
    ],
)
def test_a_rebuild_is_refused_before_it_trains(monkeypatch, capsys, arguments, said):
    monkeypatch.delattr(Paper, "rebuilder")
    assert main(["data", "rebuild", "tiny", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_terminal_without_the_letters_is_no_failure(monkeypatch):
    monkeypatch.setattr(PAPERS[0].module, "CLAIM", "α = ½")
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    assert main(["list"]) == 0
    sys.stdout.flush()
    assert b"\\u03b1 = \\xbd" in written.getvalue()
