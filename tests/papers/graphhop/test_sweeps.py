"""Sweeps: the same questions in harder pools, searched by the study's networks as tuned on dev."""

from itertools import pairwise

import pytest

from workbench.papers.graphhop import paper, presets, study, sweeps
from workbench.retrieval.graphs import ROOT, Evidence, depth
from workbench.retrievers import checkpoint, fuse
from workbench.retrievers.search import retrieved
from workbench.worlds.facts import World

CHAIN, STAR = ((ROOT, 0), (0, 1)), ((ROOT, 0), (ROOT, 1))


def test_the_same_questions_stand_among_more_and_more_of_their_relations():
    asked = sweeps.questions(paper.settings("tiny"))
    assert [*asked] == [f"decoys_{n}" for n in range(5)]
    relation = {fact.text: fact.relation for i in range(2) for fact in World("test", i).facts}
    alike, first = [], asked["decoys_0"]
    for questions in asked.values():
        alike.append(0)
        for q, before in zip(questions, first, strict=True):
            gold = {q.facts[i] for i in q.nodes}
            assert (q.question, gold) == (before.question, {before.facts[i] for i in before.nodes})
            assert len({*q.facts}) == 25
            assert depth(q.edges) > 1
            alike[-1] += sum(relation[f] in map(relation.get, gold) for f in q.facts)
    assert all(b - a > 20 for a, b in pairwise(alike))


def test_first_networks_search_them_with_what_was_chosen_on_dev(tmp_path):
    methods = "one_hop,forward,bgr,forward_official_labels"
    settings = paper.settings("tiny", train=24, dev=8, test=6, epochs=1, seeds=2, methods=methods)
    questions, calls = presets.questions(settings), {}

    def keep(name, key, compute):
        calls[name] = "further" in key
        return compute()

    asked, folder = sweeps.questions(settings, 6), tmp_path / "networks"
    ran = study.run(questions | asked, settings, keep, None, folder)
    searched = [name for name, further in calls.items() if further]
    assert (searched, len(calls)) == (["one_hop-0", "forward-0"], 8)
    networks = {
        name: checkpoint.load(next(folder.glob(f"{name}-0-*")))[0]
        for name in ("one_hop", "forward")
    }
    for point, of in asked.items():
        there = {name: retrieved(network, of) for name, network in networks.items()}
        for method in ("one_hop", "forward"):
            at = float(ran.tuned[method][0].removeprefix("τ "))
            assert ran.swept[point][method] == [fuse.soft(e, [], 1.0, at) for e in there[method]]
    # With networks at hand, further questions change nothing else, nor do they train anew.
    before = sorted(folder.iterdir())
    plain = study.run(questions, ran.settings, lambda name, key, compute: compute(), None, folder)
    assert (plain.predicted, plain.tuned, plain.swept) == (ran.predicted, ran.tuned, {})
    assert sorted(folder.iterdir()) == before
    assert not sweeps.metrics(plain, {})


def test_figures_are_of_exactly_the_gold_facts_and_paired():
    of = [Evidence(f"q{i}", "?", ("a", "b", "c"), edges) for i, edges in enumerate((CHAIN, STAR))]
    swept = {
        "decoys_0": {"one_hop": [[*STAR], [(ROOT, 0)]], "forward": [[*CHAIN], [*STAR]]},
        "decoys_3": {"one_hop": [[*STAR, (0, 2)], [(ROOT, 0)]], "forward": [[(ROOT, 2)], [*CHAIN]]},
    }
    predicted = {"bm25": [[[], []]], "forward": [[[*CHAIN], []], [[], []]]}
    ran = study.Study(paper.settings("tiny"), "", "cpu", of, predicted, {}, {}, {}, swept=swept)
    rows = sweeps.metrics(ran, dict.fromkeys(swept, of))
    value = {row["name"].removeprefix("sweep_"): row["value"] for row in rows}
    assert value == pytest.approx({
        "decoys_0_one_hop": 1 / 2, "decoys_0_forward": 1,
        "gain_sweep_decoys_0_forward_one_hop": 1 / 2,
        "decoys_f1_0_one_hop": 5 / 6, "decoys_f1_0_forward": 1,
        "gain_sweep_decoys_f1_0_forward_one_hop": 1 / 6, "decoys_3_one_hop": 0,
        "decoys_3_forward": 1 / 2, "gain_sweep_decoys_3_forward_one_hop": 1 / 2,
        "decoys_f1_3_one_hop": 11 / 15, "decoys_f1_3_forward": 1 / 2,
        "gain_sweep_decoys_f1_3_forward_one_hop": 1 / 2 - 11 / 15, "hops_1_forward": 0,
        "hops_f1_1_forward": 0, "hops_2_forward": 1, "hops_f1_2_forward": 1,
    })  # fmt: skip
    first, _, hop, _ = sweeps.table_rows(rows)
    assert (first["sweep"], first["at"], first["n"], hop["at"]) == ("decoys", 0, 2, 1)
    assert first["one hop"][:4] == first["forward less one hop"][:4] == "50 ["
    lines = sweeps.figure(rows).data
    assert {line.name: (line.x, line.y) for line in lines} == {
        "one_hop": (("0", "3"), pytest.approx((5 / 6, 11 / 15))), "forward": (("0", "3"), (1, 0.5)),
    }  # fmt: skip
    assert [line.x for line in sweeps.figure(rows, "hops").data] == [("1", "2")]
