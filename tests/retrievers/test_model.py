"""The network in batches: against one state and one fact at a time."""

import pytest
import torch

from tests.benchmarks.graphhop import shortcut
from tests.retrievers.small import QUESTIONS, lexical, naive
from workbench.models.encoders import Encoder
from workbench.retrievers.frozen import FrozenEncoder
from workbench.retrievers.model import Attention, Retriever


class Letters(Encoder):
    """States that stand for a text's letters."""

    width = 6
    name = "letters"

    def __init__(self):
        object.__setattr__(self, "calls", [])

    def identity(self):
        return "letters"

    def states(self, texts):
        self.calls.append(list(texts))
        return [torch.tensor([[ord(c) % (7 + i) / 7 for i in range(6)] for c in t]) for t in texts]


def frozen():
    torch.manual_seed(1)
    return Retriever(FrozenEncoder(Letters(), 16), "forward", 16, 2).eval()


@pytest.mark.parametrize("make", [lexical, frozen])
@torch.no_grad()
def test_states_in_batches_are_those_one_by_one(make):
    retriever = make()
    paths = [(0, (1, 4)), (0, (2, 4)), (1, (1, 0)), (1, (3, 4)), (2, (1, 0))]
    states = retriever.start(retriever.encoder.pool(QUESTIONS[:3]))
    for depth in range(3):
        scores = retriever.scores(states)
        rows = (
            [(row, path[:depth]) for row, path in paths] if depth else [(i, ()) for i in range(3)]
        )
        for of_state, (row, path) in zip(scores, rows, strict=True):
            there = of_state > -torch.inf
            assert there.tolist() == [v < len(QUESTIONS[row].facts) for v in range(12)]
            expected = torch.tensor(naive(retriever, QUESTIONS[row], path))
            torch.testing.assert_close(of_state[there], expected, atol=1e-5, rtol=1e-5)
        if depth < 2:
            parents = list(range(5)) if depth else [row for row, _ in paths]
            facts = [path[depth] for _, path in paths]
            states = retriever.step(states, torch.tensor(parents), torch.tensor(facts))


def test_a_frozen_text_is_encoded_once():
    retriever = frozen()
    first = retriever.encoder.pool(QUESTIONS[:3])
    again = retriever.encoder.pool(QUESTIONS[:3])
    assert torch.equal(first.facts, again.facts)
    texts = [text for call in retriever.encoder.encoder.calls for text in call]
    assert len(texts) == len(set(texts))
    assert len(list(retriever.encoder.parameters())) == 2


@torch.no_grad()
def test_a_row_that_has_nothing_to_read_stays_and_hinders_no_other():
    attention = Attention(8, 2, 0.0)
    x, y, there = torch.randn(2, 3, 8), torch.randn(2, 4, 8), torch.ones(2, 4).bool()
    there[0] = False
    read = attention(x, y, there)
    bare = attention.norm(x[:1] + attention.o.bias)
    torch.testing.assert_close(read[:1], bare)
    torch.testing.assert_close(read[1:], attention(x[1:], y[1:], there[1:]))


def test_the_shortcut_scores_as_the_naive_head():
    assert len(shortcut("toy")["shortcut_ratio"]) == 2
