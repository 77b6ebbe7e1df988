"""The reader: what it is told, what it learns with, and that a training is the same again."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import T5ForConditionalGeneration

from workbench.papers.graphhop import answering, marks, paper, presets, study, tables
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.training.supervised import IGNORED
from workbench.worlds.pools import questions

ASKED = Evidence(
    "q", "Which is larger, the year of Mill Hall or that of Bel?",
    ("Mill Hall dates from 1204.", "Ada Bel owns Mill Hall.", "The year of Bel is 97.", "No."),
    ((ROOT, 1), (1, 0), (ROOT, 2)), answer="Mill Hall",
)  # fmt: skip
FIT = answering.ReaderFit(d=16, epochs=2)


def test_what_a_reader_is_told():
    text = marks.plain(ASKED, ASKED.edges)
    assert text == (
        "question: Which is larger, the year of Mill Hall or that of Bel? facts: "
        "f1 Ada Bel owns Mill Hall. f2 The year of Bel is 97. f3 after 1 Mill Hall dates from 1204."
    )
    assert marks.plain(ASKED, []) == f"question: {ASKED.question} facts:"
    circle = [(ROOT, 2), (2, 0), (0, 1), (1, 0)]
    assert marks.ordered(circle) == [2, 0, 1]


def test_names_are_marks_in_their_order_and_numbers_by_size():
    known = frozenset({"which", "the", "it"})
    text, names = marks.marked(ASKED, ASKED.edges, known)
    assert names == {"Mill Hall": "@0", "Bel": "@1", "Ada Bel": "@2", "97": "#0", "1204": "#1"}
    assert text == (
        "question: which is larger, the year of @0 or that of @1? facts: "
        "f1 @2 owns @0. f2 the year of @1 is #0. f3 after 1 @0 dates from #1."
    )
    alone, names = marks.marked(ASKED, [], known)
    assert "@" in alone
    assert "1204" not in names


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_answer_that_is_a_name_or_number_has_a_mark(split):
    asked = questions(split, 240, worlds=2, pool=16)
    known = frozenset(marks.known_words(questions("train", 240, worlds=2, pool=16)))
    for q in asked:
        text, names = marks.marked(q, q.edges, known)
        assert not [name for name in names if name.startswith("The ")]
        if q.answer_kind in ("entity", "number"):
            assert names[q.answer.removeprefix("The ")] in text
        # No name of a world is left: all that is written large was taken for one.
        assert not [word for word in text.replace("f1", "").split() if word[0].isupper()], text


def test_mixed_evidence_has_all_of_the_gold_or_nothing():
    q = max(questions("train", 12, pool=16), key=lambda q: len(q.nodes))
    rng, sizes = random.Random(0), set()
    for _ in range(200):
        edges = answering.mixed(q, rng)
        assert not edges or {*q.edges} <= {*edges}
        sizes.add(len(edges) - len(q.edges))
        wrong = [v for _, v in edges if v not in q.nodes]
        assert len(wrong) == len({*wrong}) == max(0, len(edges) - len(q.edges))
    assert sizes == {-len(q.edges), 0, 1, 2, 3}
    alone = Evidence("q", "Who?", ("A fact.",), ((ROOT, 0),), answer="A")
    assert {len(answering.mixed(alone, rng)) for _ in range(50)} == {0, 1}


def test_a_training_is_the_same_again_and_leaves_its_start_alone():
    train = questions("train", 40, pool=10)
    start = answering.small_reader(train, 0, 16)
    before = {name: w.clone() for name, w in start.model.hf.state_dict().items()}
    (first, again), other = (
        [answering.taught(start, train, FIT, 0).model.hf.state_dict() for _ in range(2)],
        answering.taught(start, train, FIT, 1).model.hf.state_dict(),
    )
    assert all(torch.equal(w, start.model.hf.state_dict()[name]) for name, w in before.items())
    for name, weight in first.items():
        torch.testing.assert_close(weight, again[name], rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(w, other[name], atol=1e-4) for name, w in first.items())


def test_a_killed_training_goes_on_to_the_same_reader(tmp_path, monkeypatch):
    train, fit = questions("train", 24, pool=10), replace(FIT, epochs=3, batch=12)
    start = answering.small_reader(train, 0, 16)
    expected = answering.taught(start, train, fit, 0).model.hf.state_dict()
    plain, batches = answering.collate_replies, []

    def collate(*args):
        batches.append(1)
        if len(batches) == 6:  # in the third epoch
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(answering, "collate_replies", collate)
    with pytest.raises(KeyboardInterrupt):
        answering.taught(start, train, fit, 0, tmp_path)
    again = answering.taught(start, train, fit, 0, tmp_path).model.hf.state_dict()
    assert len(batches) == 6 + 2
    for name, weight in expected.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-4, atol=1e-5)


def test_replies_are_learnt_as_marks_and_nothing_of_their_filling(monkeypatch):
    drawn = questions("train", 120, pool=10)
    films = [q for q in drawn if q.answer.startswith("The ")]
    train = [*films, *drawn[:12], replace(drawn[0], answer="yes no")]
    assert films
    start, batches = answering.small_reader(train, 0, 16), []
    forward = T5ForConditionalGeneration.forward

    def noted(self, **given):
        batches.append(given["labels"])
        return forward(self, **given)

    monkeypatch.setattr(T5ForConditionalGeneration, "forward", noted)
    monkeypatch.setattr(answering, "MIX", ("gold",))
    answering.taught(start, train, FIT, 0)
    tokenizer, labels = start.model.tokenizer, [row for batch in batches for row in batch.tolist()]
    assert any(IGNORED in row for row in labels)
    for row in labels:
        told = [i for i in row if i != IGNORED]
        assert told[-1] == tokenizer.eos_token_id
        assert not {tokenizer.pad_token_id, tokenizer.unk_token_id} & {*told}


def scored_by_hand():
    """Three questions, the second without an answer, and graphs that tell method and seed."""
    asked = [
        replace(ASKED, id=str(i), answer=answer) for i, answer in enumerate(["Bel", "", "Mara"])
    ]

    def graphs(first):
        return [[(ROOT, first)], [(ROOT, first + 1)], [(ROOT, first), (ROOT, first + 2)]]

    predicted = {"bm25": [graphs(0)], "forward": [graphs(1), graphs(2)], "one_hop": [graphs(3)] * 2}
    settings = paper.settings("tiny", seeds=2)
    return study.Study(settings, "lex", "cpu", asked, predicted, {}, {}, {})


def test_each_seed_reads_what_the_best_method_retrieved_for_questions_that_are_asked():
    ran = scored_by_hand()
    for number, first in enumerate([1, 2]):
        evidence = answering.evidence_of(ran, [0, 2], number)
        assert evidence["retrieved_evidence"] == [
            [(ROOT, first)], [(ROOT, first), (ROOT, first + 2)]
        ]  # fmt: skip
        assert evidence["gold_evidence"] == [[*ASKED.edges]] * 2
    keys = []
    for other in (ran, replace(ran, predicted={"forward": [[[(ROOT, 0)]] * 3] * 2})):
        answering.run(other, [ASKED], lambda name, key, compute: keys.append((name, key)) or {})
    assert [name for name, _ in keys] == ["reader-0", "reader-1"] * 2
    assert len({str(key) for _, key in keys}) == 4


def test_answers_are_right_by_the_question_they_are_of():
    ran, answers = scored_by_hand(), {"gold_evidence": [["Bel", "Bel"], ["Mara", "Mara"]]}
    assert answering.right(ran, answers, lambda q: True) == {
        "gold_evidence": ([[1.0, 0.0], [0.0, 1.0]], [["0", "2"]] * 2)
    }
    assert answering.right(ran, answers, lambda q: q.answer == "Mara") == {
        "gold_evidence": ([[0.0], [1.0]], [["2"]] * 2)
    }


def test_a_reader_learns_to_copy_from_evidence():
    """Lookups alone: with its fact the answer is read off, without it there is none."""
    families = ("lookup_attribute", "lookup_relation")
    train = questions("train", 300, worlds=2, pool=10, families=families)
    test = questions("test", 60, worlds=1, pool=10, families=families)
    reader = answering.taught(
        answering.small_reader(train, 0, 32), train, answering.ReaderFit(32, 16), 0
    )
    said = {name: reader.answers(test, graphs) for name, graphs in
            {"gold": [q.edges for q in test], "none": [[] for _ in test]}.items()}  # fmt: skip
    shares = {name: sum(a == q.answer for a, q in zip(answers, test, strict=True)) / 60
              for name, answers in said.items()}  # fmt: skip
    assert shares["gold"] > 0.7 > 0.2 > shares["none"]


def test_a_study_is_read_from_each_evidence_and_kept():
    settings = paper.settings("tiny", train=24, dev=8, test=12, methods="bm25")
    asked, calls = presets.questions(settings), []

    def keep(name, key, compute):
        calls.append(name)
        return compute()

    ran = study.run(asked, settings, keep)
    answers = answering.run(ran, asked["train"][:8], keep)
    assert [name for name in calls if name.startswith("reader")] == ["reader-0"]
    assert [*answers] == [*answering.EVIDENCE]
    names = [row["name"] for row in tables.answer_metrics(ran, answers)]
    assert {f"answer_em_{name}" for name in answering.EVIDENCE} <= {*names}
    rows = tables.read(ran, answers, {("T5", "gold evidence", "all"): 61.0})
    assert [row["paper: all"] for row in rows] == [None, None, None, None, 61.0]
    assert rows[0]["evidence"] == "no evidence"
    bare = [Evidence(q.id, q.question, q.facts, q.edges) for q in asked["train"]]
    assert answering.run(ran, bare, keep) == {}
