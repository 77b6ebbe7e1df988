"""A retriever fitted to hop, and its twin: equal steps, and no negative that is right."""

import pytest

from workbench.errors import DatasetError
from workbench.retrievers import hops
from workbench.retrievers.hops import Asked

FACTS = [f"Fact {i}." for i in range(6)]
ASKED = [Asked("Which?", (4, 0, 5)), Asked("Who?", (2,))]


def test_pairs_of_a_chain_lead_from_fact_to_fact_and_of_its_twin_to_each():
    rows = {way: hops.pairs(ASKED, FACTS, ["a"] * 5 + ["b"], way, "0") for way in hops.WAYS}
    assert [[p.fact for p in of] for of in rows.values()] == [["Fact 4.", "Fact 0.", "Fact 5.",
                                                               "Fact 2."]] * 2  # fmt: skip
    assert [(p.query, p.ignored) for p in rows["iterated"]] == [
        ("Which?", ()),
        ("Which? Fact 4.", ("Fact 4.",)),
        ("Which? Fact 4. Fact 0.", ("Fact 4.", "Fact 0.")),
        ("Who?", ()),
    ]
    assert [(p.query, p.ignored) for p in rows["oneshot"]] == [
        ("Which?", ("Fact 0.", "Fact 5.")),
        ("Which?", ("Fact 4.", "Fact 5.")),
        ("Which?", ("Fact 4.", "Fact 0.")),
        ("Who?", ()),
    ]
    # Of the last fact's relation there is no other.
    for first, second, lone, other in rows.values():
        assert lone.negatives == ()
        assert all(p.negatives[0] in {"Fact 1.", "Fact 2.", "Fact 3."} for p in (first, second))
        assert other.negatives[0] in {"Fact 0.", "Fact 1.", "Fact 3.", "Fact 4."}


def test_a_question_is_drawn_once_and_too_few_are_said(monkeypatch):
    monkeypatch.setattr(hops, "TRIES", 9)
    drawn = iter([None, ASKED[0], ASKED[0], None, ASKED[1], None])
    told = []
    assert hops.different(2, lambda n: told.append(n) or next(drawn), "questions") == ASKED
    assert told == [0, 0, 1, 1, 1]
    with pytest.raises(DatasetError, match="deep questions: no 2 different"):
        hops.different(2, lambda n: ASKED[0], "deep questions")


def test_each_round_is_given_a_number_of_its_own_and_negatives_from_its_facts(monkeypatch):
    numbers, mined = [], []
    rows = hops.pairs(ASKED, FACTS, "abcdef", "iterated", "0")
    monkeypatch.setattr(hops, "fitted", lambda e, rounds, *_: [draw(e) for draw in rounds])
    monkeypatch.setattr(hops, "hardest", lambda *given: mined.append(given) or rows)
    for seed in (0, 1):
        made = hops.finetuned("e", lambda n: numbers.append(n) or (FACTS, rows), 2, seed)
        assert made == [rows, rows]
    assert numbers == [100, 101, 1100, 1101]
    assert mined == [("e", FACTS, rows, hops.MINED)] * 4
    hops.finetuned("e", lambda n: (FACTS, rows), 1, 0, mined=2)
    assert mined[-1] == ("e", FACTS, rows, 2)
