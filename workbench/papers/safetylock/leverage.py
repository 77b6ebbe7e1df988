"""What a head does, measured: change of the refuse-against-comply margin when it alone is shifted.

High probe accuracy is not causal leverage (SafetyLock trap 18): late heads read out what was
already written. The third head selection therefore ranks by effect on the *base* model.
"""

from collections.abc import Sequence

import torch

from workbench.data.preferences import Row
from workbench.errors import DatasetError
from workbench.models.model import Model
from workbench.models.prompts import encode, messages
from workbench.papers.safetylock.lock import Contrast
from workbench.steering.directions import HeadDirections
from workbench.steering.steer import steer

Tokens = tuple[list[int], list[int]]
"""Token ids that begin a refusing and a complying sentence, those that begin both left out."""


def openers(model: Model, pairs: Sequence[Row], later: bool = False) -> Tokens:
    """Tokens that begin the first sentence of safe and unsafe answers, or (`later`) the others."""

    def starts(side: str) -> set[int]:
        texts = []
        for pair in pairs:
            head, *rest = pair[side].split(". ")
            texts += [f" {sentence}" for sentence in rest if sentence] if later else [head]
        if not texts:
            return set()
        return {ids[0] for ids in model.tokenizer(texts, add_special_tokens=False)["input_ids"]}

    safe, unsafe = starts("chosen"), starts("rejected")
    return sorted(safe - unsafe), sorted(unsafe - safe)


@torch.inference_mode()
def margin(model: Model, ids: Sequence[list[int]], tokens: Tokens) -> float:
    """log P(refusing openers) − log P(complying openers) of the next token, mean nats."""
    last = torch.tensor([len(row) - 1 for row in ids])
    pad = model.tokenizer.pad_token_id
    rows = [row + [pad] * (int(last.max()) + 1 - len(row)) for row in ids]
    logits = model.hf(torch.tensor(rows, device=model.hf.device), use_cache=False).logits
    chosen = logits[torch.arange(len(ids)), last].double()
    safe, unsafe = tokens
    return float((chosen[:, safe].logsumexp(1) - chosen[:, unsafe].logsumexp(1)).mean())


def head_effects(
    model: Model,
    directions: HeadDirections,
    alpha: float,
    ids: Sequence[list[int]],
    tokens: Tokens,
) -> list[float]:
    """Change of `margin` when each head of `directions` is shifted alone, in their order."""
    before = margin(model, ids, tokens)
    effects = []
    for i in range(len(directions)):
        with steer(model, directions.pick([i]), alpha):
            effects.append(margin(model, ids, tokens) - before)
    return effects


def first_reply_ids(model: Model, rows: Sequence[Row], system: str = "") -> list[list[int]]:
    """Token ids of harmful requests, up to where the reply begins."""
    return [encode(model, messages(r["prompt"], system)).ids for r in rows if r["harmful"]]


def leverage(
    model: Model, contrast: Contrast, rows: Sequence[Row], pairs: Sequence[Row], count: int = 40
) -> torch.Tensor:
    """Score `[L, H]` of every head: effect where refusal is decided, less half its cost elsewhere.

    Effect: on the first reply token to harmful requests. Cost: the rise of the margin after the
    first sentence of a helpful reply to harmless ones, where a shift breaks off help in mid-reply.
    Both at alpha 1, on the base model and training rows only.

    Raises `DatasetError` where rows lack `chosen` replies, or the two kinds of answer begin alike.
    """
    harmful = [r for r in rows if r["harmful"]][:count]
    harmless = [r for r in rows if not r["harmful"] and r.get("chosen")][:count]
    first, later = openers(model, pairs), openers(model, pairs, later=True)
    if not harmless or not all((*first, *later)):
        raise DatasetError(
            "selection='leverage' needs harmless rows with a `chosen` reply, and answers of some "
            "sentences that begin differently; use selection='validation'"
        )
    n_layers, n_heads = contrast.acts.values.shape[2:4]
    cells = [(layer, head) for layer in range(n_layers) for head in range(n_heads)]
    every = HeadDirections.contrast(contrast.acts, contrast.labels, cells)
    begun = [
        encode(
            model,
            [
                *messages(r["prompt"]),
                {"role": "assistant", "content": r["chosen"].split(". ")[0] + "."},
            ],
        ).ids
        for r in harmless
    ]
    effect = head_effects(model, every, 1.0, first_reply_ids(model, harmful), first)
    cost = head_effects(model, every, 1.0, begun, later)
    score = torch.full((n_layers, n_heads), -torch.inf)
    for cell, gain, loss in zip(every.heads, effect, cost, strict=True):
        score[cell] = gain - 0.5 * max(0.0, loss)
    return score
