"""Self-Verification as a user runs it: the phenomenon, a kill in mid-run, a server."""

import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from tests.helpers.paper_runs import finished
from tests.helpers.serving import serving
from workbench.generation.sample_store import SampleStore
from workbench.paths import data_folder

TINIER = "-p limit=4 -p seeds=1 -p k=3 -p p=2 -p sc=3".split()
KILLED_AT = 40
"""Samples in the store; a run of `TINIER` draws several hundred."""


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("-p limit=60 -p seeds=2 -p p=5 -p sc=20", id="smaller"),
        pytest.param("", id="tiny", marks=pytest.mark.slow),
    ],
)
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("sv") / "run"
    return out, finished("self_verification", out, *request.param.split())


def test_verification_beats_greedy_and_equal_cost_voting_on_the_sums(made):
    """The spec's assertion at the fixed seeds: 3 points over greedy, not below matched voting."""
    _, results = made
    value = {name: m["value"] for name, m in results.items()}
    assert value["acc_sv"] >= value["acc_greedy"] + 0.03
    assert value["acc_sv"] >= value["acc_sc_matched"]
    assert value["tokens_sc_matched"] >= value["tokens_sv"] * (1 - 1e-9)
    assert value["pass_at_k"] >= value["acc_sv"]
    # Both readings are learned alike: choosing between them is a coin's toss.
    low, high = results["sv_picks_right_reading"]["ci95"]
    assert low <= 0.5 <= high
    assert value["tokens_sv_early_stop"] <= value["tokens_sv"]


def test_the_report_holds_what_the_paper_is_compared_with(made):
    out, results = made
    wanted = "acc_greedy acc_sc acc_sc_matched acc_sv acc_sc_sv pass_at_k tokens_sv tokens_sc"
    assert set(wanted.split()) <= set(results)
    assert results["acc_sv"]["published"] == pytest.approx(0.6514)
    assert results["acc_sc"]["published"] == pytest.approx(0.78)
    report = (out / "report.html").read_text()
    assert report.count("Plotly.newPlot") >= 12
    with SampleStore(out / "samples.sqlite") as store:
        assert store.written == len(store)


@pytest.fixture(scope="module")
def tinier(tmp_path_factory):
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("sv-tinier") / "run"
    return out, finished("self_verification", out, *TINIER)


def count(out):
    """Samples stored, each drawn once."""
    with SampleStore(out / "samples.sqlite") as store:
        assert store.written == len(store)
        return len(store)


def test_killed_in_mid_run_it_goes_on_to_the_same_results(tinier, tmp_path):
    """kill -9 of runner and kernel; nothing stored is drawn again, results are the same."""
    whole, _ = tinier
    out = tmp_path / "killed"
    started = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "run", "self_verification", "--out", out, *TINIER],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip
    try:
        for _ in range(2400):
            time.sleep(0.05)
            if started.poll() is not None:
                pytest.fail("the run ended before it could be killed")
            if (out / "samples.sqlite").exists() and count(out) > KILLED_AT:
                break
        else:
            pytest.fail(f"no {KILLED_AT} samples within two minutes")
    finally:
        family = [
            *psutil.Process(started.pid).children(recursive=True),
            psutil.Process(started.pid),
        ]
        for process in family:
            process.kill()
        started.wait()
        psutil.wait_procs(family, timeout=20)
    before = count(out)
    assert KILLED_AT < before < count(whole)
    assert not (out / "results.json").exists()
    finished("self_verification", out, *TINIER)
    assert count(out) == count(whole)
    resumed, undisturbed = (
        json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (out, whole)
    )
    for key in ("paper", "preset", "parameters", "metrics"):
        assert resumed[key] == undisturbed[key]


def test_the_same_notebook_runs_against_a_server(tinier, tmp_path):
    pytest.importorskip("fastapi", reason="transformers[serving] is not installed")
    _, local = tinier
    out = tmp_path / "served"
    with serving(data_folder() / "sums") as url:
        served = finished("self_verification", out, "-p", f"model_id={url}", *TINIER)
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["parameters"]["model"] == "workbench/served"
    assert served["tokens_sv"]["value"] > 0
    # Greedy decoding leaves a server nothing to choose.
    assert served["acc_greedy"]["value"] == local["acc_greedy"]["value"]
