"""A reader: what it is told, what it learns with, and that a training is the same again."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import T5ForConditionalGeneration

from workbench.readers import marks, trained
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.training.supervised import IGNORED
from workbench.worlds.pools import questions

ASKED = Evidence(
    "q", "Which is larger, the year of Mill Hall or that of Bel?",
    ("Mill Hall dates from 1204.", "Ada Bel owns Mill Hall.", "The year of Bel is 97.", "No."),
    ((ROOT, 1), (1, 0), (ROOT, 2)), answer="Mill Hall",
)  # fmt: skip
FIT = trained.ReaderFit(d=16, epochs=2)


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


OTHER = Evidence(
    "q", "Élodie Œuvre met Ørsted; who is older?",
    ("Élodie Œuvre was born in Þórshöfn of Ísland.", "E\u0301lodie knew Ørsted.", "élan is small.",
     "Ada Bel lives in Обнинск."),
    ((ROOT, 0), (ROOT, 1), (ROOT, 2), (ROOT, 3)), answer="Élodie Œuvre",
)  # fmt: skip


def test_names_are_written_large_in_any_letters():
    text, names = marks.marked(OTHER, OTHER.edges, frozenset())
    assert list(names) == ["Élodie Œuvre", "Ørsted", "Þórshöfn of Ísland", "Élodie", "Ada Bel",
                           "Обнинск"]  # fmt: skip
    assert text == (
        "question: @0 met @1; who is older? facts: f1 @0 was born in @2. f2 @3 knew @1. "
        "f3 élan is small. f4 @4 lives in @5."
    )
    assert names[marks.named("E\u0301lodie")] == "@3"


@pytest.mark.parametrize(
    ("told", "hidden"),
    [
        ("1,250 and 12\u00a0000 and 3.5 and 90", "#2 and #3 and #0 and #1"),
        ("7 250 and 12 345", "#0 #2 and #1 #3"),
        ("1\u202f250 or 1250.", "#0 or #0."),
        ("3.50, 3.5, and 3", "#1, #1, and #0"),
        ("1,250,000.25; 1250001", "#0; #1"),
        ("1,2500", "#0,#1"),
        ("1990 250", "#1 #0"),
        ("1950-03-01", "#2-#1-#0"),
        ("1.2.3 or 2.5", "#0.#1.#3 or #2"),
        ("0.5 or .5", "#0 or .#1"),
    ],
)
def test_numbers_are_read_with_their_separators_and_ordered_by_value(told, hidden):
    asked = Evidence("q", f"which of {told}?", ("no.",), ((ROOT, 0),))
    assert marks.marked(asked, [], frozenset())[0] == f"question: which of {hidden}? facts:"


@pytest.mark.parametrize(
    ("answer", "key"),
    [("1,250", "1250"), ("12\u00a0000", "12000"), ("1250.0", "1250"), ("3.50", "3.5"), ("007", "7"),
     ("0", "0"), ("The Gate", "Gate"), ("1250 metre", "1250 metre"), ("1" * 40, "1" * 40)],
)  # fmt: skip
def test_an_answer_has_the_mark_of_its_value(answer, key):
    assert marks.named(answer) == key
    for told in (answer, key):
        asked = Evidence("q", f"which of {told}?", ("no.",), ((ROOT, 0),))
        names = marks.marked(asked, [], frozenset())[1]
        assert marks.named(answer) in names or " metre" in key
        # However it is told, what the mark stands for is the answer.
        back = {mark: name for name, mark in names.items()}
        assert answer_exact(answer, back.get(names.get(marks.named(answer)), answer))


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
        edges = trained.mixed(q, rng)
        assert not edges or {*q.edges} <= {*edges}
        sizes.add(len(edges) - len(q.edges))
        wrong = [v for _, v in edges if v not in q.nodes]
        assert len(wrong) == len({*wrong}) == max(0, len(edges) - len(q.edges))
    assert sizes == {-len(q.edges), 0, 1, 2, 3}
    alone = Evidence("q", "Who?", ("A fact.",), ((ROOT, 0),), answer="A")
    assert {len(trained.mixed(alone, rng)) for _ in range(50)} == {0, 1}


def test_a_training_is_the_same_again_and_leaves_its_start_alone():
    train = questions("train", 40, pool=10)
    start = trained.small_reader(train, 0, 16)
    before = {name: w.clone() for name, w in start.model.hf.state_dict().items()}
    (first, again), other = (
        [trained.taught(start, train, FIT, 0).model.hf.state_dict() for _ in range(2)],
        trained.taught(start, train, FIT, 1).model.hf.state_dict(),
    )
    assert all(torch.equal(w, start.model.hf.state_dict()[name]) for name, w in before.items())
    for name, weight in first.items():
        torch.testing.assert_close(weight, again[name], rtol=1e-4, atol=1e-5)
    assert any(not torch.allclose(w, other[name], atol=1e-4) for name, w in first.items())


def test_a_killed_training_goes_on_to_the_same_reader(tmp_path, monkeypatch):
    train, fit = questions("train", 24, pool=10), replace(FIT, epochs=3, batch=12)
    start = trained.small_reader(train, 0, 16)
    expected = trained.taught(start, train, fit, 0).model.hf.state_dict()
    plain, batches = trained.collate_replies, []

    def collate(*args):
        batches.append(1)
        if len(batches) == 6:  # in the third epoch
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(trained, "collate_replies", collate)
    with pytest.raises(KeyboardInterrupt):
        trained.taught(start, train, fit, 0, tmp_path)
    again = trained.taught(start, train, fit, 0, tmp_path).model.hf.state_dict()
    assert len(batches) == 6 + 2
    for name, weight in expected.items():
        torch.testing.assert_close(again[name], weight, rtol=1e-4, atol=1e-5)


def test_replies_are_learnt_as_marks_and_nothing_of_their_filling(monkeypatch):
    drawn = questions("train", 120, pool=10)
    films = [q for q in drawn if q.answer.startswith("The ")]
    train = [*films, *drawn[:12], replace(drawn[0], answer="yes no")]
    assert films
    start, batches = trained.small_reader(train, 0, 16), []
    forward = T5ForConditionalGeneration.forward

    def noted(self, **given):
        batches.append(given["labels"])
        return forward(self, **given)

    monkeypatch.setattr(T5ForConditionalGeneration, "forward", noted)
    monkeypatch.setattr(trained, "MIX", ("gold",))
    trained.taught(start, train, FIT, 0)
    tokenizer, labels = start.model.tokenizer, [row for batch in batches for row in batch.tolist()]
    assert any(IGNORED in row for row in labels)
    for row in labels:
        told = [i for i in row if i != IGNORED]
        assert told[-1] == tokenizer.eos_token_id
        assert not {tokenizer.pad_token_id, tokenizer.unk_token_id} & {*told}


def test_a_reader_learns_to_copy_from_evidence():
    """Lookups alone: with its fact the answer is read off, without it there is none."""
    families = ("lookup_attribute", "lookup_relation")
    train = questions("train", 300, worlds=2, pool=10, families=families)
    test = questions("test", 60, worlds=1, pool=10, families=families)
    reader = trained.taught(trained.small_reader(train, 0, 32), train, trained.ReaderFit(32, 16), 0)
    said = {name: reader.answers(test, graphs) for name, graphs in
            {"gold": [q.edges for q in test], "none": [[] for _ in test]}.items()}  # fmt: skip
    shares = {name: sum(a == q.answer for a, q in zip(answers, test, strict=True)) / 60
              for name, answers in said.items()}  # fmt: skip
    assert shares["gold"] > 0.7 > 0.2 > shares["none"]
