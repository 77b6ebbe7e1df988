"""Tables of a study made by hand: means, gains, errors, and published columns."""

import pytest

from workbench.papers.graphhop import paper, tables
from workbench.papers.graphhop.study import Study
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.metrics import scored

CHAIN, STAR = ((ROOT, 0), (0, 1)), ((ROOT, 0), (ROOT, 1))
TREE = ((ROOT, 0), (ROOT, 1), (0, 2), (1, 3))
TEST = [
    Evidence(f"q{i}", f"Which {i}?", ("a", "b", "c", "d", "e"), edges)
    for i, edges in enumerate((CHAIN, STAR, TREE))
]
PREDICTED = {
    "one_hop": [[[(ROOT, 0)], [*STAR], [(ROOT, 0), (ROOT, 1)]]],
    "forward": [[[*CHAIN], [(ROOT, 0)], [*TREE]], [[*CHAIN], [*STAR], [(ROOT, 4)]]],
}


@pytest.fixture(scope="module")
def study():
    scores = {
        method: [[scored(q.edges, edges) for q, edges in zip(TEST, graphs, strict=True)]
                 for graphs in seeds]
        for method, seeds in PREDICTED.items()
    }  # fmt: skip
    return Study(paper.settings("tiny"), "", "cpu", TEST, PREDICTED, scores, {}, {})


def test_means_are_over_questions_and_seeds(study):
    value = {row["name"]: row["value"] for row in tables.metrics(study)}
    assert value["share_scmh"] == pytest.approx(1 / 3)
    assert value["evidence_f1_one_hop_single"] == pytest.approx(2 / 3)
    assert value["evidence_f1_one_hop_multichain"] == pytest.approx((1 + 2 / 3) / 2)
    assert value["graph_em_one_hop_multichain"] == 0.5
    assert value["graph_em_forward_multichain"] == pytest.approx(2 / 4)
    assert value["graph_em_forward_mcmh"] == 0.5
    assert value["structural_acc_forward"] == pytest.approx(4 / 6)
    assert value["gain_graph_em_forward_one_hop_mcmh"] == 0.5
    assert value["gain_evidence_f1_forward_one_hop_scmh"] == pytest.approx(1 / 3)
    assert "evidence_f1_one_hop_scsh" not in value


def test_published_columns_are_blank_without_a_file_and_filled_with_one(study):
    for rows in (tables.retrieval(study, {}), tables.by(study, {}, "T3"),
                 tables.by(study, {}, "T4")):  # fmt: skip
        paper_values = [v for row in rows for name, v in row.items() if name.startswith("paper:")]
        assert paper_values
        assert set(paper_values) == {None}
    own = {("T2", "forward", "F1"): 66.0, ("T3", "one_hop", "MCMH"): 5.0}
    (_, forward), (one_hop, _) = tables.retrieval(study, own), tables.by(study, own, "T3")
    assert forward["paper: F1"] == 66.0
    assert forward["paper: EM"] is None
    assert one_hop["paper: MCMH"] == 5.0
    assert "SCSH" not in one_hop


@pytest.mark.parametrize(("gold", "predicted", "kind"), [
    (TREE, TREE, "right"), (TREE, [], "first hop missed"), (TREE, TREE[1:], "first hop missed"),
    (TREE, TREE[:3], "stopped early"), (TREE, [*TREE[:3], (1, 4)], "wrong branch"),
    (TREE, [*TREE, (3, 4)], "too much"), (CHAIN, [*CHAIN, (ROOT, 1)], "wrong edges"),
])  # fmt: skip
def test_how_a_graph_is_wrong(gold, predicted, kind):
    assert tables.error(gold, predicted) == kind


def test_errors_add_up(study):
    for row in tables.errors(study):
        assert sum(row[kind] for kind in tables.ERRORS) == pytest.approx(100)
    assert tables.errors(study)[0]["right"] == pytest.approx(100 / 3)


def test_methods_beside_each_other(study):
    (row,) = tables.beside(study, "one_hop")
    assert row["less one_hop"] == pytest.approx(4 / 6 - 1 / 3)
    assert 0 < row["p"] <= 1
