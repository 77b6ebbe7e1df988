"""A study with networks that have hardly been trained: every method, once, and the same again."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from workbench.models.encoders import load_encoder
from workbench.papers.graphhop import figures, paper, presets, study, tables
from workbench.paths import notebook_folder
from workbench.plots.tables import table
from workbench.retrieval.graphs import ROOT, successors
from workbench.retrieval.metrics import scored
from workbench.retrievers import fuse


@pytest.fixture(scope="module")
def made():
    settings = paper.settings("tiny", train=24, dev=8, test=12, epochs=1)
    questions, kept = presets.questions(settings), {}

    def keep(name, key, compute):
        if (name, str(key)) not in kept:
            kept[name, str(key)] = compute()
        return kept[name, str(key)]

    encoder = load_encoder("lex", device="cpu")
    return study.run(questions, settings, keep, encoder), (questions, settings, keep, kept, encoder)


def test_every_method_has_a_graph_for_every_question(made):
    ran, (questions, settings, *_) = made
    oracles = {method + study.ORACLE for method in (*paper.UNTRAINED, *paper.TOWERS)}
    assert set(ran.predicted) == {*settings.methods, *oracles}
    for method, seeds in ran.predicted.items():
        assert [len(graphs) for graphs in seeds] == [12], method
        for q, edges, scores in zip(questions["test"], seeds[0], ran.scores[method][0],
                                    strict=True):  # fmt: skip
            assert scores == scored(q.edges, edges)
            after = successors(edges)
            if method in ("one_hop", *paper.UNTRAINED, *paper.SUPPORT, *paper.TOWERS, *oracles):
                assert {u for u, _ in edges} <= {ROOT}
            if method == "single_chain":
                assert all(len(facts) == 1 for facts in after.values())
            if method in oracles:  # a star of the right size
                assert len(edges) == len(q.nodes)


def test_what_was_kept_is_not_done_again(made):
    ran, (questions, settings, keep, kept, encoder) = made
    assert sorted(name for name, _ in kept) == [
        "backward-0", "forward-0", "forward_official_labels-0", "one_hop-0", "ssg-0",
        "two_towers-0",
    ]  # fmt: skip
    before = dict(kept)
    again = study.run(questions, settings, keep, encoder)
    assert again.predicted == ran.predicted
    assert kept == before
    few = study.run(questions, paper.settings("tiny", methods="bm25,dense"), keep)
    assert set(few.predicted) == {"bm25", "bm25_oracle_k"}
    assert kept == before


def test_what_was_searched_is_fused_again_to_the_same(made):
    ran, (_, settings, *_) = made
    networks = {n for m in settings.methods for n in paper.TRAINED.get(m, ())}
    assert set(ran.searched) == networks
    w, tau = map(float, re.findall(r"[\d.]+", ran.tuned["bgr"][0]))
    pairs = zip(ran.searched["forward"], ran.searched["backward"], strict=True)
    assert [fuse.soft(*pair, w, tau) for pair in pairs] == ran.predicted["bgr"][0]


def test_evidence_suffices_or_not(made):
    ran, _ = made
    assert ran.sufficient["gold"] == ran.sufficient["all"] == [[1.0] * 12]
    assert ran.sufficient["none"] == [[0.0] * 12]


def test_tables_and_figures_take_it(made):
    ran, _ = made
    names = [row["name"] for row in tables.metrics(ran)]
    assert len(names) == len(set(names))
    for method in paper.MAIN:
        assert {f"evidence_f1_{method}_single", f"evidence_f1_{method}_multichain",
                f"graph_em_{method}_multichain", f"structural_acc_{method}",
                f"oracle_program_em_{method}"} <= set(names)  # fmt: skip
    assert len(figures.by_structure(ran).data) == len(paper.MAIN) - 1
    assert len(figures.by_hops(ran).data) == len(paper.MAIN) - 1
    assert figures.example(ran, "bgr").layout.title.text.startswith("bgr: Which one")
    rows = tables.ablations(ran)
    assert [row["network"] for row in rows] == ["forward", "forward_official_labels"]
    f1 = {row["network"]: float(row["test F1"]) for row in rows}
    assert f1["forward"] == pytest.approx(100 * np.mean(ran.values("forward", "f1")[0]), abs=0.06)
    assert figures.example(ran, "bgr", "none").layout.title.text == "No test question is none"


def test_networks_trained_together_are_not_those_trained_apart(tmp_path, made):
    few = {split: rows[:4] for split, rows in made[1][0].items()}
    least = replace(made[1][1], methods=("forward", "backward"), d=16, batch=4)

    def searched(share, folder):
        settings = replace(least, share=share)
        return study.run(few, settings, lambda name, key, step: step(), None, folder).searched

    apart, together = (searched(share, tmp_path / "both") for share in (False, True))
    assert together == searched(True, tmp_path / "alone") != apart
    assert searched(False, tmp_path / "both") == apart


@pytest.mark.parametrize("program", [
    (), ({"function": "What"},), ({"function": "FilterConcept", "inputs": [], "dependencies": []},),
    ({"function": "Find", "inputs": [], "dependencies": []},),
], ids=["none", "bare", "unknown", "short"])  # fmt: skip
def test_a_program_of_ones_own_is_not_executed(made, program):
    test = made[1][0]["test"][:3]
    others = [replace(test[1], program=program, answer="")]
    assert study.sufficient([test[0], *others], {}) == {}
    assert study.sufficient([test[0], test[2]], {})["none"] == [[0.0, 0.0]]


def test_a_run_of_no_method_is_refused(made):
    settings = replace(made[1][1], methods=("forward_frozen",))
    with pytest.raises(ValueError, match=r"forward_frozen.*: none runs without"):
        study.run(made[1][0], settings, made[1][2])


@pytest.mark.parametrize("method", ["forward", "bm25", "backward"])
def test_the_notebook_compares_with_forward_where_there_are_others(made, method):
    notebook = json.loads((notebook_folder() / paper.NOTEBOOK).read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"]]
    (cell,) = [cell for cell in cells if "tables.beside(" in cell]
    ran, shown = replace(made[0], predicted={method: made[0].predicted[method]}), []
    exec(cell, {"gh_study": ran, "tables": tables, "table": table, "display": shown.append})
    assert len(shown) == 1
