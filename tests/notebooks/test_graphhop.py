"""Graph-hop as a user runs it: one execution of the notebook."""

import pytest

from tests.helpers.paper_runs import finished
from workbench.papers.graphhop.paper import MAIN


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("-p train=48 -p dev=12 -p test=24 -p epochs=1", id="smaller"),
        pytest.param("", id="tiny", marks=pytest.mark.slow),
    ],
)
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("graphhop") / "run"
    return out, finished("graphhop", out, *request.param.split()), bool(request.param)


def test_its_figures_are_there(made):
    _, results, smaller = made
    for method in set(MAIN) - {"dense"}:
        for name in (f"evidence_f1_{method}_single", f"evidence_f1_{method}_multichain",
                     f"graph_em_{method}_multichain", f"structural_acc_{method}"):  # fmt: skip
            assert 0 <= results[name]["value"] <= 1
            assert results[name]["published"] is None
            assert results[name]["unit"] in ("questions", None)
    assert results["share_mcmh"]["published"] == 0.331
    assert results["oracle_program_em_gold"]["value"] == 1
    assert results["shortcut_ratio"]["value"] > 1
    assert results["topk_ratio"]["unit"] == "rounds"
    if not smaller:
        assert results["gain_graph_em_forward_one_hop_mcmh"]["value"] >= 0.2
        assert results["gain_evidence_f1_forward_one_hop_scmh"]["value"] >= 0.05


def test_the_report_shows_it(made):
    out, _, _ = made
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count("Plotly.newPlot") >= 11
    for text in ("Read it honestly", "no\nquestion answering", "paper: EM"):
        assert text in report or text.replace("\n", " ") in report
