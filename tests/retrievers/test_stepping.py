"""A network's steps, against its formulas a fact at a time, and its greedy search."""

import numpy as np
import pytest
import torch

import workbench as wb
from tests.retrievers.small import QUESTIONS, lexical, naive
from workbench.retrieval.steps import checked, follow
from workbench.retrievers.search import retrieved
from workbench.retrievers.stepping import stepper_of


@pytest.mark.parametrize("path", [(), (3,), (3, 0), (0, 3), (5, 2, 7)], ids=str)
@pytest.mark.parametrize("number", [0, 1])
def test_a_step_is_the_networks(number, path):
    retriever, question = lexical(), QUESTIONS[number]
    step = stepper_of(retriever)(question.question, question.facts, path)
    with torch.no_grad():
        expected = torch.sigmoid(torch.tensor(naive(retriever, question, path))).double().numpy()
    expected[[*path]] = 0
    assert step.facts == pytest.approx(expected, abs=1e-5)
    assert step.stop == pytest.approx(1 - expected.max(), abs=1e-5)
    checked(step, len(question.facts), path)


def test_steps_do_not_depend_on_what_was_asked_before():
    retriever = lexical()
    kept = stepper_of(retriever)
    asked = [(0, ()), (0, (3, 1)), (1, (3, 1)), (0, (3,)), (0, (1, 3)), (0, (3, 1)), (0, (1, 3))]
    for number, path in asked:
        q = QUESTIONS[number]
        fresh = stepper_of(retriever)(q.question, q.facts, path)
        again = kept(q.question, q.facts, path).facts
        assert np.array_equal(again, fresh.facts)
        again[:] = 0  # what is given away is no longer the network's


def test_texts_are_encoded_once_and_states_read_once(monkeypatch):
    retriever, q = lexical(), QUESTIONS[0]
    calls = []
    for owner, name in ((retriever.encoder, "pool"), (retriever, "step")):
        own = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, own=own, n=name: calls.append(n) or own(*a))
    stepper = stepper_of(retriever)
    for path in ((), (1,), (1, 2), (1, 2), (1, 4)):
        stepper(q.question, q.facts, path)
    assert calls == ["pool", "step", "step", "step"]


@pytest.mark.parametrize("number", range(4))
def test_the_chain_is_that_of_the_greedy_search(number):
    retriever, q = lexical(), QUESTIONS[number]
    edges = retrieved(retriever, [q], above=0.5, depth=4, greedy=True)[0]
    got = wb.explain(q.question, q.facts, stepper_of(retriever), beam=1, most=4)
    # A sigmoid above a half is above its stop.
    assert sorted((u, v) for u, v, _ in got.edges) == [(u, v) for u, v, _ in edges]
    (chain,) = follow(stepper_of(retriever), q.question, q.facts, most=4)
    assert got.chain == chain.facts
    assert any(e for e in edges)


def test_what_is_no_forward_network_or_place_is_refused():
    for direction in ("backward", "one_hop"):
        with pytest.raises(ValueError, match="direction"):
            stepper_of(lexical(direction))
    with pytest.raises(ValueError, match=r"read\[0\]=99"):
        stepper_of(lexical())("q", QUESTIONS[0].facts, [99])
