"""The gate for any `generate()` of transformers: stateless, a token at a time."""

from typing import Any

import torch
from transformers import LogitsProcessor

from workbench.arguments import shown
from workbench.papers.neural_comprehension.gate import WINDOW, Gate
from workbench.papers.neural_comprehension.vocabulary import vocabulary_of


class GateProcessor(LogitsProcessor):
    """A gate as a `LogitsProcessor`: greedy, sampling, beams, batches, left padding.

    What it does to a row depends on the row's ids alone; of an encoder-decoder those are the
    decoder's. Every token that it forces is in `gate.log`, with the scores' own probability; of
    rows alike each has an entry. An answer that is begun is gone on with.

    Raises `ValueError` for no gate, `ModelError` for a tokenizer that does not decode or cannot
    write a trigger.

    >>> processors = LogitsProcessorList([GateProcessor(Gate(["addition"]), tokenizer)])
    >>> model.generate(**inputs, logits_processor=processors)
    """

    def __init__(self, gate: Gate, tokenizer: Any) -> None:
        if not isinstance(gate, Gate):
            raise ValueError(f"gate={shown(gate)}: it must be a Gate")
        self.gate, self.vocabulary = gate, vocabulary_of(tokenizer)
        self.hot = torch.zeros(len(self.vocabulary.pieces) + 1, dtype=torch.bool)
        self.hot[self.vocabulary.completing(frozenset(rule.trigger for rule in gate.rules))] = True

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        # Models have more tokens than their tokenizers know.
        last = input_ids[:, -WINDOW:].cpu().clamp(max=len(self.hot) - 1)
        near = self.hot[last].any(1).nonzero()[:, 0]
        if not len(near):
            return scores
        rows, near = input_ids.cpu()[near].tolist(), near.to(scores.device)
        return scores.index_copy(0, near, self.gate.shaped(self.vocabulary, rows, scores[near]))
