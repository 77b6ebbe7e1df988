"""Path retriever: its beam against every chain and a step at a time, its training by results."""

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from tests.retrievers.small import QUESTIONS, lexical, naive_state
from workbench.errors import CacheMismatch
from workbench.retrieval.graphs import ROOT
from workbench.retrieval.steps import follow
from workbench.retrievers import checkpoint
from workbench.retrievers.model import PATH
from workbench.retrievers.paths import (
    best_paths,
    trained_paths,
)
from workbench.retrievers.search import retrieved
from workbench.retrievers.stepping import stepper_of
from workbench.retrievers.train import Fit
from workbench.worlds.chains import questions

SMALL = Fit(d=16, heads=2, epochs=2, batch=8)


@pytest.fixture(scope="module")
def retriever():
    network = lexical(PATH)
    with torch.no_grad():
        # Ends of every probability, behind chains of every length.
        network.end.weight.mul_(12)
        network.out.bias.fill_(-1.0)
    return network


@cache
def asked():
    return questions("train", 16, worlds=2, pool=12, types=("What",), depths=(1, 2, 3))


def every_chain(retriever, question, most):
    """Scores of all chains of at most `most` facts, by the network's formulas."""
    scores = {}

    def go(path, logs):
        logits, state = naive_state(retriever, question, path)
        end = torch.sigmoid(retriever.end(state[0].mean(0))).item()
        scores[path] = (sum(logs) + math.log(end)) / (len(path) + 1)
        for v, p in enumerate(torch.sigmoid(torch.tensor(logits)).tolist()):
            if len(path) < most and v not in path:
                go((*path, v), [*logs, math.log(p)])

    with torch.no_grad():
        go((), [])
    return scores


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_beam_of_all_is_the_best_of_all_chains(retriever, number):
    question = replace(QUESTIONS[number], facts=QUESTIONS[number].facts[:4])
    scores = every_chain(retriever, question, 3)
    (chains,) = best_paths(retriever, [question], beam=len(scores), most=3)
    assert len(chains) == len(scores) == 1 + 4 + 12 + 24
    assert [c.score for c in chains] == pytest.approx(
        sorted(scores.values(), reverse=True), abs=5e-4
    )
    for chain in chains:
        assert chain.score == pytest.approx(scores[chain.facts], abs=5e-4)


@pytest.mark.parametrize("beam", [1, 2, 4])
def test_many_questions_at_once_are_a_step_at_a_time_of_each(retriever, beam):
    together = best_paths(retriever, QUESTIONS[:6], beam=beam, most=4)
    lengths = set()
    for question, chains in zip(QUESTIONS[:6], together, strict=True):
        alone = follow(stepper_of(retriever), question.question, question.facts, beam=beam, most=4)
        assert [chain.facts for chain in chains] == [chain.facts for chain in alone]
        assert [chain.score for chain in chains] == pytest.approx(
            [c.score for c in alone], abs=3e-5
        )
        assert [c.stop for c in chains] == pytest.approx([c.stop for c in alone], abs=2e-5)
        lengths |= {len(chain.facts) for chain in chains}
    assert len(lengths) > 1


def test_the_same_seed_is_the_same_network_and_learns():
    first, again, other = (trained_paths(asked(), SMALL, seed) for seed in (0, 0, 1))
    for name, weights in first.state_dict().items():
        assert torch.equal(weights, again.state_dict()[name])
    assert not torch.equal(first.end.weight, other.end.weight)
    assert first.direction == PATH
    assert not first.training


def test_a_killed_training_goes_on(tmp_path):
    whole = trained_paths(asked(), replace(SMALL, epochs=2, schedule="cosine"), 3)
    state, calls = tmp_path / "state", []

    def dies(*args):
        calls.append(args)
        if len(calls) == 4:  # of two batches an epoch
            raise KeyboardInterrupt
        return loss(*args)

    from workbench.retrievers import paths

    loss = paths.path_loss
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "path_loss", dies)
        with pytest.raises(KeyboardInterrupt):
            trained_paths(asked(), replace(SMALL, epochs=2, schedule="cosine"), 3, state=state)
    rest = trained_paths(asked(), replace(SMALL, epochs=2, schedule="cosine"), 3, state=state)
    for name, weights in whole.state_dict().items():
        assert torch.equal(weights, rest.state_dict()[name])


def test_a_saved_network_is_the_same(tmp_path, retriever):
    network = trained_paths(asked()[:8], replace(SMALL, epochs=1), 0, chain_weight=0.5)
    checkpoint.save(network, tmp_path / "n", SMALL, seed=0, data="d", thresholds={"weight": 0.5})
    loaded, _ = checkpoint.load(tmp_path / "n", direction=PATH)
    assert best_paths(loaded, asked()[:3]) == best_paths(network, asked()[:3])
    with pytest.raises(CacheMismatch, match="direction"):
        checkpoint.load(tmp_path / "n", direction="forward")


def test_a_branching_question_is_learnt_in_its_order(monkeypatch):
    from workbench.retrievers import paths

    seen = []
    own = paths.path_loss
    monkeypatch.setattr(paths, "path_loss", lambda *a: seen.append(a[2]) or own(*a))
    branching = replace(asked()[0], edges=((ROOT, 1), (ROOT, 3), (1, 5)), chain=(3, 1, 5))
    trained_paths([branching], replace(SMALL, epochs=2), 0)
    assert [of[0][0] for of in seen] == [(3, 1, 5)] * 2
    assert seen[0][0][1:] != seen[1][0][1:]  # wrong ones are drawn anew


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda r: best_paths(r, QUESTIONS, beam=0), "beam"),
        (lambda r: best_paths(r, QUESTIONS, most=0), "most"),
        (lambda r: best_paths(lexical(), QUESTIONS), "direction"),
        (lambda r: best_paths(r, [replace(QUESTIONS[0], facts=())]), "facts of question"),
        (lambda r: trained_paths(asked(), SMALL, 0, chain_weight=-0.1), "chain_weight"),
        (lambda r: trained_paths([], SMALL, 0), "questions"),
        (lambda r: trained_paths(asked(), SMALL, -1), "seed"),
    ],
    ids=["beam", "most", "forward", "no facts", "weight", "none", "seed"],
)
def test_bad_input(retriever, call, match):
    with pytest.raises(ValueError, match=match):
        call(retriever)


def test_search_takes_it_as_a_forward_network(retriever):
    assert all(u == ROOT or u != v for u, v, _ in retrieved(retriever, QUESTIONS[:2])[0])
