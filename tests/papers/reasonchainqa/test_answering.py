"""Kinds of evidence, what a reader is asked and when it is right, what a fact is worth."""

from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest

from workbench.papers.reasonchainqa import answer_tables, answering, paper
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.graphs import ROOT

CHAINS = ((0, 1), (2,), (1, 0, 3))


@pytest.fixture
def three(by_hand):
    """Three questions, the second without an answer, the third yes or no; chains of two seeds."""
    first, second, third = by_hand("q", *CHAINS)
    test = [first, replace(second, answer=""), replace(third, answer="yes", answer_kind="bool")]
    predicted = {"bm25": [[(5,), (5,), (5, 4)]], "one_hop": [[(4,)] * 3, [(3,)] * 3]}
    return Study(paper.settings("tiny", seeds=2), "lex", "cpu", test, [], predicted)


def test_evidence_is_of_the_questions_that_are_asked_and_of_the_seed(three):
    asked = answering.asked_of(three)
    assert asked == [0, 2]
    first, second = (answering.evidence_of(three, asked, number) for number in range(2))
    stars = [[(ROOT, place) for place in range(6)]] * 2
    assert first["no_evidence"] == [[], []]
    assert first["all_evidence"] == stars
    assert first["gold_evidence"] == [[(ROOT, 0), (0, 1)], [(ROOT, 1), (1, 0), (0, 3)]]
    assert first["gold_set"] == [stars[0][:2], [(ROOT, 0), (ROOT, 1), (ROOT, 3)]]
    assert first["bm25"] == second["bm25"] == [[(ROOT, 5)], [(ROOT, 5), (5, 4)]]
    assert first["one_hop"] == first["retrieved_evidence"] == [[(ROOT, 4)]] * 2
    assert second["one_hop"] == second["retrieved_evidence"] == [[(ROOT, 3)]] * 2
    assert first["gold_shuffled"][0] == [(ROOT, 1), (1, 0)]
    assert answering.line(()) == []


@pytest.mark.parametrize("best", [*answering.READ])
def test_what_was_retrieved_is_of_the_best_method_that_was_run(three, best):
    methods = answering.READ[: answering.READ.index(best) + 1]
    three.predicted = {m: [[(i,)] * 3] for i, m in reversed([*enumerate(methods)]) if i < 6}
    three.predicted |= {best: [[(0, 1, 2)] * 3]}
    evidence = answering.evidence_of(three, [0])
    assert evidence["retrieved_evidence"] == evidence[best] == [[(ROOT, 0), (0, 1), (1, 2)]]
    three.predicted = {"ssg": [[(0,)] * 3]}
    assert "retrieved_evidence" not in answering.evidence_of(three, [0])


def shuffled(chain, seed):
    return answering.shuffled(chain, answering.line(chain), seed)


def test_a_chain_is_shuffled_to_any_of_its_other_orders():
    orders = Counter(shuffled((4, 0, 2), f"q{i}") for i in range(400))
    assert {*orders} == {*permutations((4, 0, 2))} - {(4, 0, 2)}
    assert min(orders.values()) > 40
    assert shuffled((3,), "q") == (3,)
    assert shuffled((3, 1), "q") == (1, 3)
    # By its id, in any process.
    assert shuffled((0, 1, 2, 3, 4), "q") == (3, 1, 4, 0, 2)


def test_what_branches_is_shuffled_to_a_wrong_order_where_there_is_one():
    edges = [(ROOT, 3), (ROOT, 5), (3, 7)]
    orders = {answering.shuffled((3, 5, 7), edges, f"q{i}") for i in range(100)}
    right = {(3, 5, 7), (5, 3, 7), (3, 7, 5)}
    assert orders == {*permutations((3, 5, 7))} - right
    assert {*answering.shuffled((3, 5), [(ROOT, 3), (ROOT, 5)], "q")} == {3, 5}


def test_one_fact_is_removed_and_the_others_stay_in_order(three):
    without = answering.removed(three, [0, 1, 2])
    assert without == {
        "without_0": [[(ROOT, 1)], [], [(ROOT, 0), (0, 3)]],
        "without_1": [[(ROOT, 0)], [(ROOT, 2)], [(ROOT, 1), (1, 3)]],
        "without_2": [[(ROOT, 0), (0, 1)], [(ROOT, 2)], [(ROOT, 1), (1, 0)]],
    }
    assert answering.removed(three, []) == {}


def test_right_is_of_open_questions_and_of_yes_or_no_apart(three):
    answers = {"x": [["bel.", "No"], ["Mara", "Yes."]]}
    assert answering.right(three, answers, "x") == ([[1, 0], [0, 1]], [["q0", "q2"]] * 2)
    rights = {end: answering.right(three, answers, "x", of) for end, of in answering.KINDS.items()}
    assert rights["_open"] == ([[1], [0]], [["q0"]] * 2)
    assert rights["_yes_no"] == ([[0], [1]], [["q2"]] * 2)
    # A language model is asked the first of them only.
    assert answering.right(three, {"x": [["Bel"]]}, "x") == ([[1]], [["q0"]])


def test_a_drop_is_the_gold_chain_less_the_mean_without_each_fact(three):
    answers = {
        "gold_evidence": [["Bel", "yes"], ["Bel", "no"]],
        "without_0": [["Bel", "no"], ["", "no"]],
        "without_1": [["", "no"], ["", "yes"]],
        "without_2": [["Bel", "yes"], ["Bel", "no"]],  # the first question has no third fact
        "no_evidence": [["", ""], ["", ""]],
    }
    drops, ids = answering.drops(three, answers)
    assert drops == [[0.5, pytest.approx(2 / 3)], [1, pytest.approx(-1 / 3)]]
    assert ids == [["q0", "q2"]] * 2
    assert answering.drops(three, answers, last=True) == ([[1, 0], [1, 0]], ids)
    row, last = answer_tables.answer_metrics(three, answers)[-2:]
    assert (row["name"], row["n"]) == ("faithfulness_drop", 4)
    assert row["value"] == pytest.approx((0.5 + 2 / 3 + 1 - 1 / 3) / 4)
    assert (last["name"], last["value"]) == ("faithfulness_drop_last", 0.5)
    rows = answer_tables.faithfulness(three, answers)
    assert [(row["facts"], row["questions"]) for row in rows] == [(2, 1), (3, 1)]
    assert rows[0]["the chain"] == "100"
    assert [rows[0][f"without fact {j}"] for j in (1, 2, 3)] == ["50", "0", None]
    assert [rows[1][f"without fact {j}"] for j in (1, 2, 3)] == ["0", "50", "50"]


def test_the_majority_is_of_training_and_of_the_kind(by_hand):
    def asked(*answers):
        kinds = ["bool" if answer in ("yes", "no") else "entity" for answer in answers]
        rows = zip(by_hand("q", *[(0,)] * len(answers)), answers, kinds, strict=True)
        return [replace(q, answer=answer, answer_kind=kind) for q, answer, kind in rows]

    train = asked("Mara", "Bel", "Mara", "Bel", "yes", "no", "yes", "Ada")
    assert answering.majority(train, asked("no", "Tarn", "yes")) == ["yes", "Bel", "yes"]
    assert answering.majority(train[4:7], asked("Tarn", "no")) == ["", "yes"]


def test_what_has_no_answer_is_neither_learnt_nor_asked(three, by_hand):
    taught = []

    def keep(name, key, compute):
        taught.append((name, str(key)))
        train, test, evidence = compute.args[:3]
        assert [q.edges for q in train] == [((ROOT, 0), (0, 2))]
        assert [q.id for q in test] == ["q0", "q2"]
        return {kind: ["Bel", "no"] for kind in evidence}

    train = by_hand("train", (0, 2), (1,))
    train = [replace(train[0], edges=((ROOT, 0), (ROOT, 2))), replace(train[1], answer="")]
    answers = answering.run(three, train, keep)
    assert [name for name, _ in taught] == ["reader-0", "reader-1"]
    assert len({key for _, key in taught}) == 2
    assert answers["gold_evidence"] == [["Bel", "no"]] * 2
    assert answers["majority"] == [["Bel", ""]]
    kinds = ["no_evidence", "all_evidence", "bm25", "one_hop", "retrieved_evidence", "gold_set",
             "gold_shuffled", "gold_evidence"]  # fmt: skip
    assert [*answers] == [*kinds, "without_0", "without_1", "without_2", "majority"]
    assert answering.kinds(answers) == [*kinds, "majority"]
    assert answering.run(three, train[1:], keep) == {}
    assert answering.run(replace(three, test=three.test[1:2]), train, keep) == {}


def test_a_reader_is_one_of_its_chains(three, by_hand):
    keys = []

    def keep(name, key, compute):
        keys.append((name, str(key)))
        return {}

    train = by_hand("train", (0, 2))
    answering.run(three, train, keep)
    three.predicted["one_hop"][1] = [(1, 2)] * 3
    answering.run(three, train, keep)
    answering.run(three, by_hand("train", (2, 0)), keep)
    assert keys[0] == keys[2]
    assert len({*keys}) == 5


def test_a_language_model_is_asked_the_first_questions_from_five_kinds(three, monkeypatch):
    asked = []

    def replies(model, test, evidence, *, chat, store):
        asked.append((model, [q.id for q in test], [*evidence], chat, store))
        return {kind: ["Bel"] * len(test) for kind in evidence}

    monkeypatch.setattr(answering, "replies", replies)
    three.settings = replace(three.settings, answered=1)
    out = answering.complete(three, "model", chat=False, store="here")
    assert asked == [("model", ["q0"], [*out], False, "here")]
    assert {*out} == {*answering.COMPLETED}
    names = [row["name"] for row in answer_tables.answer_metrics(three, out, "completer_plain_em")]
    assert names == [f"completer_plain_em_{kind}{end}" for kind in out for end in ("", "_open")]
