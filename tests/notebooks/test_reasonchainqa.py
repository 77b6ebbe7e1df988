"""ReasonChainQA as a user runs it: one execution of the notebook."""

import pytest

from tests.helpers.paper_runs import finished
from workbench.papers.reasonchainqa.paper import NETWORKS, ONE_QUERY, READ_ON

SHOWN = {*ONE_QUERY, *READ_ON, *NETWORKS, "two_towers", "ssg"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("-p train=40 -p dev=8 -p test=16 -p epochs=1", id="smaller"),
        pytest.param("", id="tiny", marks=pytest.mark.slow),
    ],
)
def made(request, tmp_path_factory):
    out = tmp_path_factory.mktemp("reasonchainqa") / "run"
    return out, finished("reasonchainqa", out, *request.param.split()), bool(request.param)


def test_its_figures_are_there(made):
    _, results, smaller = made
    for method in SHOWN:
        for name in (f"evidence_f1_{method}", *(f"chain_em_{method}_{n}" for n in range(1, 5))):
            assert 0 <= results[name]["value"] <= 1
            assert results[name]["published"] is None
            assert results[name]["unit"] in ("questions", None)
    for kind in ("no_evidence", "all_evidence", "retrieved_evidence", "gold_shuffled"):
        assert 0 <= results[f"answer_em_{kind}"]["value"] <= 1
    assert (results["relations"]["published"], results["reasoning_types"]["published"]) == (78, 12)
    assert results["oracle_program_em_gold"]["value"] == 1
    assert results["oracle_program_em_none"]["value"] == 0
    assert results["bm25_incremental_ratio"]["value"] > 1
    assert results["bm25_incremental_ratio"]["unit"] == "rounds"
    assert -1 <= results["faithfulness_drop"]["value"] <= 1
    if not smaller:
        assert results["gain_chain_em_forward_one_hop_deep"]["value"] >= 0.2
        assert results["set_em_one_hop_3"]["value"] <= 0.1
        assert results["set_em_one_hop_4"]["value"] <= 0.1


def test_the_report_shows_it(made):
    out, _, _ = made
    report = (out / "report.html").read_text(encoding="utf-8")
    assert report.count("Plotly.newPlot") >= 10
    for text in ("Read it honestly", "no question answering from end to end", "paper: chain EM"):
        assert text in report
