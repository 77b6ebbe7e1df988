"""FPO as a user runs it: what the constraint holds, what it does not, and what is left on disk."""

import json

import pandas as pd
import pytest

from tests.helpers.paper_runs import finished, run

METHODS = ("fpo", "ln_dpo", "dpo", "simpo", "tdpo2")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("fpo") / "run"
    return finished("fpo", out), out


def test_the_constraint_holds_features_and_at_last_the_distribution(full):
    """The only claim of the small scale: D falls more than tenfold, KL falls (α 0 against 50)."""
    metrics, _ = full
    value = {name: m["value"] for name, m in metrics.items()}
    assert value["d_rejected_alpha0"] > 10 * value["d_rejected_alpha50"]
    assert metrics["kl_rejected_alpha50"]["ci95"][1] < metrics["kl_rejected_alpha0"]["ci95"][0]
    assert value["stream_drift_alpha50"] < value["stream_drift_alpha0"]


def test_everything_asked_for_is_recorded_with_intervals_over_three_seeds(full):
    metrics, out = full
    wanted = {f"{x}_{m}" for x in ("accuracy", "peak_bytes") for m in METHODS}
    assert wanted | {"step_ratio_fpo_vs_ln_dpo", "sae_fvu"} <= set(metrics)
    assert metrics["accuracy_fpo"]["n"] == 600
    assert metrics["accuracy_tdpo2"]["published"] == 0.642
    for metric in metrics.values():
        assert metric["ci95"][0] <= metric["value"] <= metric["ci95"][1]
    # Two distributions over 131,072 words at half of 128 positions at least, against one tile.
    saved = metrics["peak_bytes_tdpo2"]["value"] - metrics["peak_bytes_fpo"]["value"]
    assert saved > 0.15 * metrics["peak_bytes_tdpo2"]["value"]
    assert (out / "report.html").exists()


def test_the_features_are_left_in_formats_that_others_read(full):
    _, out = full
    table = pd.read_parquet(out / "features.parquet")
    assert len(table) == 256
    pages = json.loads((out / "features.json").read_text(encoding="utf-8"))
    assert all(page["activations"] for page in pages)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert all(w in text for w in ("Features that tell chosen from rejected", "please", "kindly"))


def test_a_second_run_takes_what_is_there(full):
    before, out = full
    (out / "results.json").unlink()
    caches = ("cache/*", "policies/*/model.safetensors", "features/*/rows-*")
    kept = {p: p.stat().st_mtime_ns for pattern in caches for p in out.glob(pattern)}
    assert len([p for p in kept if p.name == "model.safetensors"]) == 27
    assert finished("fpo", out) == before
    assert {p: p.stat().st_mtime_ns for pattern in caches for p in out.glob(pattern)} == kept


def test_a_dictionary_of_another_place_is_refused(tmp_path):
    done = run("fpo", "-p", "hook=blocks.0.hook_resid_pre", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "of the variance unexplained" in done.stderr
