"""Every metric by its name, its value beside a slow one, its interval; published columns."""

from dataclasses import replace

import numpy as np
import pytest

from workbench.papers.reasonchainqa import answer_tables, answering, paper, tables
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.chains import chain_of
from workbench.retrieval.graphs import depth
from workbench.worlds.chains import questions

RANKED = (*paper.ONE_QUERY, "two_towers", "one_hop")
VARYING = ("chain_em_", "set_em_", "evidence_f1_", "full_chain_recall_", "answer_em_", "prefix_",
           "oracle_program_em_", "gain_", "held_out_")  # fmt: skip


@pytest.fixture(scope="module")
def rows(made):
    ran = made.study
    all_rows = [
        *tables.metrics(ran), *tables.data_metrics(ran.test),
        *answer_tables.answer_metrics(ran, made.answers),
        *answer_tables.sufficient(ran, made.solved),
    ]  # fmt: skip
    assert len({row["name"] for row in all_rows}) == len(all_rows)
    return {row["name"]: row for row in all_rows}


def names():
    for method in paper.METHODS:
        yield f"evidence_f1_{method}"
        yield f"chain_f1_{method}"
        yield f"prefix_{method}"
        yield f"oracle_program_em_{method}"
        yield from (f"{em}_{method}_{n}" for em in ("chain_em", "set_em") for n in range(1, 5))
    yield from (f"full_chain_recall_at_{k}_{method}" for k in (1, 5, 10, 20) for method in RANKED)
    for kind in ("no", "gold", "retrieved", "all"):
        yield f"answer_em_{kind}_evidence"
    yield from (f"answer_em_gold_shuffled{end}" for end in ("", "_open", "_yes_no"))
    yield from ("answer_em_majority", "answer_em_gold_set", "faithfulness_drop")
    yield from (f"oracle_program_em_{evidence}" for evidence in ("none", "all", "gold"))
    for method in paper.NETWORKS:
        yield from (f"held_out_{what}_{method}" for what in ("chain_em", "cost"))
    for end in ("", "_deep", "_1", "_4"):
        yield f"gain_chain_em_forward_one_hop{end}"
    yield from ("relations", "reasoning_types", "deepest")


def test_every_metric_is_there_with_an_interval_where_something_varies(rows):
    assert {*names()} <= {*rows}
    for name, row in rows.items():
        if name.startswith(VARYING):
            assert row["unit"] in (None, "questions", "seeds and questions"), name
            assert row["published"] is None
            # A share of 0 or 1 has an interval, too: other questions might have been otherwise.
            low, high = row["ci95"]
            assert low <= row["value"] <= high, name
        if name.startswith("gain_"):
            assert -1 <= row["value"] <= 1


def test_values_are_means_over_questions_and_seeds(made, rows):
    test, ran = made.study.test, made.study
    for method, seeds in ran.predicted.items():
        right, facts, f1 = [], [], []
        for chains in seeds:
            for q, chain in zip(test, chains, strict=True):
                gold = chain_of(q)
                at = {fact: i for i, fact in enumerate((-1, *chain))}
                in_order = {*chain} == {*gold} and all(at[u] < at[v] for u, v in q.edges)
                right.append(in_order)
                facts.append({*chain} == {*gold})
                f1.append(2 * len({*chain} & {*gold}) / (len(chain) + len(gold)))
        at = [depth(q.edges) for q in test] * len(seeds)
        assert rows[f"chain_em_{method}"]["value"] == pytest.approx(np.mean(right))
        assert rows[f"set_em_{method}"]["value"] == pytest.approx(np.mean(facts))
        assert rows[f"evidence_f1_{method}"]["value"] == pytest.approx(np.mean(f1))
        assert rows[f"evidence_f1_{method}"]["n"] == len(test) * len(seeds)
        for n in range(1, 5):
            for name, values in (("chain_em", right), ("set_em", facts)):
                of_depth = [value for value, deep in zip(values, at, strict=True) if deep == n]
                row = rows[f"{name}_{method}_{n}"]
                assert row["value"] == pytest.approx(np.mean(of_depth))
                assert row["n"] == len(of_depth)


def test_all_facts_of_a_chain_are_among_the_first_k(made, rows):
    for method in RANKED:
        for k in (1, 5, 10, 20):
            seeds = made.study.rankings[method]
            whole = [{*q.nodes} <= {*ranking[:k]} for seed in seeds
                     for q, ranking in zip(made.study.test, seed, strict=True)]  # fmt: skip
            row = rows[f"full_chain_recall_at_{k}_{method}"]
            assert row["value"] == pytest.approx(np.mean(whole))
        assert row["value"] == 1  # a pool of 16 has no more than 20
    shown = {row["method"]: row for row in tables.at_k(made.study)}
    assert {*shown} == {*RANKED}
    assert [*shown["bm25"]] == ["method", "k = 1", "k = 5", "k = 10", "k = 20"]
    assert shown["bm25"]["k = 20"].startswith("100.0 [")


def test_answers_are_right_where_the_reply_is_the_answer(made, rows):
    test = made.study.test
    for kind in answering.kinds(made.answers):
        for end, of in answering.KINDS.items():
            pairs = zip(test, made.answers[kind][0], strict=True)
            right = [answer_exact(q.answer, reply) for q, reply in pairs if of(q)]
            assert rows[f"answer_em_{kind}{end}"]["value"] == pytest.approx(np.mean(right))
            assert rows[f"answer_em_{kind}{end}"]["n"] == len(right)
    assert 0 < rows["answer_em_majority_yes_no"]["value"] < 1
    assert not [name for name in rows if "without_" in name]
    for name, seeds in made.solved.items():
        assert rows[f"oracle_program_em_{name}"]["value"] == pytest.approx(np.mean(seeds))


def test_costs_of_other_words_are_paired_with_the_same_questions(made, rows):
    names = [*paper.ONE_QUERY, *paper.NETWORKS]
    for method in names:
        pairs = zip(made.study.scores[method], made.study.unseen[method], strict=True)
        costs = [known.chain_exact - new.chain_exact
                 for pair in pairs for known, new in zip(*pair, strict=False)]  # fmt: skip
        row = rows[f"held_out_cost_{method}"]
        assert (row["value"], row["n"]) == (pytest.approx(np.mean(costs)), len(costs))
    assert [row["method"] for row in tables.unseen(made.study)] == names


@pytest.fixture
def hand(by_hand):
    """Two methods, one with two seeds, on chains of one, two and two facts."""
    test, ran = by_hand("q", (0,), (1, 0), (2, 3)), None
    ran = Study(paper.settings("tiny"), "", "cpu", test, by_hand("q", (0,), (1, 0)))
    ran.add("one_hop", [(0,), (0, 1), (5,)], "τ 0.1", unseen=[(0,), ()])
    ran.add("forward", [(0, 1), (1, 0), (2, 3)], "τ 0.2", unseen=[(0,), (1,)])
    ran.add("forward", [(0,), (1, 0), (2, 4)], "τ 0.3", unseen=[(), (1, 0)])
    return ran


def test_gains_are_on_the_same_questions_and_those_of_one_seed_stand_beside_each(hand):
    value = {row["name"]: row["value"] for row in tables.metrics(hand)}
    assert value["chain_em_forward"] == pytest.approx(4 / 6)
    assert value["chain_em_one_hop"] == pytest.approx(1 / 3)
    assert value["gain_chain_em_forward_one_hop"] == pytest.approx(1 / 3)
    assert value["gain_chain_em_forward_one_hop_deep"] == pytest.approx(3 / 4)
    assert value["gain_chain_em_forward_one_hop_1"] == -0.5
    assert value["gain_set_em_forward_one_hop_2"] == pytest.approx(3 / 4 - 1 / 2)
    assert value["held_out_chain_em_forward"] == 0.5
    assert value["held_out_cost_forward"] == pytest.approx((-1 + 1 + 1 + 0) / 4)
    assert value["held_out_cost_one_hop"] == 0
    assert not [name for name in value if name.startswith(("gain_chain_em_greedy", "full_"))]
    (row,) = tables.gains(tables.metrics(hand))
    assert row["methods"] == "forward less one-hop"
    assert [*row] == ["methods", "all", "2 and more", "1", "2"]
    assert row["1"].startswith("-50.0 [")


def test_published_columns_are_blank_without_a_file_and_filled_with_one(hand):
    (one_hop, forward) = tables.extraction(hand, {})
    assert one_hop["paper: F1"] is one_hop["paper: chain EM"] is None
    assert forward["chain EM"] == "66.7"
    assert forward["prefix"] == f"{100 * np.mean([1, 1, 1, 1, 1, 0.5]):.1f}"
    assert forward["chosen on dev"] == "τ 0.2; τ 0.3"
    assert (one_hop["order τ"], forward["order τ"]) == ("0.00", "1.00")
    assert not [n for row in tables.by(hand, {}, "T4") for n in row if n.startswith("paper")]
    own = {("T2", "forward", "F1"): 66.0, ("T4", "one_hop", "2"): 5.0}
    assert tables.extraction(hand, own)[1]["paper: F1"] == 66.0
    first, second = tables.by(hand, own, "T4")
    assert [*first] == [*second] == ["method", "1", "2", "paper: 2"]
    assert (first["paper: 2"], second["paper: 2"]) == (5.0, None)
    assert first["1"] == "100.0 –"  # of one question nothing varies
    assert [*tables.by(hand, {}, "T5")[0]] == ["method", "unknown"]
    answers = {"no_evidence": [["Bel", "", ""]], "gold_evidence": [["Bel", "Bel", "Mara"]]}
    none, gold = answer_tables.read(hand, answers, {("T3", "gold evidence", "all"): 61.0})
    assert (none["evidence"], none["paper: all"], gold["paper: all"]) == ("no evidence", None, 61.0)
    assert none["all"].startswith("33.3 [")
    assert [*gold] == ["evidence", "all", "open", "paper: all"]


def test_steps_and_stops_are_of_all_seeds(hand):
    of = {row["method"]: row for row in tables.steps(hand)}
    assert [of["forward"][f"fact {j}"].split()[0] for j in (1, 2)] == ["100", "75"]
    assert [of["forward"][f"fact {j}"].split()[-1] for j in (1, 2)] == ["6", "4"]
    assert of["one_hop"]["fact 2"] is None
    assert tables.stops(hand, "forward") == [
        {"length": 1, "n": 2, "short": "0 %", "right": "50 %", "long": "50 %", "excess": 0.5},
        {"length": 2, "n": 4, "short": "0 %", "right": "100 %", "long": "0 %", "excess": 0},
    ]


def test_data_are_counted(made):
    asked = questions("test", 300, worlds=4, pool=10)
    row = {row["name"]: row for row in tables.data_metrics(asked)}
    assert (row["reasoning_types"]["value"], row["deepest"]["value"]) == (12, 7)
    assert 60 < row["relations"]["value"] <= row["relations"]["published"] == 78
    assert row["relations"]["ci95"] is None
    of_type = {
        kind: tables.relations([q for q in asked if q.program[-1]["function"] == kind])
        for kind in paper.TYPES
    }
    assert of_type["QueryAttr"] > {"height"}
    assert all(" " not in name and name[0].islower() for name in set().union(*of_type.values()))
    train, dev, test, held_out = tables.statistics(made.questions)
    assert [train["split"], dev["questions"], test["facts each"]] == ["train", 12, "16"]
    assert held_out["questions"] == 10
    shares = [float(test[f"depth {n}"].rstrip("%")) for n in range(1, 5)]
    assert sum(shares) == pytest.approx(100, abs=2)
    assert test["What"] == "8%"


def test_what_leads_is_of_the_claim(made, rows):
    shown = {row["name"] for row in tables.shown([*rows.values()])}
    assert {"chain_em_forward", "gain_chain_em_forward_one_hop", "faithfulness_drop",
            "answer_em_gold_evidence", "oracle_program_em_gold", "relations"} <= shown  # fmt: skip
    assert not [name for name in shown if "_oracle_" in name]
    given = tables.parameters(made.study)
    assert (given["encoder"], given["test"], "seed" in given) == ("lex", 24, False)
    assert given["tuned"] == made.study.tuned


def test_programs_of_files_without_inputs_are_counted_by_what_they_have(by_hand):
    (asked,) = by_hand("q", (0,))
    asked = replace(asked, program=({"function": "Relate", "inputs": []}, {"function": "What"}))
    assert tables.relations([asked]) == set()
    assert [*tables.types(Study(paper.settings("tiny"), "", "cpu", [asked], []))] == ["What"]
