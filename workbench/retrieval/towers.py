"""A sentence encoder trained as one tower for queries and facts ("DPR-style", §4 of the method).

A query is drawn to its fact and away from others: those of the batch, and those that the encoder
itself takes for it. Random facts alone are too easy: the loss is near 0 before anything is learnt.
"""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from workbench import arguments
from workbench.models.encoders import Encoder

log = logging.getLogger(__name__)

PART = 64
"""Queries whose nearest facts are looked for at once."""


@dataclass(frozen=True)
class Pair:
    """A query with the fact that is right for it, and facts that are not.

    `also`: further facts that are right, or were read already: negatives for no such query.
    """

    query: str
    fact: str
    negatives: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class TowerFit:
    """`rounds` times pairs are drawn, for `steps` steps of `batch` pairs each.

    `scale`: of cosines in the softmax. The learning rate rises over `warm` of the steps, and falls
    to 0. Raises `ValueError` for a number out of range.
    """

    rounds: int = 8
    steps: int = 6
    batch: int = 16
    lr: float = 1e-4
    scale: float = 20.0
    warm: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rounds", "steps", "batch"):
            arguments.whole(name, getattr(self, name), 1)
        for name in ("lr", "scale", "clip"):
            arguments.finite(name, getattr(self, name), above=0)
        arguments.finite("warm", self.warm, 0, 1)
        arguments.finite("weight_decay", self.weight_decay, 0)


Draw = Callable[[int, Encoder], Sequence[Pair]]
"""(round, the encoder as it is by then) → that round's pairs, in the order in which they come."""


def tuned(encoder: Encoder, draw: Draw, fit: TowerFit) -> Encoder:
    """A copy of the encoder, trained without dropout: the same for the same pairs on one thread.

    Raises `ValueError` where a round has fewer pairs than its steps take.

    >>> better = tuned(wb.load_encoder("minilm"), lambda i, now: mined(now, pairs[i], facts, 3),
    ...                TowerFit(rounds=len(pairs)))
    """
    # A plain one: what is cached is of weights that stay.
    tower = Encoder(copy.deepcopy(encoder.hf).eval(), encoder.tokenizer, encoder.name,
                    encoder.max_tokens)  # fmt: skip
    weights = [weight for weight in tower.hf.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=fit.lr, weight_decay=fit.weight_decay)
    every = fit.rounds * fit.steps
    rise = max(1.0, fit.warm * every)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / rise) * (1 - step / every)
    )
    for number in range(fit.rounds):
        pairs = list(draw(number, tower))
        if len(pairs) < fit.steps * fit.batch:
            raise ValueError(
                f"round {number} has {len(pairs)} pairs for {fit.steps} steps of {fit.batch}"
            )
        for step in range(fit.steps):
            optimizer.zero_grad()
            value = loss(tower, pairs[step * fit.batch : (step + 1) * fit.batch], fit.scale)
            value.backward()
            torch.nn.utils.clip_grad_norm_(weights, fit.clip)
            optimizer.step()
            schedule.step()
        log.info("round %d of %d: loss %.3f", number + 1, fit.rounds, value.item())
    return replace(tower, name=f"{encoder.name} (trained)")


def loss(encoder: Encoder, pairs: Sequence[Pair], scale: float) -> torch.Tensor:
    """Mean cross-entropy of each query's fact among all facts of the batch, by cosine × `scale`.

    What is `also` right for a query is left out of its softmax, whoever's fact it is.
    """
    facts = list(dict.fromkeys(text for pair in pairs for text in (pair.fact, *pair.negatives)))
    at = {fact: i for i, fact in enumerate(facts)}
    logits = scale * encoder.vectors([p.query for p in pairs]) @ encoder.vectors(facts).T
    out = torch.zeros_like(logits, dtype=torch.bool)
    for row, pair in enumerate(pairs):
        out[row, [at[fact] for fact in pair.also if fact in at and fact != pair.fact]] = True
    right = torch.tensor([at[pair.fact] for pair in pairs], device=logits.device)
    return torch.nn.functional.cross_entropy(logits.masked_fill(out, -torch.inf), right)


def mined(encoder: Encoder, pairs: Sequence[Pair], facts: Sequence[str], count: int) -> list[Pair]:
    """The pairs with the `count` facts nearest to each query that are wrong for it, behind theirs.

    Fewer where there are no more. Raises `ValueError` for a count below 1.
    """
    arguments.whole("count", count, 1)
    vectors, out = encoder.encode(facts), list[Pair]()
    for start in range(0, len(pairs), PART):
        part = pairs[start : start + PART]
        order = (encoder.encode([p.query for p in part]) @ vectors.T).argsort(1, descending=True)
        for pair, places in zip(part, order.tolist(), strict=True):
            right = {pair.fact, *pair.also, *pair.negatives}
            wrong = dict.fromkeys(facts[at] for at in places if facts[at] not in right)
            out.append(replace(pair, negatives=(*pair.negatives, *[*wrong][:count])))
    return out
