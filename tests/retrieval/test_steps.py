"""Chains step by step: against every chain there is, and a beam over the list of them."""

import math
import random
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.encoder_toys import WORDS
from workbench.retrieval.graphs import ROOT
from workbench.retrieval.nearest import Nearest
from workbench.retrieval.steps import STOP, Chain, Chains, Step, checked, follow

FACTS = ["mend the gate", "a hammer", "old Mara", "her bone", "look at Mara"]


def stepper_of(seed, count, zeros=0.2):
    """Random probabilities that depend on the facts read and on their order."""

    def stepper(question, facts, read):
        rng = random.Random(f"{seed} {[*read]}")
        odds = [0.0 if rng.random() < zeros else rng.uniform(0.05, 0.95) for _ in range(count)]
        return Step(
            np.array([0.0 if v in read else p for v, p in enumerate(odds)]), rng.uniform(0.05, 0.9)
        )

    return stepper


def every(stepper, count, most):
    """Chain of places → its mean log-probability, by going through all of them."""
    scores = {}
    for size in range(min(most, count) + 1):
        for chain in permutations(range(count), size):
            steps = [stepper("q", FACTS[:count], chain[:j]) for j in range(size + 1)]
            odds = [step.facts[v] for step, v in zip(steps, chain, strict=False)]
            if all(odds):
                logs = [math.log(round(p, 5)) for p in [*odds, steps[-1].stop]]
                scores[chain] = sum(logs) / len(logs)
    return scores


@given(st.integers(0, 999), st.integers(1, 4), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_a_beam_that_holds_everything_finds_every_chain_best_first(seed, count, most):
    stepper = stepper_of(seed, count)
    chains = follow(stepper, "q", FACTS[:count], beam=999, most=most)
    expected = every(stepper, count, most)
    assert {chain.facts: chain.score for chain in chains} == pytest.approx(expected, abs=2e-5)
    scores = [chain.score for chain in chains]
    assert scores == sorted(scores, reverse=True)


@given(st.integers(0, 999), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_beam_keeps_the_best_of_each_level(seed, beam):
    stepper, most, count = stepper_of(seed, 4), 3, 4
    full = every(stepper, count, most)

    def open_score(chain):
        odds = [stepper("q", FACTS[:4], chain[:j]).facts[v] for j, v in enumerate(chain)]
        return sum(math.log(round(p, 5)) for p in odds) / len(odds) if all(odds) else None

    alive, ended = {()}, set()
    for level in range(most + 1):
        rows = [(full[chain], chain, True) for chain in ended | alive]
        for chain in permutations(range(count), level + 1) if level < most else ():
            if chain[:-1] in alive and open_score(chain) is not None:
                rows.append((open_score(chain), chain, False))
        rows = sorted(rows, key=lambda row: (-round(row[0], 5), row[1]))[:beam]
        ended = {chain for _, chain, over in rows if over}
        alive = {chain for _, chain, over in rows if not over}
    best = sorted(ended, key=lambda chain: (-round(full[chain], 5), chain))
    got = follow(stepper, "q", FACTS[:4], beam=beam, most=most)
    assert [chain.facts for chain in got] == best


@pytest.mark.parametrize("seed", range(6))
def test_greedy_takes_the_most_probable_step(seed):
    stepper = stepper_of(seed, 5)
    read = ()
    while len(read) < 4:
        step = stepper("q", FACTS, read)
        if step.stop >= max(step.facts):
            break
        read = (*read, int(np.argmax(step.facts)))
    (chain,) = follow(stepper, "q", FACTS, most=4)
    assert chain.facts == read
    steps = [stepper("q", FACTS, read[:j]) for j in range(len(read) + 1)]
    assert chain.probabilities == tuple(
        round(step.facts[v], 5) for step, v in zip(steps, read, strict=False)
    )
    assert chain.stop == round(steps[-1].stop, 5)


@pytest.mark.parametrize(
    "forced",
    [{0: 2}, {1: 0}, {2: 3, 0: 1}, {0: STOP}, {2: STOP}, {0: 3, 3: STOP}, {3: 1}],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_hops_by_hand_are_taken_and_the_rest_follows(seed, forced):
    stepper = stepper_of(seed, 4, zeros=0.0)
    expected = {
        chain: score for chain, score in every(stepper, 4, 4).items()
        if all(len(chain) == j if v == STOP else (*chain, *[None] * 4)[j] == v
               for j, v in forced.items())
    }  # fmt: skip
    got = follow(stepper, "q", FACTS[:4], beam=999, most=4, forced=forced)
    assert {chain.facts: chain.score for chain in got} == pytest.approx(expected, abs=2e-5)
    (greedy,) = follow(stepper, "q", FACTS[:4], most=4, forced=forced)
    assert greedy.facts in expected


def test_a_hop_by_hand_is_taken_where_nothing_is_probable():
    def stepper(question, facts, read):
        return Step(np.zeros(3), 1.0)

    assert follow(stepper, "q", FACTS[:3])[0].facts == ()
    (chain,) = follow(stepper, "q", FACTS[:3], forced={1: 0})
    assert chain == Chain((1, 0), (0.0, 0.0), 1.0)
    assert chain.score == pytest.approx(2 * math.log(1e-5) / 3, abs=1e-5)


def test_of_equal_chains_the_first_in_places_is_the_first():
    def stepper(question, facts, read):
        return Step(np.array([0.0 if v in read else 0.5 for v in range(3)]), 0.5)

    chains = follow(stepper, "q", FACTS[:3], beam=5)
    assert [chain.facts for chain in chains] == [(), (0,), (0, 1), (0, 1, 2), (0, 2)]
    assert chains[2].edges == [(ROOT, 0, 0.5), (0, 1, 0.5)]
    assert chains[0].edges == []


def test_a_stepper_is_asked_once_per_chain_and_step():
    asked = []

    def stepper(question, facts, read):
        asked.append((question, [*facts], tuple(read)))
        return Step(np.array([0.0 if v in read else 0.9 - v / 9 for v in range(5)]), 0.01)

    follow(stepper, "who", FACTS, most=3)
    assert asked == [("who", FACTS, chain) for chain in [(), (0,), (0, 1), (0, 1, 2)]]
    assert Chains(stepper, most=2)("who", FACTS).facts == (0, 1)
    assert not hasattr(Chains(stepper), "words")


@pytest.mark.parametrize(
    ("given_", "why"),
    [({"beam": 0}, "beam=0.*at least 1"), ({"most": 0}, "most=0.*at least 1"),
     ({"beam": True}, "beam=True"), ({"forced": {0: 5}}, r"forced\[0\]=5.*at most 4"),
     ({"forced": {0: STOP, 1: 2}}, r"forced\[0\]=-1.*at least 0"),
     ({"forced": {7: 1}}, r"forced\[7\].*most=7"), ({"forced": {8: STOP}}, "at most 7"),
     ({"forced": {5: 1}}, r"forced\[5\]: there are 5 facts"), ({"forced": {0: 1, 1: 1}}, "twice"),
     ({"forced": {6: STOP}}, r"forced\[6\]: there are 5 facts"), ({"forced": {-1: 1}}, "step of")],
)  # fmt: skip
def test_what_no_chain_can_have_is_refused(given_, why):
    with pytest.raises(ValueError, match=why):
        follow(lambda *_: pytest.fail("asked"), "q", FACTS, **given_)


@pytest.mark.parametrize(
    ("step", "read", "why"),
    [(Step(np.zeros(4), 0.5), (), r"\[4\] for 5 facts"), ([0.5] * 5, (), "a Step"),
     (Step(np.array([0, 0, 1.5, 0, 0]), 0.5), (), "fact 2 the probability 1.5"),
     (Step(np.array([0, np.nan, 0, 0, 0]), 0.5), (), "fact 1"), (Step(np.zeros(5), 2), (), "stop"),
     (Step(np.full(5, 0.5), 0.5), (3,), "fact 3.*though it is read")],
    ids=["short", "list", "large", "nan", "stop", "again"],
)  # fmt: skip
def test_a_step_that_is_none_is_refused(step, read, why):
    with pytest.raises(ValueError, match=why):
        checked(step, 5, read)


class Bags:
    """An encoder by sums of random word vectors."""

    width = 16

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.vectors = {word: torch.randn(16, generator=generator) for word in WORDS}

    def encode(self, texts):
        sums = [sum(self.vectors[word] for word in text.split()) for text in texts]
        return torch.nn.functional.normalize(torch.stack(sums), dim=1)


@pytest.mark.parametrize("read", [(), (2,), (2, 0), (0, 1, 2, 3, 4, 5, 6)], ids=str)
def test_nearest_steps_by_its_rule(read):
    facts = [*FACTS, "old gate", "her hammer"]
    nearest = Nearest(Bags(), temperature=0.2, end=0.3, rise=0.05)
    step = nearest.step("mend her gate", facts, read)
    query = nearest.encoder.encode([" ".join(["mend her gate", *(facts[v] for v in read)])])[0]
    left = [v for v in range(7) if v not in read]
    cosines = {v: (query @ nearest.encoder.encode([facts[v]])[0]).item() for v in left}
    exps = {v: math.exp(c / 0.2) for v, c in cosines.items()}
    end = math.exp((0.3 + 0.05 * len(read)) / 0.2)
    total = sum(sorted(exps.values())[-5:]) + end
    expected = [exps.get(v, 0.0) / total for v in range(7)]
    assert step.facts == pytest.approx(expected, abs=1e-4)
    assert step.stop == pytest.approx(end / total, abs=1e-4)
    checked(step, 7, read)


def test_nearest_refuses_what_it_cannot_step_from():
    nearest = Nearest(Bags())
    with pytest.raises(ValueError, match=r"read\[0\]=5"):
        nearest.step("mend", FACTS, [5])
    with pytest.raises(ValueError, match="question"):
        nearest.step(" ", FACTS, [])
    assert Chains(nearest.step).words == nearest.words
