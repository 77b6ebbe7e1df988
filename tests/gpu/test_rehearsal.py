"""The GPU command: rehearsed on the CPU, its file, and what it does when a check goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

from tests.gpu import __main__ as command
from tests.gpu import running
from tests.gpu.checks import CHECKS, Check
from tests.test_package import ROOT

SCHEMA = json.loads((Path(__file__).parent / "schema.json").read_text(encoding="utf-8"))
MEASURED = sorted((ROOT / "docs" / "measured").glob("*.json"))


def valid(content):
    jsonschema.validate(content, SCHEMA, jsonschema.Draft202012Validator)
    return content


@pytest.fixture
def checks(monkeypatch):
    """Enters functions as the only checks; their processes are forked from here."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(command, "preload", lambda: None)
    entered = {}
    monkeypatch.setattr(command, "CHECKS", entered)
    monkeypatch.setattr(running, "CHECKS", entered)

    def enter(run, gigabytes=1, seconds=20, **at_most):
        entered[run.__name__] = Check(run, gigabytes, seconds, at_most)

    return enter


def rehearsed(tmp_path, *arguments):
    """(exit status, checks by name) of one run in this process."""
    file = tmp_path / "gpu.json"
    status = command.main(["--rehearse", "--json", str(file), *arguments])
    content = valid(json.loads(file.read_text(encoding="utf-8")))
    return status, {check["name"]: check for check in content["checks"]}


def test_every_check_runs_at_toy_shapes(tmp_path):
    file = tmp_path / "gpu.json"
    subprocess.run(
        [sys.executable, "-m", "tests.gpu", "--rehearse", "--json", str(file)], capture_output=True,
        cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    content = valid(json.loads(file.read_text(encoding="utf-8")))
    assert content["rehearsal"]
    assert content["device"] == {"name": "cpu"}
    assert [(c["name"], c["status"], c.get("reason")) for c in content["checks"]] == [
        (name, "ok", None) for name in CHECKS
    ]
    values = {name: v for c in content["checks"] for name, v in c["values"].items()}
    assert values["fold_seconds"]["at_most"] == 0.01
    off = {n: v["value"] for n, v in values.items() if n.endswith("difference")}
    assert len(off) >= 5
    assert max(off.values()) < 1e-4
    assert max(v["value"] for n, v in values.items() if n.endswith("off_by")) < 2e-3
    assert str(Path.home()) not in file.read_text(encoding="utf-8")


def test_checks_fit_eight_minutes_and_those_of_graphs_and_chains_runs_of_their_own():
    *others, topk, graphs, chains = CHECKS
    assert (topk, graphs, chains) == ("topk_ten_million", "graphhop_tuned", "chains_tuned")
    for names in (others, (topk, graphs), (chains,)):
        assert sum(CHECKS[name].seconds for name in names) <= 8 * 60


def test_only_checks_that_are_named_run(tmp_path, checks, capsys):
    def first(toy):
        yield {"ratio": 1}

    def second(toy):
        yield {"ratio": 2}

    checks(first)
    checks(second)
    assert [*rehearsed(tmp_path, "--only", "second")[1]] == ["second"]
    with pytest.raises(SystemExit):
        rehearsed(tmp_path, "--only", "third")
    assert "third" in capsys.readouterr().err


@pytest.mark.parametrize("file", MEASURED, ids=lambda file: file.name)
def test_measured_files_are_of_runs_on_a_gpu(file):
    content = valid(json.loads(file.read_text(encoding="utf-8")))
    assert not content["rehearsal"]
    assert content["device"].keys() >= {"memory_gb", "driver", "cuda"}
    assert {check["name"] for check in content["checks"]} <= set(CHECKS)


def test_only_measured_files_and_their_readme_are_kept():
    others = set((ROOT / "docs" / "measured").iterdir()) - set(MEASURED)
    assert {path.name for path in others} == {"README.md"}


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.torch.cuda, "is_available", lambda: False)
    assert command.main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert re.search("no CUDA GPU here.*--rehearse", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_is_recorded_and_the_next_check_runs(tmp_path, checks):
    def fails(toy):
        yield {"before": [1.0, 4.0, 2.0]}
        raise ValueError(f"bad shape in {tmp_path}/deep/model.bin, tokens/s\nmore")

    def disagrees(toy):
        yield {}
        raise SystemExit("off by 0.3")

    def lacks(toy):
        import a_library_that_nobody_has  # noqa: F401

        yield {}

    def dies(toy):
        yield {"before": 1}
        os.kill(os.getpid(), signal.SIGKILL)

    def counts_badly(toy):
        yield {"ratio": float("nan")}

    def works(toy):
        assert toy
        yield {"ratio": [3.0, 1.0, 2.0]}
        yield "one peer is left out"

    for run in (fails, disagrees, lacks, dies, counts_badly):
        checks(run)
    checks(works, ratio=1.5)
    status, made = rehearsed(tmp_path)
    assert status == 1
    assert {name: check["status"] for name, check in made.items()} == {
        "fails": "failed", "disagrees": "failed", "lacks": "skipped", "dies": "failed",
        "counts_badly": "failed", "works": "ok",
    }  # fmt: skip
    assert made["fails"]["reason"] == "ValueError: bad shape in …/model.bin, tokens/s"
    assert made["fails"]["values"] == {"before": {"value": 2, "low": 1, "high": 4, "rounds": 3}}
    assert made["disagrees"]["reason"] == "SystemExit: off by 0.3"
    assert "a_library_that_nobody_has" in made["lacks"]["reason"]
    assert made["dies"]["values"] == {"before": {"value": 1}}
    assert "SIGKILL" in made["dies"]["reason"]
    assert "not finite" in made["counts_badly"]["reason"]
    assert made["works"]["reason"] == "one peer is left out"
    assert made["works"]["values"]["ratio"] == {
        "value": 2, "low": 1, "high": 3, "rounds": 3, "at_most": 1.5,
    }  # fmt: skip


def test_a_check_ends_with_its_time_and_keeps_what_it_has(tmp_path, checks):
    def endless(toy):
        yield {"before": 1}
        time.sleep(60)

    def works(toy):
        yield {"ratio": 1}

    checks(endless, seconds=0.5)
    checks(works)
    status, made = rehearsed(tmp_path)
    assert status == 1
    assert made["endless"]["status"] == "timed out"
    assert made["endless"]["values"] == {"before": {"value": 1}}
    assert 0.5 <= made["endless"]["seconds"] < 20
    assert made["works"]["status"] == "ok"


def test_what_does_not_fit_is_skipped_and_smaller_ones_run(tmp_path, checks):
    def long(toy):
        raise AssertionError

    def short(toy):
        yield {"ratio": 1}

    checks(long, seconds=100)
    checks(short, seconds=30)
    status, made = rehearsed(tmp_path, "--minutes", "0.5")
    assert status == 0
    assert made["long"]["status"] == "skipped"
    assert re.search("100 s, and (29|30) s are left", made["long"]["reason"])
    assert made["short"]["status"] == "ok"


@pytest.mark.parametrize(
    ("left", "free", "expected"),
    [(30, 40, None), (29, 40, "60 s, and 29 s"), (-3, 40, "and 0 s"), (60, 39, "40 GB.*39.0 GB")],
)
def test_time_and_memory_that_a_check_needs(left, free, expected):
    why = running.obstacle(Check(len, 40, 60), left, free)
    assert why is None if expected is None else re.search(expected, why)


def test_the_file_is_there_whole_after_every_check(tmp_path, checks):
    file = tmp_path / "gpu.json"

    def looks(toy):
        yield {"checks": len(valid(json.loads(file.read_text()))["checks"])}

    def looks_again(toy):
        yield from looks(toy)

    checks(looks)
    checks(looks_again)
    _, made = rehearsed(tmp_path)
    sizes = [check["values"]["checks"]["value"] for check in made.values()]
    assert sizes == [0, 1]


def test_the_command_writes_nothing_that_the_schema_does_not_know():
    record = {"name": "x", "status": "failed", "seconds": 1, "values": {}}
    head = command.header(8, False)
    valid({**head, "checks": [{**record, "reason": "in …/x.py"}]})
    for wrong in ({}, {"reason": "in /data/x.py"}, {"reason": "", "path": "x"}):
        with pytest.raises(jsonschema.ValidationError):
            valid({**head, "checks": [{**record, **wrong}]})
