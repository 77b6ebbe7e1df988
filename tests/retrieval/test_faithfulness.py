"""The smallest evidence, against readers whose needs are known."""

import itertools
import random

import pytest

from workbench.retrieval.faithfulness import Needed, evidence_needed

FACTS = tuple(f"fact {i}" for i in range(6))


def reader_of(*needs):
    """It answers right where all facts of any of its needs are there, and has its calls."""

    def answer(asked, facts):
        answer.calls.append(list(facts))
        return "Yes." if any({*need} <= {*facts} for need in needs) else "no"

    answer.calls = []
    return answer


def smallest(needs, count):
    """By going through all subsets, the smaller first."""
    for size in range(count + 1):
        for places in itertools.combinations(range(count), size):
            if any({*need} <= {*places} for need in needs):
                return places
    return None


def test_the_smallest_of_all_subsets():
    rng = random.Random(7)
    for _ in range(60):
        count = rng.randint(1, 6)
        needs = [rng.sample(range(6), rng.randint(0, 3)) for _ in range(rng.randint(1, 3))]
        reader = reader_of(*([FACTS[i] for i in need] for need in needs))
        needed = evidence_needed("Why?", FACTS[:count], reader, "yes")
        expected = smallest(needs, count)
        if expected is None:
            assert needed is None
            continue
        assert needed == Needed(expected, True, len(reader.calls))
        assert len(reader.calls) == len({*map(tuple, reader.calls)}) <= 2**count


def test_ten_facts_are_searched_whole():
    facts = [f"fact {i}" for i in range(10)]
    needed = evidence_needed("Why?", facts, reader_of(facts))
    assert needed == Needed((*range(10),), True, 2**10)


def test_beyond_the_limit_facts_are_left_out_one_by_one():
    facts = [f"fact {i}" for i in range(40)]
    reader = reader_of(facts[30:34], [facts[i] for i in (1, 5, 6, 7, 8)])
    needed = evidence_needed("Why?", facts, reader, most=200)
    assert needed.facts == (30, 31, 32, 33)
    assert not needed.smallest
    assert needed.tried == len(reader.calls) < 400
    assert evidence_needed("Why?", facts[:3], reader_of(facts[:3]), most=8).smallest
    assert not evidence_needed("Why?", facts[:3], reader_of(facts[:3]), most=7).smallest
    # Small evidence is still the smallest: all smaller subsets were tried.
    assert evidence_needed("Why?", facts, reader_of([facts[39]]), most=200).smallest


def test_a_smaller_subset_may_lie_beyond_wrong_ones():
    """Right of an odd number of facts alone, so that none of five can be left out by itself."""

    def answer(asked, facts):
        there = {*facts}
        return "yes" if {"a", "b", "c"} <= there and len(there) % 2 else "no"

    facts = ["x", "a", "y", "b", "c"]
    assert evidence_needed("Why?", facts, answer, most=1).facts == (0, 1, 2, 3, 4)
    assert evidence_needed("Why?", facts, answer).facts == (1, 3, 4)


def test_one_pass_is_not_always_enough():
    """Fact 0 can go only after fact 2 is gone."""
    right = [("a", "b", "c"), ("a", "b"), ("b",)]

    def answer(asked, facts):
        return "yes" if tuple(facts) in right else "no"

    needed = evidence_needed("Why?", ["a", "b", "c"], answer, most=1)
    assert needed == Needed((1,), False, needed.tried)


def test_a_wrong_or_empty_answer_needs_nothing():
    assert evidence_needed("Why?", FACTS, reader_of(FACTS), "no") is None
    assert evidence_needed("Why?", FACTS, lambda *_: "") is None
    assert evidence_needed("Why?", FACTS, lambda *_: "Rome").facts == ()
    with pytest.raises(ValueError, match=r"reply to 'Why\?' is None; it must be a text"):
        evidence_needed("Why?", FACTS, lambda *_: None)
    with pytest.raises(ValueError, match="facts"):
        evidence_needed("Why?", [], reader_of(()))
    with pytest.raises(ValueError, match="most=0"):
        evidence_needed("Why?", FACTS, reader_of(()), most=0)
