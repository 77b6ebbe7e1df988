"""Token states of a sentence encoder that is trained along with the network, as released."""

import copy
import logging
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import Evidence
from workbench.retrievers.model import Pool

log = logging.getLogger(__name__)


class TunedEncoder(nn.Module):
    """A copy of the encoder whose token states have gradients; their width is the network's.

    Texts of more than `max_tokens` tokens are cut: `warn_of_cuts` says how many.
    """

    reads_last = False

    def __init__(self, encoder: Encoder, max_tokens: int) -> None:
        super().__init__()
        self.about = {"reads": "tuned", "encoder": encoder.name, "identity": encoder.identity(),
                      "max_tokens": max_tokens}  # fmt: skip
        self.hf, self.tokenizer = copy.deepcopy(encoder.hf), encoder.tokenizer
        self.max_tokens = min(max_tokens, encoder.max_tokens)

    def pool(self, questions: Sequence[Evidence]) -> Pool:
        """States of the last layer; a text that several questions share is encoded once."""
        place: dict[str, int] = {}
        for question in questions:
            for text in (question.question, *question.facts):
                place.setdefault(text, len(place))
        batch = self.tokenizer(
            [*place], padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.hf.device)
        ids, there = batch["input_ids"], batch["attention_mask"]
        states = self.hf(input_ids=ids, attention_mask=there).last_hidden_state.float()
        asked = ids.new_tensor([place[q.question] for q in questions])
        rows = [ids.new_tensor([place[fact] for fact in q.facts]) for q in questions]
        told = pad_sequence(rows, True, -1)
        there, at = there.bool(), told.clamp(0)
        return Pool(states[asked], there[asked], states[at], there[at] & (told >= 0)[..., None])

    def questions(self, pool: Pool) -> torch.Tensor:
        """`[questions, tokens, width]`."""
        return pool.questions

    def facts(self, pool: Pool, last: torch.Tensor) -> torch.Tensor:
        """`[questions, facts, tokens, width]`, whatever was read last."""
        return pool.facts


def warn_of_cuts(encoder: Encoder, questions: Sequence[Evidence], max_tokens: int) -> None:
    """Log which share of the texts has more tokens than are read (§7)."""
    texts = list(dict.fromkeys(text for q in questions for text in (q.question, *q.facts)))
    rows = encoder.tokenizer(texts, padding=False, truncation=False, verbose=False)["input_ids"]
    most = min(max_tokens, encoder.max_tokens)
    if long := sum(len(ids) > most for ids in rows):
        share = 100 * long / len(texts)
        log.warning("%.1f %% of %d texts are cut to %d tokens", share, len(texts), most)
