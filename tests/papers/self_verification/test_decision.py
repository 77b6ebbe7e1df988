"""Candidates, majorities, decisions; when a decision is settled, by trying all completions."""

import itertools

import pytest

from workbench.data.problems import Problem
from workbench.papers.self_verification.decision import (
    Verified,
    decide,
    distinct,
    majority,
    settled,
)
from workbench.papers.self_verification.paper import Settings


def test_distinct_answers_keep_their_order():
    assert distinct(["7", "", "7.0", "5", "1,000", "1000", "5"]) == ["7", "5", "1,000"]
    assert distinct(["yes", "YES", "no"]) == ["yes", "no"]
    assert distinct([]) == distinct(["", ""]) == []


def test_majority_and_its_ties():
    assert majority(["3", "4", "4.0", "5"]) == ["4"]
    assert majority(["3", "4", "5", "4", "3"]) == ["3"]
    assert majority(["5", "3", "4", "4", "3"], 2) == ["3", "4"]
    assert majority(["", "", "9"]) == ["9"]
    assert majority(["9"], 2) == ["9"]
    assert majority([]) == majority(["", ""]) == []


def verified(answers, hits=(), gold="7"):
    one = Problem("1", "gsm8k", "There are 3.", "How many?", gold)
    return Verified(one, list(answers), [], distinct(answers), mode="cmv", hits=list(hits))


def decided(answers, hits=(), **settings):
    one = verified(answers, hits)
    decide(one, Settings(**settings))
    return one


def test_decide():
    none = decided(["", ""])
    assert (none.answer, none.correct, none.scores) == (None, False, [])
    assert "no answer" in none.reason
    lone = decided(["7", "7.0", ""])
    assert (lone.answer, lone.scores, lone.correct) == ("7", [1.0], True)
    assert decided(["5", "7", "7"], p=0).answer == "7"
    assert decided(["", ""], p=0).answer is None
    two = decided(["5", "7"], [[[1, 0], [0, 0]], [[0, 1], [1, 0]]])
    assert (two.answer, two.scores) == ("7", [1.0, 2.0])
    tie = decided(["5", "7", "6"], [[[1, 0]], [[0, 1]], [[0, 0]]])
    assert (tie.answer, tie.scores, tie.correct) == ("5", [1.0, 1.0, 0.0], False)
    assert decided(["5", "7"], [[[0, 0]], [[0, 0]]]).answer == "5"
    silent, even = [[[0, 0]], [[0, 0]]], [[[1, 0]], [[0, 1]]]
    for hits, settings, pick in (
        ([[[0, 0]], [[0, 1]]], {}, "verified"), (silent, {}, "nothing"), (even, {}, "tied"),
        (even, {"votes": 0.1}, "votes"), (silent, {"votes": 0.1}, "votes"),
        ((), {"p": 0}, "majority"),
    ):  # fmt: skip
        one = decided(["5", "7"], hits, **settings)
        assert one.pick == pick
        assert ("verified by cmv" in one.reason) == (pick == "verified")
    assert (lone.pick, none.pick) == ("alone", "unreadable")
    # Ours, off by default: votes break what verification leaves even.
    assert decided(["5", "7", "7"], [[[1]], [[1]]], votes=0.5).scores == [1 + 0.5 / 3, 1 + 1 / 3]
    assert decided(["5", "7", "7"], [[[1]], [[1]]], votes=0.5).answer == "7"
    assert decided(["5", "7", "7"], [[[1]], [[1]]]).answer == "5"


def argmax(scores):
    return scores.index(max(scores))


def completions_agree(hits, total):
    """Whether all completions of the missing samples decide alike, by trying each."""
    scores = [sum(map(sum, candidate)) for candidate in hits]
    left = [sum(total - len(samples) for samples in candidate) for candidate in hits]
    outcomes = itertools.product(*(range(rest + 1) for rest in left))
    return len({argmax([s + x for s, x in zip(scores, extra, strict=True)])
                for extra in outcomes}) == 1  # fmt: skip


def states(total, prompts, even):
    """All hit patterns up to order: samples drawn and hits among them, of each prompt."""
    if even:  # all prompts of a problem have as many samples, as `check` draws them
        for drawn in range(total + 1):
            one = [[1] * k + [0] * (drawn - k) for k in range(drawn + 1)]
            yield from itertools.product(one, repeat=prompts)
    else:
        one = [[0] * (d - k) + [1] * k for d in range(total + 1) for k in range(d + 1)]
        yield from itertools.product(one, repeat=prompts)


@pytest.mark.parametrize("candidates", [1, 2, 3])
@pytest.mark.parametrize("conditions", [1, 2])
@pytest.mark.parametrize("total", [1, 2, 3])
def test_settled_exactly_when_no_completion_changes_the_decision(candidates, conditions, total):
    even = candidates * conditions > 4 or (candidates * conditions == 4 and total == 3)
    seen = {True: 0, False: 0}
    for flat in states(total, candidates * conditions, even):
        hits = [flat[c * conditions : (c + 1) * conditions] for c in range(candidates)]
        exact = completions_agree(hits, total)
        assert settled(hits, total) == exact
        seen[exact] += 1
    assert seen[True]
    assert candidates == 1 or seen[False]
