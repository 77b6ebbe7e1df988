"""What the lexical encoder knows, and what it sees of names."""

import logging
import math
from dataclasses import replace

import torch

from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrievers.lexicon import (
    FIRST,
    MOST_TOKENS,
    NAME,
    NUMBER,
    LexicalEncoder,
    vocabulary,
)
from workbench.worlds.pools import questions

SMALL = Evidence(
    "a",
    "Where was Ada Bo born?",
    ("In Zed was Ada Bo born.", "There are 12 trams in Zed.", "From Zed went Cy."),
    ((ROOT, 0),),
)


def test_the_vocabulary_holds_the_words_of_nearly_all_worlds_and_no_name():
    pool = questions("train", 600, worlds=6)
    known = vocabulary(pool)
    assert {"born", "what", "among", "is", "the"} <= set(known)
    assert not {"amber", "anchor", "institute", "ba"} & set(known)
    assert 80 < len(known) < 250
    worlds = [replace(SMALL, world=f"w{i}", question="Which?" if i else "Odd?") for i in range(6)]
    assert {"which", "born"} <= set(vocabulary(worlds))
    assert "odd" not in vocabulary(worlds)
    assert vocabulary(worlds[:1]) == [
        "are", "born", "from", "in", "odd", "there", "trams", "was", "went",
    ]  # fmt: skip


def test_matches_by_hand():
    encoder = LexicalEncoder(vocabulary([SMALL]), 8, 2)
    pool = encoder.pool([SMALL])
    twice = math.log(3 / 2) / math.log(3)
    # CLS in zed was ada bo born; "in" and "zed" stand not in the question.
    torch.testing.assert_close(pool.asked[0, 0], torch.tensor([0.0, 0, 0, 1, 1, 1, 1]))
    torch.testing.assert_close(pool.weights[0, 0], torch.tensor([0.0, twice, 0, 1, 1, 1, 1]))
    assert pool.facts[0, 0, 4:6].tolist() == [NAME, NAME]
    assert pool.facts[0, 1, 3] == NUMBER
    assert pool.facts[0, 0, 6] >= FIRST
    calls = []
    encoder._states = lambda ids, there, matches=0.0: calls.append(matches) or torch.zeros(3, 7, 8)
    encoder.facts(pool, torch.tensor([ROOT]))
    encoder.facts(pool, torch.tensor([0]))
    before, after = (matches.unflatten(0, (1, 3))[0] for matches in calls)
    torch.testing.assert_close(before[0, 4], encoder.asked)
    torch.testing.assert_close(after[0, 4], encoder.asked + encoder.last)
    assert not before[1].any()
    torch.testing.assert_close(after[1, 5], twice * encoder.last)  # "in"
    assert not after[1, :5].any()
    assert not after[:, 0].any()


def test_other_names_change_nothing():
    def renamed(text):
        return text.replace("Ada", "Kim").replace("Zed", "Rul")

    other = replace(SMALL, question=renamed(SMALL.question), facts=tuple(map(renamed, SMALL.facts)))
    encoder = LexicalEncoder(vocabulary([SMALL]), 8, 2)
    last = torch.tensor([0])
    states = [encoder.facts(encoder.pool([q]), last) for q in (SMALL, other)]
    assert torch.equal(*states)


def test_a_single_fact_and_a_long_text(caplog):
    encoder = LexicalEncoder(["a"], 8, 2)
    long = replace(SMALL, facts=("a " * 100,))
    with caplog.at_level(logging.WARNING):
        pool = encoder.pool([long])
        encoder.pool([long, long])
    (record,) = caplog.records
    assert record.getMessage() == "1 more texts are cut to 64 tokens"
    assert pool.facts.shape == (1, 1, MOST_TOKENS)
    assert encoder.facts(pool, torch.tensor([0])).isfinite().all()
