"""Token states of a sentence encoder that is not trained, brought to the network's width."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import Evidence
from workbench.retrievers.model import Pool


class FrozenEncoder(nn.Module):
    """States as `models.encoders` has them, each text's once; a linear layer is fitted."""

    reads_last = False

    def __init__(self, encoder: Encoder, d: int) -> None:
        super().__init__()
        self.about = {"reads": "frozen", "encoder": encoder.name, "identity": encoder.identity()}
        self.encoder, self.linear = encoder, nn.Linear(encoder.width, d)
        self._states: dict[str, torch.Tensor] = {}

    def pool(self, questions: Sequence[Evidence]) -> Pool:
        """The states of all tokens, in float16 in between."""
        texts = [text for q in questions for text in (q.question, *q.facts)]
        new = [text for text in dict.fromkeys(texts) if text not in self._states]
        for text, states in zip(new, self.encoder.states(new), strict=True):
            self._states[text] = states.half()
        sizes = [len(q.facts) for q in questions]
        asked = pad_sequence([self._states[q.question] for q in questions], True, torch.nan)
        told = pad_sequence(
            [self._states[fact] for q in questions for fact in q.facts], True, torch.nan
        )
        parts = []
        for states in (asked, pad_sequence(told.split(sizes), True, torch.nan)):
            states = states.to(self.linear.weight.device).float()
            parts += [states.nan_to_num(), ~states[..., 0].isnan()]
        return Pool(*parts)

    def questions(self, pool: Pool) -> torch.Tensor:
        """`[questions, tokens, d]`."""
        return self.linear(pool.questions)

    def facts(self, pool: Pool, last: torch.Tensor) -> torch.Tensor:
        """`[questions, facts, tokens, d]`, whatever was read last."""
        return self.linear(pool.facts)
