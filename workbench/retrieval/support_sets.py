"""SSG, the support-set generator of neural databases: fact after fact by cosine, trained pairwise.

A state is the question and the facts chosen so far, an action one more fact, or `EOS`, which
closes the set (Thorne et al. 2021). As released it trains on at most two gold facts and searches
two rounds; ours, beside it, takes gold sets of any size, up to `ROUNDS` rounds and no fact twice.
"""

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from workbench import arguments
from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.lexical import texts

EOS, SEPARATOR = "<eos>", "[SEP]"
RELEASED_ABOVE, RELEASED_ROUNDS = 0.8, 2
ABOVE = (0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)
"""Least cosines of an action that are tried on dev."""
ROUNDS, MOST_STATES = 7, 200
_DIGITS = 5
Embed = Callable[[Sequence[str]], torch.Tensor]
"""Texts → vectors `[text, width]` of any length; a module of which the weights are trained."""
Pair = tuple[str, str, int]
"""(State, action, whether it is right)."""
SupportSet = tuple[tuple[int, ...], float]
"""(Places of the facts, sorted; mean cosine of the steps to it)."""


@dataclass(frozen=True)
class PairFit:
    """Training by pairs, the release's values; its library's where it says nothing (lr, decay)."""

    epochs: int = 10
    batch: int = 100
    lr: float = 2e-5
    weight_decay: float = 0.01
    warm: int = 100
    margin: float = 0.5
    positive_weight: float = 10.0
    every: int = 100


class MappedEncoder(nn.Module):
    """An encoder's vectors, each computed once, through a linear map: the identity at first."""

    def __init__(self, encoder: Encoder, vectors: dict[str, torch.Tensor] | None = None) -> None:
        """Keep the encoder as it is. `vectors`: those known; what is encoded is added to them."""
        super().__init__()
        self.encoder, self._vectors = encoder, {} if vectors is None else vectors
        self.map = nn.Linear(encoder.width, encoder.width, bias=False)
        nn.init.eye_(self.map.weight)

    def forward(self, texts: Sequence[str]) -> torch.Tensor:
        """`[text, width]`, float32."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._vectors]:
            self._vectors |= dict(zip(new, self.encoder.encode(new), strict=True))
        rows = torch.stack([self._vectors[text] for text in texts])
        return self.map(rows.to(self.map.weight.device))


def state(question: str, facts: Sequence[str]) -> str:
    """What is encoded of a question and the facts chosen so far, as released: without spaces.

    >>> state("Who mends gates?", ["Ada mends."])
    'Who mends gates?[SEP]Ada mends.'
    """
    return SEPARATOR.join((question, *facts))


def pairs(
    question: Evidence, *, released: bool = False, orders: int = 2, seed: int = 0
) -> list[Pair]:
    """What is learnt of a question with its gold facts.

    `released`: beyond the first step, the first two gold facts alone. Ours is the same for up to
    two, with wrong actions at every state; of more facts it takes `orders` random orders. Raises
    `ValueError` for a fact that reads `EOS`.
    """
    gold, told = list(question.nodes), actions_of(question.facts)
    begin = state(question.question, [])
    out = [(begin, EOS, 0), *((begin, fact, int(i in gold)) for i, fact in enumerate(told))]
    gold = gold[:2] if released else gold
    rng = random.Random(f"{seed} {question.id}")
    each = [rng.sample(gold, len(gold)) for _ in range(orders)]
    if len(gold) <= 2:
        each = [gold, gold[::-1]]
    seen: list[set[int]] = []
    prefixes = [(order[:size], order[size:]) for order in each for size in range(1, len(gold) + 1)]
    for read, left in prefixes:
        chosen = set(read)
        if chosen in seen:
            continue
        seen.append(chosen)
        here = state(question.question, [told[i] for i in read])
        if not (released and left):
            out.append((here, EOS, int(not left)))
        if left or not released or len(read) == 1:
            out += [(here, fact, int(i in left)) for i, fact in enumerate(told)]
    return out


def actions_of(facts: Sequence[str]) -> Sequence[str]:
    """The facts, none of which may be encoded as the end of a set is. Raises `ValueError`."""
    for i, fact in enumerate(facts):
        if fact.strip().casefold() == EOS:
            raise ValueError(f"fact {i} reads {fact!r}, which closes a set here; word it otherwise")
    return facts


def contrastive(a: torch.Tensor, b: torch.Tensor, labels: torch.Tensor, margin: float
                ) -> torch.Tensor:  # fmt: skip
    """Mean of ½d² of right pairs and ½max(0, `margin` - d)² of wrong ones, d = 1 - cosine.

    (Hadsell et al. 2006, as sentence-transformers has it.) `a`, `b`: `[pair, width]`.
    """
    distance = 1 - functional.cosine_similarity(a, b)
    short = functional.relu(margin - distance)
    return (labels * distance**2 + (1 - labels) * short**2).mean() / 2


def trained(
    embed: nn.Module, train: Sequence[Pair], dev: Sequence[Pair], fit: PairFit, seed: int
) -> nn.Module:
    """`embed` itself, fitted to pairs: as it was at its best average precision on dev.

    Right pairs are drawn more often, with replacement, as many as there are. Raises `ValueError`
    for no pairs, or only right or only wrong ones to tell apart on dev.

    >>> trained(MappedEncoder(encoder), pairs(question), pairs(other), PairFit(), 0)
    """
    train, dev = arguments.listed("train", train), arguments.listed("dev", dev)
    if {label for *_, label in dev} != {0, 1}:
        raise ValueError("dev pairs must be right ones and wrong ones, to choose by")
    embed.train()
    generator = torch.Generator().manual_seed(arguments.seed_number(seed))
    weights = torch.tensor([fit.positive_weight if label else 1.0 for *_, label in train])
    optimizer = torch.optim.AdamW(embed.parameters(), lr=fit.lr, weight_decay=fit.weight_decay)
    steps = fit.epochs * -(-len(train) // fit.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda i: min((i + 1) / fit.warm, max(0.0, (steps - i) / max(1, steps - fit.warm))),
    )
    best, fitted, step = -1.0, copy.deepcopy(embed.state_dict()), 0
    for _ in range(fit.epochs):
        drawn = torch.multinomial(weights, len(train), replacement=True, generator=generator)
        for part in drawn.split(fit.batch):
            value = _loss(embed, [train[i] for i in part.tolist()], fit.margin)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % fit.every == 0 or step == steps:
                score = round(_average_precision(embed, dev), _DIGITS)
                if score > best:
                    best, fitted = score, copy.deepcopy(embed.state_dict())
    embed.load_state_dict(fitted)
    return embed.eval()


def _loss(embed: Embed, batch: Sequence[Pair], margin: float) -> torch.Tensor:
    a, b, labels = _embedded(embed, batch)
    return contrastive(a, b, labels, margin)


def _embedded(
    embed: Embed, batch: Sequence[Pair]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors of states and of actions, each text's once, and the labels."""
    place = {text: i for i, text in enumerate(dict.fromkeys(t for row in batch for t in row[:2]))}
    vectors = embed(list(place))
    at = torch.tensor([[place[a], place[b]] for a, b, _ in batch], device=vectors.device)
    labels = torch.tensor([float(label) for *_, label in batch], device=vectors.device)
    return vectors[at[:, 0]], vectors[at[:, 1]], labels


@torch.no_grad()
def _average_precision(embed: Embed, dev: Sequence[Pair]) -> float:
    """Of pairs by cosine, the right ones to come first; of equal ones the wrong."""
    a, b, labels = _embedded(embed, dev)
    cosines = functional.cosine_similarity(a, b).double().round(decimals=_DIGITS)
    right = labels.cpu().numpy()
    right = right[np.lexsort((right, -cosines.cpu().numpy()))]
    return float((np.cumsum(right) / np.arange(1, len(right) + 1))[right > 0].mean())


@torch.no_grad()
def support_sets(
    embed: Embed,
    question: str,
    facts: Sequence[str],
    *,
    above: float = RELEASED_ABOVE,
    rounds: int = ROUNDS,
    states: int = MOST_STATES,
    reuse: bool = False,
) -> list[SupportSet]:
    """The sets that the question may need, each once, the best first; maybe none.

    Every action of a cosine larger than `above` is taken for `rounds` rounds, from the best states,
    `states` in all; `EOS`, or no further action, closes a set. As released: `RELEASED_ROUNDS` with
    `reuse`, so that a fact may be added to itself, and no set has a third fact. Raises
    `ValueError` for a question or facts that are no texts, a fact that reads `EOS`, and for numbers
    out of range.

    >>> support_sets(embed, "Who mends gates?", ["Ada mends."], above=0.6)
    """
    (question,), facts = texts("question", [question]), actions_of(texts("facts", facts))
    arguments.finite("above", above, -1, 1)
    for name, number in {"rounds": rounds, "states": states}.items():
        arguments.whole(name, number, 1)
    actions = functional.normalize(embed([EOS, *facts]), dim=1)
    level: dict[tuple[int, ...], tuple[tuple[int, ...], float]] = {(): ((), 0.0)}
    closed: dict[tuple[int, ...], float] = {}

    def close(key: tuple[int, ...], score: float) -> None:
        if key:
            closed[key] = max(score, closed.get(key, -1.0))

    for hop in range(rounds):
        orders = [order for order, _ in level.values()]
        here = embed([state(question, [facts[i] for i in order]) for order in orders])
        cosines = (functional.normalize(here, dim=1) @ actions.T).double().round(decimals=_DIGITS)
        after: dict[tuple[int, ...], tuple[tuple[int, ...], float]] = {}
        for (key, (order, total)), row in zip(level.items(), cosines.tolist(), strict=True):
            taken = [i for i, cosine in enumerate(row[1:]) if cosine > above]
            taken = taken if reuse else [i for i in taken if i not in order]
            if row[0] > above or not taken:
                ends = [row[0]] if row[0] > above else []
                close(key, (total + sum(ends)) / max(1, hop + len(ends)))
            for i in taken:
                longer, score = tuple(sorted({*order, i})), total + row[1 + i]
                if longer not in after or score > after[longer][1]:
                    after[longer] = (*order, i), score
        best = sorted(after.items(), key=lambda item: (-round(item[1][1], _DIGITS), item[0]))
        level = dict(best[:states])
        states -= len(level)
        if not level:
            break
    for key, (_, total) in level.items():
        close(key, total / rounds)
    rounded = [(key, round(score, _DIGITS)) for key, score in closed.items()]
    return sorted(rounded, key=lambda item: (-item[1], item[0]))
