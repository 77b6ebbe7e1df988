"""Neural Comprehension as a user runs it: one execution of the notebook."""

import pytest

from tests.helpers.paper_runs import finished
from workbench.papers.neural_comprehension.paper import TASKS

FEWER = "-p lengths=2,6,40 -p rows=12 -p observed=2 -p digits=2,6 -p stories=12 -p flips=3,8"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(f"{FEWER} -p repeats=2", id="smaller"),
        pytest.param("", id="tiny", marks=pytest.mark.slow),
    ],
)
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("nc") / "run"
    return out, finished("neural_comprehension", out, *request.param.split())


def test_the_phenomena_are_there(made):
    _, results = made
    value = {name: m["value"] for name, m in results.items()}
    for task in TASKS:
        gated = {k: v for k, v in value.items() if k.startswith(f"acc_gated_{task}_")}
        assert set(gated.values()) == {1.0}
        assert f"acc_gated_{task}_40" in gated
        if task not in ("parity", "last_letter"):
            assert value[f"acc_ungated_{task}_40"] < 0.2
        assert value[f"exact_limit_{task}_float32"] >= 81
        assert value[f"params_{task}"] <= results[f"params_{task}"]["published"]
    # What is gated is what was read, and what a calculator gives.
    for digits in (2, 6):
        read = value[f"transcription_{digits}"]
        assert value[f"reading_gated_{digits}"] == value[f"reading_program_{digits}"] == read
    assert value["transcription_2"] > 0.6 > value["reading_ungated_2"]
    assert value["transcription_6"] < 0.3
    # Faster fit, no longer reading.
    assert value["coins_gated_early_3"] >= value["coins_ungated_early_3"]
    assert value["coins_transcription_late_3"] > 0.8 > 0.2 > value["coins_transcription_late_8"]
    assert value["gate_false_firings"] == value["observed_changes"] == 0
    assert value["gate_ratio"] > 0


def test_the_report_shows_it(made):
    out, results = made
    assert results["acc_gated_addition_40"]["unit"] == "inputs"
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count("Plotly.newPlot") >= 10
    assert "by construction" in report
