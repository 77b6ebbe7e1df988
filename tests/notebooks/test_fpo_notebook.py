"""FPO as a user runs it: what the constraint holds, what it does not, and what is left on disk."""

import json

import pandas as pd
import pytest

from tests.helpers.paper_runs import finished

METHODS = ("fpo", "ln_dpo", "dpo", "simpo", "tdpo2")
FEW = ("methods=fpo,tdpo2", "alphas=50", "seeds=2", "held_out=100")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(folder, metrics, arguments) of a run of few trainings."""
    out = tmp_path_factory.mktemp("fpo") / "run"
    arguments = [word for parameter in FEW for word in ("-p", parameter)]
    metrics = finished("fpo", out, *arguments)
    return out, metrics, arguments


def holds_features_and_at_last_the_distribution(metrics):
    """The only claim of the small scale: D falls more than tenfold, KL falls (α 0 against 50)."""
    value = {name: m["value"] for name, m in metrics.items()}
    assert value["d_rejected_alpha0"] > 10 * value["d_rejected_alpha50"]
    assert value["kl_rejected_alpha50"] < value["kl_rejected_alpha0"]
    assert value["stream_drift_alpha50"] < value["stream_drift_alpha0"]


def saves_memory(metrics):
    # Two distributions over 131,072 words at half of 128 positions at least, against one tile.
    saved = metrics["peak_bytes_tdpo2"]["value"] - metrics["peak_bytes_fpo"]["value"]
    assert saved > 0.15 * metrics["peak_bytes_tdpo2"]["value"]


def intervals_hold_their_values(metrics):
    for metric in metrics.values():
        low, high = metric["ci95"] or (metric["value"],) * 2
        assert low <= metric["value"] <= high
        assert (metric["ci95"] is None) == (metric["unit"] is None)
    assert metrics["accuracy_fpo"]["unit"] == "seeds, pairs and prompts"
    assert metrics["sae_fvu"]["ci95"] is None


def test_the_constraint_holds_features_and_at_last_the_distribution(small):
    _, metrics, _ = small
    holds_features_and_at_last_the_distribution(metrics)
    saves_memory(metrics)
    assert metrics["accuracy_fpo"]["n"] == 200
    assert metrics["accuracy_tdpo2"]["published"] == 0.642
    intervals_hold_their_values(metrics)


def test_the_features_are_left_in_formats_that_others_read(small):
    out, *_ = small
    table = pd.read_parquet(out / "features.parquet")
    assert len(table) == 256
    pages = json.loads((out / "features.json").read_text(encoding="utf-8"))
    assert all(page["activations"] for page in pages)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert all(w in text for w in ("Features that tell chosen from rejected", "please", "kindly"))


@pytest.mark.slow
def test_a_second_run_takes_what_is_there(small):
    """The study's own test covers it without a kernel; here through the notebook."""
    out, before, arguments = small
    (out / "results.json").unlink()
    caches = ("cache/*", "policies/*/model.safetensors", "features/*/rows-*")
    times = {p: p.stat().st_mtime_ns for pattern in caches for p in out.glob(pattern)}
    assert len([p for p in times if p.name == "model.safetensors"]) == 6
    assert finished("fpo", out, *arguments) == before
    assert {p: p.stat().st_mtime_ns for pattern in caches for p in out.glob(pattern)} == times


@pytest.mark.slow
def test_the_full_tiny_preset(tmp_path):
    out = tmp_path / "run"
    metrics = finished("fpo", out)
    holds_features_and_at_last_the_distribution(metrics)
    assert metrics["kl_rejected_alpha50"]["ci95"][1] < metrics["kl_rejected_alpha0"]["ci95"][0]
    saves_memory(metrics)
    wanted = {f"{x}_{m}" for x in ("accuracy", "peak_bytes") for m in METHODS}
    assert wanted | {"step_ratio_fpo_vs_ln_dpo", "sae_fvu"} <= set(metrics)
    assert metrics["accuracy_fpo"]["n"] == 600
    assert len(list(out.glob("policies/*/model.safetensors"))) == 27
    intervals_hold_their_values(metrics)
