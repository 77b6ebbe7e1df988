"""Fits a retriever to gold graphs: every state of every question, each fact a yes or no (§2.3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from workbench import arguments
from workbench.models.encoders import Encoder
from workbench.papers.graphhop.frozen import FrozenEncoder
from workbench.papers.graphhop.lexicon import LexicalEncoder, vocabulary
from workbench.papers.graphhop.model import Encoding, Retriever
from workbench.papers.graphhop.targets import DIRECTIONS, Path, targets
from workbench.retrieval.graphs import Evidence


@dataclass(frozen=True)
class Fit:
    """Size and training of a retriever; the smallest of §6, as it is checked there.

    `official`: the labels of the release (§5, trap 1).
    """

    d: int = 48
    heads: int = 4
    epochs: int = 5
    batch: int = 16
    lr: float = 3e-3
    weight_decay: float = 0.01
    positive_weight: float = 2.0
    clip: float = 1.0
    dropout: float = 0.0
    official: bool = False


def trained(
    questions: Sequence[Evidence],
    settings: Fit,
    direction: str,
    seed: int,
    encoder: Encoder | None = None,
) -> Retriever:
    """A retriever of one direction; the same for the same seed, on one thread of a CPU.

    `encoder`: whose token states it reads, as they are; by default the small lexical one, trained
    along. Raises `ValueError` for no questions, an unknown direction or a seed that is none.

    >>> forward = trained(questions("train", 600, pool=16), Fit(), "forward", 0)
    """
    arguments.one_of("direction", direction, DIRECTIONS)
    arguments.seed_number(seed)
    questions = arguments.listed("questions", questions)
    gold = [targets(q.edges, direction, official=settings.official) for q in questions]
    size = (settings.d, settings.heads, settings.dropout)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if encoder:
            read: Encoding = FrozenEncoder(encoder, settings.d)
        else:
            read = LexicalEncoder(vocabulary(questions), *size)
        retriever = Retriever(read, direction, *size)
        retriever.to(encoder.hf.device if encoder else "cpu")
        parameters, decay = list(retriever.parameters()), settings.weight_decay
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=decay)
        steps = settings.epochs * -(-len(questions) // settings.batch)
        # Of ten steps a tenth is one, from the first to the first, and torch divides by nothing.
        warm = 0.1 if steps != 10 else 0.11
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.lr, total_steps=steps, pct_start=warm, cycle_momentum=False
        )
        for _ in range(settings.epochs):
            order = torch.randperm(len(questions), generator=generator)
            for part in order.split(settings.batch):
                optimizer.zero_grad()
                rows = [(questions[i], gold[i]) for i in part.tolist()]
                value = loss(retriever, *zip(*rows, strict=True), settings.positive_weight)
                value.backward()
                torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
                optimizer.step()
                schedule.step()
    return retriever.eval()


def loss(
    retriever: Retriever,
    questions: Sequence[Evidence],
    gold: Sequence[Sequence[dict[Path, list[int]]]],
    positive_weight: float,
) -> torch.Tensor:
    """Mean cross-entropy of every fact at every state of the questions, by `targets` of each.

    The release's loss over pairs of logits is this one over their difference (§2.3).
    """
    states = retriever.start(retriever.encoder.pool(questions))
    weight = torch.tensor(positive_weight, device=states.tokens.device)
    here: list[tuple[int, Path]] = [(row, ()) for row in range(len(questions))]
    losses, depth = [], 0
    while here:
        scores = retriever.scores(states)
        labels = torch.zeros_like(scores)
        for i, (row, path) in enumerate(here):
            labels[i, gold[row][depth][path]] = 1
        there = scores > -torch.inf
        of_facts = functional.binary_cross_entropy_with_logits(
            scores[there], labels[there], reduction="none", pos_weight=weight
        )
        losses.append(of_facts)
        depth += 1
        place = {state: i for i, state in enumerate(here)}
        here = [(row, path) for row, of in enumerate(gold) if depth < len(of) for path in of[depth]]
        if here:
            steps = [(place[row, path[:-1]], path[-1]) for row, path in here]
            states = retriever.step(states, *states.rows.new_tensor(steps).T)
    return torch.cat(losses).mean()
