"""Token states of a sentence encoder that is not trained, brought to the network's width."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from workbench.models.encoders import Encoder
from workbench.papers.graphhop.model import Pool
from workbench.retrieval.graphs import Evidence


class FrozenEncoder(nn.Module):
    """States as `models.encoders` has them, each text's once; a linear layer is fitted."""

    reads_last = False

    def __init__(self, encoder: Encoder, d: int) -> None:
        super().__init__()
        self.encoder, self.linear = encoder, nn.Linear(encoder.width, d)
        self._states: dict[str, torch.Tensor] = {}

    def pool(self, questions: Sequence[Evidence]) -> Pool:
        """The states of all tokens, in float16 in between."""
        texts = [text for q in questions for text in (q.question, *q.facts)]
        new = [text for text in dict.fromkeys(texts) if text not in self._states]
        for text, states in zip(new, self.encoder.states(new), strict=True):
            self._states[text] = states.half()
        here = self.linear.weight.device
        asked = pad_sequence([self._states[q.question] for q in questions], True).to(here)
        told = [self._states[fact] for q in questions for fact in q.facts]
        sizes = [len(q.facts) for q in questions]
        facts = pad_sequence(pad_sequence(told, True).split(sizes), True).to(here)
        lengths = torch.tensor([len(states) for states in told]).split(sizes)
        facts_there = self._there(pad_sequence(lengths, True).to(here), facts.shape[2])
        asked_lengths = torch.tensor([len(self._states[q.question]) for q in questions])
        there = self._there(asked_lengths.to(here), asked.shape[1])
        return Pool(asked.float(), there, facts.float(), facts_there)

    def questions(self, pool: Pool) -> torch.Tensor:
        """`[questions, tokens, d]`."""
        return self.linear(pool.questions)

    def facts(self, pool: Pool, last: torch.Tensor) -> torch.Tensor:
        """`[questions, facts, tokens, d]`, whatever was read last."""
        return self.linear(pool.facts)

    def _there(self, lengths: torch.Tensor, longest: int) -> torch.Tensor:
        return torch.arange(longest, device=lengths.device) < lengths[..., None]
