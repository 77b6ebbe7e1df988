"""PAS as a user runs it: what the published score hides is there, and a killed run goes on."""

import pytest

from tests.helpers.paper_runs import finished, run

WANTED = (
    "score_pas_validated", "score_pas_oracle", "score_fewshot", "score_always_neutral",
    "score_dpo", "seconds_per_subject_pas", "seconds_per_subject_dpo", "skill",
    "trait_correlation",
)  # fmt: skip
SMALL = "-p subjects=3 -p seeds=1 -p dpo_subjects=1 -p folds=1 -p alphas=0,1".split()


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    out = tmp_path_factory.mktemp("pas") / "run"
    return finished("pas", out), out


def test_what_was_asked_for_is_recorded_with_intervals_over_three_seeds(full):
    metrics, out = full
    assert set(WANTED) <= set(metrics)
    for name in WANTED:
        low, high = metrics[name]["ci95"]
        assert low <= metrics[name]["value"] <= high
    assert metrics["score_pas_oracle"]["published"] == 4.41
    assert metrics["score_pas_validated"]["n"] == 30
    assert (out / "report.html").exists()


def test_choosing_alpha_on_the_test_invents_a_gain(full):
    metrics, _ = full
    gain = metrics["selection_gain"]
    assert gain["ci95"][0] > 0.05
    assert metrics["score_pas_oracle"]["value"] == pytest.approx(
        metrics["score_pas_validated"]["value"] - gain["value"]
    )


def test_dpo_takes_more_than_five_times_as_long(full):
    metrics, _ = full
    slow, fast = (metrics[f"seconds_per_subject_{m}"]["value"] for m in ("dpo", "pas"))
    assert slow > 5 * fast


def test_a_second_run_takes_what_is_there_and_bad_input_stops_before_it(tmp_path):
    out = tmp_path / "run"
    before = finished("pas", out, *SMALL)
    kept = {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()}
    (out / "results.json").unlink()
    after = finished("pas", out, *SMALL)
    assert {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()} == kept
    # Extraction is done anew, and counts in PAS's seconds; all else was kept.
    for found in (before, after):
        del found["seconds_per_subject_pas"]
    assert before == after


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("alphas=-1", "negative"),
        ("papi_path=nowhere", "no file"),
    ],
)
def test_bad_input_is_named(tmp_path, given, said):
    done = run("pas", "-p", given, "--out", tmp_path / "run")
    assert done.returncode != 0
    assert said in done.stderr


def test_the_paper_preset_asks_for_the_released_files(tmp_path):
    done = run("pas", "--preset", "paper", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "papi_path" in done.stderr
    assert not (tmp_path / "run").exists()
