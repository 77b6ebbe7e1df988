"""The loss of a path retriever: against every chain and step by itself, and counts by hand."""

import random
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import logsigmoid

from tests.retrievers.small import QUESTIONS, lexical, naive_state
from workbench.retrievers.chain_loss import CORRUPTED, corrupted, nearest_facts, path_loss
from workbench.retrievers.model import PATH

CHAINS = [
    [(2, 0, 5), (0, 2, 5), (2, 0), (2, 0, 5, 7), (), (2, 4, 5)],
    [(3,), (), (1,), (3, 6)],
    [(1, 4), (4, 1)],
]


def slow_loss(retriever, questions, chains, positive_weight, chain_weight):
    """State by state, of each chain anew, by the formulas of the network."""
    facts, ends, chain_losses = [], [], []
    for question, of in zip(questions, chains, strict=True):

        def at(path, question=question):
            logits, state = naive_state(retriever, question, path)
            return torch.tensor(logits), retriever.end(state[0].mean(0))[0]

        for j in range(len(of[0]) + 1):
            logits, end = at(of[0][:j])
            for i, z in enumerate(logits):
                right = j < len(of[0]) and i == of[0][j]
                facts.append(-(positive_weight * logsigmoid(z) if right else logsigmoid(-z)))
            ends.append(-logsigmoid(end if j == len(of[0]) else -end))
        scores = []
        for chain in of:
            hops = [at(chain[:j])[0].log_softmax(0)[v] for j, v in enumerate(chain)]
            scores.append(sum(hops) + logsigmoid(at(chain)[1]))
        chain_losses.append(-torch.stack(scores).log_softmax(0)[0])
    parts = [torch.stack(part).mean() for part in (facts, ends, chain_losses)]
    return parts[0] + parts[1] + chain_weight * parts[2]


@pytest.mark.parametrize(("positive_weight", "chain_weight"), [(1.0, 0.0), (2.0, 1.0), (2.0, 0.3)])
def test_the_loss_is_that_of_each_chain_by_itself(positive_weight, chain_weight):
    retriever, questions = lexical(PATH), QUESTIONS[:3]  # pools of different sizes
    pool = retriever.encoder.pool(questions)
    with torch.no_grad():
        fast = path_loss(retriever, pool, CHAINS, positive_weight, chain_weight)
        slow = slow_loss(retriever, questions, CHAINS, positive_weight, chain_weight)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_same_chains_apart():
    """What chains share is computed once, and its gradients still add up."""
    retriever, question = lexical(PATH), QUESTIONS[0]
    pool = retriever.encoder.pool([question] * 2)
    twice = path_loss(retriever, pool, [CHAINS[0]] * 2, 2.0, 1.0)
    once = path_loss(retriever, retriever.encoder.pool([question]), CHAINS[:1], 2.0, 1.0)
    parameters = dict(retriever.named_parameters())
    both = [torch.autograd.grad(of, [*parameters.values()], allow_unused=True)
            for of in (twice, once)]  # fmt: skip
    for name, a, b in zip(parameters, *both, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
        if name.startswith("end"):
            assert a.abs().max() > 1e-3


def test_facts_that_share_most_words_stand_in():
    facts = ["Ada was born in Rome", "Bo was born in Oslo", "Ada likes Bo", "a gate", "Bo, Rome",
             "Cy was born in Bern"]  # fmt: skip
    # Three of seven words, both; then one of six, before one of seven.
    assert nearest_facts(facts, (0,)) == {0: [1, 5, 4]}
    assert nearest_facts(facts, (0, 1))[1] == [5, 4, 2]
    assert nearest_facts(facts[:1], (0,)) == {0: []}


@pytest.mark.parametrize("length", [1, 2, 4])
def test_corrupted_chains_are_wrong_in_the_ways_that_are_named(length):
    chain, near = tuple(range(10, 10 + length)), {10 + i: [i, i + 1] for i in range(length)}
    kinds = set()
    for seed in range(20):
        drawn = corrupted(chain, near, 20, random.Random(seed))
        assert drawn == corrupted(chain, near, 20, random.Random(seed))
        assert len({*drawn}) == len(drawn) == CORRUPTED
        for wrong in drawn:
            off = [i for i, (a, b) in enumerate(zip(chain, wrong, strict=False)) if a != b]
            if len(wrong) < length:
                assert wrong == chain[: len(wrong)]
                kinds.add("truncated")
            elif len(wrong) == length + 1:
                assert wrong[:-1] == chain
                assert wrong[-1] not in chain
                assert wrong[-1] < 20
                kinds.add("extended")
            elif len(off) == 1:
                assert wrong[off[0]] in near[chain[off[0]]]
                kinds.add("replaced")
            else:
                assert len(off) == 2
                assert sorted(wrong) == sorted(chain)
                kinds.add("swapped")
    assert kinds == {"truncated", "extended", "replaced"} | ({"swapped"} if length > 1 else set())


def test_a_pool_of_one_fact_has_one_wrong_chain():
    assert corrupted((0,), {0: []}, 1, random.Random(0)) == [()]
    retriever = lexical(PATH)
    pool = retriever.encoder.pool([replace(QUESTIONS[0], facts=QUESTIONS[0].facts[:1])])
    assert path_loss(retriever, pool, [[(0,), ()]], 2.0, 1.0).isfinite()
