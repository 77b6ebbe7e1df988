"""Self-Verification as a user runs it: the phenomenon, a kill in mid-run, a server."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from tests.helpers.serving import serving
from workbench.generation.sample_store import SampleStore
from workbench.paths import data_folder

SMALL = "-p limit=12 -p seeds=2 -p k=4 -p p=3 -p sc=6".split()


def command(out, *more):
    return [
        sys.executable, "-m", "workbench.cli", "run", "self_verification", "--out", str(out), *more,
    ]  # fmt: skip


def run(out, *more):
    done = subprocess.run(
        command(out, *more), capture_output=True, text=True, timeout=1200, check=False,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("sv") / "run"
    return out, run(out)


def test_verification_beats_greedy_and_equal_cost_voting_on_the_sums(full):
    """The spec's assertion at the fixed seeds: 3 points over greedy, not below matched voting."""
    _, results = full
    value = {m["name"]: m["value"] for m in results["metrics"]}
    assert value["acc_sv"] >= value["acc_greedy"] + 0.03
    assert value["acc_sv"] >= value["acc_sc_matched"]
    assert value["tokens_sc_matched"] >= value["tokens_sv"] * (1 - 1e-9)
    assert value["pass_at_k"] >= value["acc_sv"]
    # Both readings are learned alike: choosing between them is a coin's toss.
    low, high = next(m["ci95"] for m in results["metrics"] if m["name"] == "sv_picks_right_reading")
    assert low <= 0.5 <= high
    assert value["tokens_sv_early_stop"] <= value["tokens_sv"]


def test_the_report_holds_what_the_paper_is_compared_with(full):
    out, results = full
    names = {m["name"] for m in results["metrics"]}
    wanted = "acc_greedy acc_sc acc_sc_matched acc_sv acc_sc_sv pass_at_k tokens_sv tokens_sc"
    assert set(wanted.split()) <= names
    published = {m["name"]: m["published"] for m in results["metrics"]}
    assert published["acc_sv"] == pytest.approx(0.6514)
    assert published["acc_sc"] == pytest.approx(0.78)
    report = (out / "report.html").read_text()
    assert report.count("Plotly.newPlot") >= 12
    with SampleStore(out / "samples.sqlite") as store:
        assert store.written == len(store)


def test_killed_in_mid_run_it_goes_on_to_the_same_results(tmp_path):
    """kill -9 of runner and kernel; nothing stored is drawn again, results are the same."""
    whole = run(tmp_path / "whole", *SMALL)
    out = tmp_path / "killed"
    started = subprocess.Popen(
        command(out, *SMALL), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    try:
        for _ in range(1200):
            time.sleep(0.05)
            if started.poll() is not None:
                pytest.fail("the run ended before it could be killed")
            if (out / "samples.sqlite").exists():
                with SampleStore(out / "samples.sqlite") as store:
                    if len(store) > 300:
                        break
        else:
            pytest.fail("no 300 samples within a minute")
    finally:
        family = [
            *psutil.Process(started.pid).children(recursive=True),
            psutil.Process(started.pid),
        ]
        for process in family:
            process.kill()
        started.wait()
        psutil.wait_procs(family, timeout=20)
    with SampleStore(out / "samples.sqlite") as store:
        before = len(store)
        assert before == store.written > 300
    assert not (out / "results.json").exists()
    resumed = run(out, *SMALL)
    with SampleStore(out / "samples.sqlite") as store:
        assert store.written == len(store) > before
    with SampleStore(tmp_path / "whole" / "samples.sqlite") as store:
        total = len(store)
    with SampleStore(out / "samples.sqlite") as store:
        assert len(store) == total
    for key in ("paper", "preset", "parameters", "metrics"):
        assert resumed[key] == whole[key]


def test_the_same_notebook_runs_against_a_server(tmp_path):
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    with serving(data_folder() / "sums") as url:
        results = run(
            tmp_path / "served", "-p", f"model_id={url}",
            *"-p limit=4 -p seeds=1 -p k=3 -p p=2 -p sc=3".split(),
        )  # fmt: skip
    assert results["parameters"]["model"] == "workbench/served"
    value = {m["name"]: m["value"] for m in results["metrics"]}
    assert value["tokens_sv"] > 0
    local = run(tmp_path / "local", *"-p limit=4 -p seeds=1 -p k=3 -p p=2 -p sc=3".split())
    # Greedy decoding leaves a server nothing to choose.
    assert value["acc_greedy"] == {m["name"]: m["value"] for m in local["metrics"]}["acc_greedy"]
