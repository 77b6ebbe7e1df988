"""PAS as a user runs it: what the published score hides is there, and a killed run goes on."""

import pytest

from tests.helpers.paper_runs import finished
from workbench.errors import RunError
from workbench.runs.execute import run

WANTED = (
    "score_pas_validated", "score_pas_oracle", "score_fewshot", "score_always_neutral",
    "score_dpo", "seconds_per_subject_pas", "seconds_per_subject_dpo", "skill",
    "trait_correlation",
)  # fmt: skip


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            ("-p seeds=2 -p subjects=5 -p dpo_subjects=1 -p folds=2 -p alphas=0,1,2,8", 10),
            id="smaller",
        ),
        pytest.param(("", 30), id="tiny", marks=pytest.mark.slow),
    ],
)
def made(request, tmp_path_factory):
    """(metrics, folder, arguments, subjects) of a run."""
    given, subjects = request.param
    out = tmp_path_factory.mktemp("pas") / "run"
    return finished("pas", out, *given.split()), out, given.split(), subjects


def test_what_was_asked_for_is_recorded_with_intervals_over_the_seeds(made):
    metrics, out, _, subjects = made
    assert set(WANTED) <= set(metrics)
    for name in WANTED:
        low, high = metrics[name]["ci95"] or (metrics[name]["value"],) * 2
        assert low <= metrics[name]["value"] <= high
    published = metrics["score_fewshot_pas_oracle"]
    assert published["published"] == 4.41
    assert "invented people" in published["published_setting"]
    assert metrics["score_pas_oracle"]["published"] is None
    assert metrics["score_pas_validated"]["n"] == subjects
    assert metrics["score_pas_validated"]["unit"] == "seeds and subjects"
    assert (out / "report.html").read_text().count("Plotly.newPlot") >= 14


def test_choosing_alpha_on_the_test_invents_a_gain(made):
    metrics, *_ = made
    gain = metrics["selection_gain"]
    assert gain["ci95"][0] > 0.05
    assert metrics["score_pas_oracle"]["value"] == pytest.approx(
        metrics["score_pas_validated"]["value"] - gain["value"]
    )


def test_dpo_takes_more_than_five_times_as_long(made):
    metrics, *_ = made
    slow, fast = (metrics[f"seconds_per_subject_{m}"]["value"] for m in ("dpo", "pas"))
    assert slow > 5 * fast


def test_a_second_run_takes_what_is_there(made):
    metrics, out, given, _ = made
    kept = {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()}
    (out / "results.json").unlink()
    again = finished("pas", out, *given)
    assert {p: p.stat().st_mtime_ns for p in (out / "cache").iterdir()} == kept
    # Extraction is done anew, and counts in PAS's seconds; all else was kept.
    assert metrics.keys() == again.keys()
    for name in metrics.keys() - {"seconds_per_subject_pas"}:
        assert metrics[name] == again[name]


@pytest.mark.parametrize(
    ("given", "preset", "message"),
    [
        ({"alphas": "-1"}, "tiny", "no finite number from 0 on"),
        ({"papi_path": "nowhere"}, "tiny", "no file"),
        ({}, "paper", "papi_path"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(tmp_path, given, preset, message):
    with pytest.raises(RunError, match=message):
        run("pas", given, preset=preset, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_small_begins_with_what_an_earlier_run_finished(tmp_path, monkeypatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    given = "--preset small -p model_id=survey -p modes=pas -p subjects=2 -p seeds=1 -p alphas=0,1"
    first = finished("pas", tmp_path / "first", *given.split())
    assert "score_pas_validated" in first
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.json")}
    assert len(kept) == 2
    again = finished("pas", tmp_path / "again", *given.split())
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.json")} == kept
    assert again["score_pas_validated"] == first["score_pas_validated"]
