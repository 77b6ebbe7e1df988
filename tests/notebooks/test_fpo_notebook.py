"""FPO as a user runs it: what the constraint holds, what it does not, and what is left on disk."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

METHODS = ("fpo", "ln_dpo", "dpo", "simpo", "tdpo2")
SMALL = (
    "-p seeds=1 -p steps=2 -p pairs=32 -p held_out=24 -p methods=fpo,tdpo2 -p alphas=5"
).split()  # fmt: skip


def workbench(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "workbench.cli", "run", "fpo", *map(str, arguments)],
        capture_output=True, text=True, timeout=1200, check=False,
        env={**os.environ, "TQDM_DISABLE": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("fpo") / "run"
    done = workbench("--out", out)
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {m["name"]: m for m in results["metrics"]}, out


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


def test_a_second_run_takes_what_is_there(tmp_path):
    out = tmp_path / "run"
    first = workbench(*SMALL, "--out", out)
    assert first.returncode == 0, first.stderr[-3000:]
    kept = {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()}
    trained = {p: p.stat().st_mtime_ns for p in (out / "policies").rglob("model.safetensors")}
    assert len(trained) == 3
    before = json.loads((out / "results.json").read_text(encoding="utf-8"))
    (out / "results.json").unlink()
    again = workbench(*SMALL, "--out", out)
    assert again.returncode == 0, again.stderr[-3000:]
    assert {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()} == kept
    assert {p: p.stat().st_mtime_ns for p in trained} == trained
    after = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert before["metrics"] == after["metrics"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        # Another place in the model than the dictionary was trained for.
        ("hook=blocks.0.hook_resid_pre", "of the variance unexplained"),
        ("k=300", "k=300 of 256"),
    ],
)
def test_bad_input_is_named(tmp_path, given, said):
    done = workbench("-p", given, "--out", tmp_path / "run")
    assert done.returncode != 0
    assert said in done.stderr
