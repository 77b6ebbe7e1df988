"""Fits a retriever to gold graphs: every state of every question, each fact a yes or no (§2.3)."""

import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from workbench import arguments
from workbench.errors import RunError
from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import Evidence, checked
from workbench.retrievers.frozen import FrozenEncoder
from workbench.retrievers.lexicon import LexicalEncoder, names, vocabulary
from workbench.retrievers.model import PATH, Encoding, PathRetriever, Pool, Retriever
from workbench.retrievers.targets import DIRECTIONS, Path, targets
from workbench.retrievers.tuned import TunedEncoder
from workbench.training.epochs import epochs


@dataclass(frozen=True)
class Fit:
    """Size and training of a retriever; the smallest of §6, as it is checked there.

    `reads`: token states of `"words"` and their matches, of a `"frozen"` sentence encoder, or of
    one `"tuned"` along; then `d` is its width, and texts are cut to `max_tokens`. `names`,
    `matches`: of words, whether names have vectors of their own, and whether it is told which words
    match. `head`: `Retriever`'s. `official`: the labels of the release (§5, trap 1). `clip`: the
    largest norm of a gradient; 0 for any. Raises `ValueError` for what is out of range.
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
    schedule: str = "one_cycle"
    reads: str = "words"
    names: bool = False
    matches: bool = True
    head: str = "cls"
    max_tokens: int = 30
    official: bool = False

    def __post_init__(self) -> None:
        for name in ("d", "heads", "epochs", "batch", "max_tokens"):
            arguments.whole(name, getattr(self, name), 1)
        if self.d % self.heads:
            raise ValueError(f"d={self.d}: {self.heads} heads do not share it equally")
        for name in ("lr", "weight_decay", "positive_weight", "clip"):
            arguments.finite(name, getattr(self, name), 0)
        for name in ("names", "matches", "official"):
            arguments.truth(name, getattr(self, name))
        for name, known in {"reads": READS, "head": HEADS, "schedule": SCHEDULES}.items():
            arguments.one_of(name, getattr(self, name), known)


READS, HEADS, SCHEDULES = ("words", "frozen", "tuned"), ("cls", "tokens"), ("one_cycle", "cosine")
RELEASED = {"weight_decay": 1e-4, "positive_weight": 1.0, "clip": 0.0, "dropout": 0.1,
            "schedule": "cosine", "reads": "tuned"}  # fmt: skip
"""The release's training (§2.3), beside its epochs, batch and learning rate."""


def trained(
    questions: Sequence[Evidence],
    settings: Fit,
    direction: str,
    seed: int,
    encoder: Encoder | None = None,
    state: pathlib.Path | None = None,
) -> Retriever:
    """A retriever of one direction, after its last epoch; as `coupled`.

    >>> forward = trained(questions("train", 600, pool=16), Fit(), "forward", 0)
    """
    return coupled(questions, settings, (direction,), seed, encoder, state)[0]


def coupled(
    questions: Sequence[Evidence],
    settings: Fit,
    directions: Sequence[str],
    seed: int,
    encoder: Encoder | None = None,
    state: pathlib.Path | None = None,
) -> list[Retriever]:
    """A retriever for each direction above one encoder, trained at once on the sum of their losses.

    The same for the same seed, on one thread of a CPU. `encoder`: whose token states are read,
    unless those of words are. `state`: a folder that is kept up to date after each epoch; a
    training that was killed goes on from there. Raises `ValueError` for no questions, an unknown
    direction, a seed that is none, and an encoder that is lacking; `GraphError` for edges that are
    no graph of their facts; `RunError` once weights are no numbers.
    """
    for direction in directions:
        arguments.one_of("direction", direction, DIRECTIONS)
    arguments.seed_number(seed)
    questions = arguments.listed("questions", questions)
    graphs = [checked(q.edges, len(q.facts), q.id) for q in questions]
    gold = [
        [targets(edges, direction, official=settings.official) for edges in graphs]
        for direction in directions
    ]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        known = (names if settings.names else vocabulary)(questions)
        retrievers = nn.ModuleList(built(settings, directions, known, encoder)).train()

        def of_batch(rows: Sequence[int], _: int) -> torch.Tensor:
            pool = retrievers[0].encoder.pool([questions[i] for i in rows])
            return sum(
                loss(retriever, pool, [levels[i] for i in rows], settings.positive_weight)
                for retriever, levels in zip(retrievers, gold, strict=True)
            )

        fitted(retrievers, len(questions), settings, seed, of_batch, state)
    return list(retrievers.eval())


def fitted(
    networks: nn.Module,
    count: int,
    settings: Fit,
    seed: int,
    loss_of: Callable[[Sequence[int], int], torch.Tensor],
    state: pathlib.Path | None = None,
) -> None:
    """Fit networks to `count` questions: `loss_of` a batch's places, and the number of its epoch.

    Draws from torch's generator. `state`: as of `coupled`. Raises `RunError` once weights are no
    numbers.
    """
    parameters, batch = list(networks.parameters()), settings.batch
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = _schedule(optimizer, settings, -(-count // batch))
    parts = {"networks": networks, "optimizer": optimizer, "schedule": schedule}
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(count, generator=generator) for _ in range(settings.epochs)]

    def run(number: int) -> None:
        # What is dropped hangs on the epoch alone, wherever the training began anew.
        torch.manual_seed(seed * 10**5 + number - 1)
        for part in orders[number - 1].split(batch):
            optimizer.zero_grad()
            loss_of(part.tolist(), number).backward()
            if settings.clip:
                torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
            schedule.step()
        if not all(weights.isfinite().all() for weights in parameters):
            raise RunError(f"weights are no numbers any more; give lr below {settings.lr:g}")

    epochs(settings.epochs, parts, run, state, state.name if state else "")


def built(
    settings: Fit, directions: Sequence[str], known: Sequence[str], encoder: Encoder | None = None
) -> list[Retriever]:
    """Retrievers above one encoder, untrained; `known`: the words that it has vectors of.

    Raises `ValueError` for an encoder that is lacking, or of another width.
    """
    d, heads, dropout = settings.d, settings.heads, settings.dropout
    if settings.reads != "words" and encoder is None:
        raise ValueError(f"reads={settings.reads!r}: give a sentence encoder")
    device = encoder.hf.device if encoder and settings.reads != "words" else "cpu"
    if settings.reads == "words":
        read: Encoding = LexicalEncoder(known, d, heads, dropout, settings.matches)
    elif settings.reads == "frozen":
        read = FrozenEncoder(encoder, d)
    else:
        read = TunedEncoder(encoder, settings.max_tokens)
        if d != encoder.width:
            raise ValueError(f"d={d}: {encoder.name} is tuned along, and has {encoder.width}")
    kinds = [(name, PathRetriever if name == PATH else Retriever) for name in directions]
    return [kind(read, name, d, heads, dropout, settings.head).to(device) for name, kind in kinds]


def _schedule(optimizer: Optimizer, settings: Fit, of_epoch: int) -> LRScheduler:
    """One cycle whose first tenth warms up; or, as released, an epoch of that and a cosine."""
    steps = settings.epochs * of_epoch
    if settings.schedule == "cosine":
        # To import it takes seconds, of every worker, and small networks have the other one.
        from transformers import get_cosine_schedule_with_warmup

        return get_cosine_schedule_with_warmup(optimizer, of_epoch, steps)
    # Of ten steps a tenth is one, from the first to the first, and torch divides by nothing.
    warm = 0.1 if steps != 10 else 0.11
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=steps, pct_start=warm, cycle_momentum=False
    )


def loss(
    retriever: Retriever,
    pool: Pool,
    gold: Sequence[Sequence[dict[Path, list[int]]]],
    positive_weight: float,
) -> torch.Tensor:
    """Mean cross-entropy of every fact at every state of a pool's questions, by `targets` of each.

    The release's loss over pairs of logits is this one over their difference (§2.3).
    """
    states = retriever.start(pool)
    weight = torch.tensor(positive_weight, device=states.tokens.device)
    here: list[tuple[int, Path]] = [(row, ()) for row in range(len(gold))]
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
