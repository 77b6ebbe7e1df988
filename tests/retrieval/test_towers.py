"""An encoder fitted by contrast: its loss against a plain loop, its negatives against a sort."""

import math
import random
from dataclasses import replace

import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.errors import ModelError
from workbench.retrieval.towers import Contrast, Pair, fitted, hardest, loss

SCALE = 7.0


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")


def texts(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.sample(WORDS, rng.randint(2, 9))) for _ in range(count)]


FACTS, QUERIES = texts(12, 1), texts(4, 2)
PAIRS = [
    Pair(QUERIES[0], FACTS[0], (FACTS[4], FACTS[5]), (FACTS[6],)),
    # Right for the same query, and not to be pushed away by it.
    Pair(QUERIES[0], FACTS[1], (FACTS[6],)),
    Pair(QUERIES[1], FACTS[2], (FACTS[5], FACTS[7]), (FACTS[0],)),
    # The fact of another query, which is wrong for that one.
    Pair(QUERIES[2], FACTS[0], (FACTS[8],)),
]


def slow_loss(encoder, pairs):
    """Term by term, one text at a time."""
    total = 0.0
    for pair in pairs:
        there = {text for p in pairs for text in (p.fact, *p.negatives)}
        there -= {p.fact for p in pairs if p.query == pair.query} | {*pair.ignored}
        (asked,) = encoder.encode([pair.query]).double()

        def score(text, asked=asked):
            return SCALE * float(asked @ encoder.encode([text])[0].double())

        gold = score(pair.fact)
        total += math.log(math.exp(gold) + sum(math.exp(score(t)) for t in sorted(there))) - gold
    return total / len(pairs)


def test_loss_is_that_of_a_plain_loop(encoder):
    for pairs in (PAIRS, PAIRS[:1], PAIRS[1:], PAIRS[::-1]):
        assert loss(encoder, pairs, SCALE).item() == pytest.approx(slow_loss(encoder, pairs), 1e-4)


def test_a_pair_that_ignores_its_own_fact_still_looks_for_it(encoder):
    pairs = [replace(PAIRS[0], ignored=(FACTS[0],)), PAIRS[2]]
    assert torch.isfinite(loss(encoder, pairs, SCALE))


def test_fitting_finds_the_facts_and_leaves_the_encoder_as_it_was(encoder):
    before = encoder.identity()
    pairs = [Pair(query, fact) for query, fact in zip(QUERIES, FACTS, strict=False)]
    settings = Contrast(batch=4, learning_rate=3e-3)
    seen = []

    def draw(current):
        seen.append(current.identity())
        return pairs

    better = fitted(encoder, [draw] * 30, settings, 0)
    assert encoder.identity() == before != better.identity()
    assert len({*seen}) == 30  # each round sees the encoder as it is by then
    assert not any(weight.requires_grad for weight in better.hf.parameters())
    assert loss(better, pairs, 20) < 0.5 * loss(encoder, pairs, 20)


def test_the_same_seed_gives_the_same_encoder_and_another_another(encoder):
    draws = [lambda current: PAIRS] * 2
    settings = Contrast(batch=2, learning_rate=1e-3)
    made = [fitted(encoder, draws, settings, seed).identity() for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]


def test_every_pair_of_a_round_counts(encoder):
    settings = Contrast(batch=2, learning_rate=1e-3)
    whole = fitted(encoder, [lambda current: PAIRS[:3]], settings, 0)
    part = fitted(encoder, [lambda current: PAIRS[:2]], settings, 0)
    assert whole.identity() != part.identity()


def test_hardest_are_the_nearest_wrong_facts(encoder):
    cosines = encoder.encode(QUERIES) @ encoder.encode(FACTS).T
    for pair, harder in zip(PAIRS, hardest(encoder, FACTS, PAIRS, 3), strict=True):
        row = cosines[QUERIES.index(pair.query)].tolist()
        right = {p.fact for p in PAIRS if p.query == pair.query}
        order = sorted(range(len(FACTS)), key=lambda i: -row[i])
        wrong = [FACTS[i] for i in order
                 if FACTS[i] not in {*right, *pair.ignored, *pair.negatives}]  # fmt: skip
        assert harder == replace(pair, negatives=(*pair.negatives, *wrong[:3]))


def test_of_few_facts_as_many_as_there_are(encoder):
    (pair,) = hardest(encoder, FACTS[:3], [Pair("mend", FACTS[0])], 5)
    assert sorted(pair.negatives) == sorted(FACTS[1:3])


def test_refused(encoder):
    with pytest.raises(ValueError, match="pairs"):
        fitted(encoder, [lambda current: []], Contrast(), 0)
    with pytest.raises(ValueError, match="pairs"):
        hardest(encoder, FACTS, [], 2)
    nothing = replace(encoder, hf=torch.nn.Identity(), name="nothing")
    with pytest.raises(ModelError, match="nothing has no weights"):
        fitted(nothing, [lambda current: PAIRS], Contrast(), 0)
    with pytest.raises(ValueError, match="count"):
        hardest(encoder, FACTS, PAIRS, 0)
