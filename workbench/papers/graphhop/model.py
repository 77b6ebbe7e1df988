"""BGR's network (§2.2): a state, the question as read so far, scores facts and then reads one.

One direction; the other is the same network on reversed graphs. Only the first row of a fact is
scored, its self-attention depends on no state, and cross-attention acts on each row by itself: so a
fact is brought down to one vector once, and every state meets those vectors alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol, Self

import torch
from torch import nn
from torch.nn import functional

from workbench.retrieval.graphs import ROOT, Evidence


class Attention(nn.Module):
    """Multi-head attention with its residual and norm (post-LN): `[rows, q, d]` to the same."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.norm = nn.LayerNorm(d)

    def forward(self, x: torch.Tensor, y: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """`x` reads `y` `[rows, k, d]` where `there` `[rows, k]`; a row that has none stays."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q(x), self.k(y), self.v(y))
        )
        mask = there[:, None, None].bool()
        # A softmax over nothing is no number: rows without a key read their first, and drop it.
        none = ~mask.any(-1, keepdim=True)
        dropout = self.dropout if self.training else 0.0
        read = functional.scaled_dot_product_attention(q, k, v, mask | none, dropout)
        read = self.o((read * ~none).transpose(1, 2).flatten(-2))
        return self.norm(x + functional.dropout(read, dropout))


class Feed(nn.Module):
    """The feed-forward block with its residual and norm."""

    def __init__(self, d: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer, self.norm = (
            nn.Linear(d, 4 * d),
            nn.Linear(4 * d, d),
            nn.LayerNorm(d),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.dropout(self.outer(functional.gelu(self.inner(x)))))


class Reading(nn.Module):
    """Dec of §2.2: a text's tokens among themselves, then to another text's, then feed-forward."""

    def __init__(self, d: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.own, self.other = Attention(d, heads, dropout), Attention(d, heads, dropout)
        self.feed = Feed(d, dropout)
        # Like finds like from the first step on (§6).
        self.other.k.load_state_dict(self.other.q.state_dict())

    def forward(
        self, x: torch.Tensor, there: torch.Tensor, y: torch.Tensor, there_y: torch.Tensor
    ) -> torch.Tensor:
        return self.feed(self.other(self.own(x, x, there), y, there_y))


class Path(nn.Module):
    """Path of §2.2: LN(ELU(W h + b) + h_before)."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(d, d), nn.LayerNorm(d)

    def forward(self, h: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return self.norm(functional.elu(self.linear(h)) + before)


class HopModel(nn.Module):
    """Scores of facts given a state, and the state after one of them was read."""

    def __init__(self, d: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.score_reading, self.step_reading = (Reading(d, heads, dropout) for _ in range(2))
        self.path, self.out = Path(d), nn.Linear(d, 1)

    def start(self, question: torch.Tensor) -> torch.Tensor:
        """The state before any fact was read: `[states, tokens, d]`."""
        return self.path(question, question)

    def gist(self, facts: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """All of a fact that scores depend on: `[facts, tokens, d]` to `[facts, d]`."""
        return self.score_reading.own(facts[:, :1], facts, there)[:, 0]

    def scores(self, gists: torch.Tensor, state: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Logits that a fact is read next, float32 `[states, facts]`.

        `gists` `[states, facts, d]`, `state` `[states, tokens, d]`, `there` its tokens.
        """
        read = self.score_reading.other(gists, state, there)
        return self.out(self.score_reading.feed(read))[..., 0].float()

    def step(
        self,
        state: torch.Tensor,
        there: torch.Tensor,
        fact: torch.Tensor,
        there_fact: torch.Tensor,
    ) -> torch.Tensor:
        """The state once a fact `[states, tokens, d]` was read."""
        return self.path(self.step_reading(state, there, fact, there_fact), state)


@dataclass(frozen=True)
class Pool:
    """Questions with their facts, padded: `facts_there` `[questions, facts, tokens]` and so on.

    A fact without any token is none: questions may have pools of different sizes.
    """

    questions: torch.Tensor
    questions_there: torch.Tensor
    facts: torch.Tensor
    facts_there: torch.Tensor

    def rows(self, rows: torch.Tensor) -> Self:
        """Some of the questions, each as often as it is named."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


class Encoding(Protocol):
    """What turns texts into token states; `reads_last`: a fact's depend on the last one read."""

    reads_last: bool

    def pool(self, questions: Sequence[Evidence]) -> Pool: ...

    def questions(self, pool: Pool) -> torch.Tensor:
        """`[questions, tokens, d]`."""

    def facts(self, pool: Pool, last: torch.Tensor) -> torch.Tensor:
        """`[questions, facts, tokens, d]`, once each question's `last` (or `ROOT`) was read."""


@dataclass(frozen=True)
class States:
    """States of questions of a pool: of which (`rows`), by which last fact, `[states, tokens, d]`.

    `seen`: which of `facts` and `gists` each meets, `[seen, facts, …]`.
    """

    pool: Pool
    rows: torch.Tensor
    last: torch.Tensor
    tokens: torch.Tensor
    seen: torch.Tensor
    facts: torch.Tensor
    gists: torch.Tensor


class Retriever(nn.Module):
    """An encoder with the network above it. `direction`: one of `targets.DIRECTIONS`."""

    def __init__(self, encoder: nn.Module, network: HopModel, direction: str) -> None:
        super().__init__()
        self.encoder: Encoding = encoder
        self.network, self.direction = network, direction

    def start(self, pool: Pool) -> States:
        """The state of each question before any fact was read."""
        rows = torch.arange(len(pool.questions), device=pool.questions.device)
        tokens = self.network.start(self.encoder.questions(pool))
        return self._states(pool, rows, torch.full_like(rows, ROOT), tokens)

    def scores(self, states: States) -> torch.Tensor:
        """Logits that a fact is read next, float32 `[states, facts]`; -inf where there is none."""
        there = states.pool.questions_there[states.rows]
        scores = self.network.scores(states.gists[states.seen], states.tokens, there)
        return scores.masked_fill(~states.pool.facts_there.any(-1)[states.rows], -torch.inf)

    def step(self, states: States, parents: torch.Tensor, facts: torch.Tensor) -> States:
        """The states once each of `parents`, places in `states`, has read its fact."""
        pool, rows = states.pool, states.rows[parents]
        tokens = self.network.step(
            states.tokens[parents],
            pool.questions_there[rows],
            states.facts[states.seen[parents], facts],
            pool.facts_there[rows, facts],
        )
        if self.encoder.reads_last:
            return self._states(pool, rows, facts, tokens)
        return States(pool, rows, facts, tokens, rows, states.facts, states.gists)

    def _states(
        self, pool: Pool, rows: torch.Tensor, last: torch.Tensor, tokens: torch.Tensor
    ) -> States:
        """Encode the facts once for each question and last fact, however many states share both."""
        count = pool.facts.shape[1] + 1
        pairs, seen = torch.unique(rows * count + last - ROOT, return_inverse=True)
        part = pool.rows(pairs // count)
        facts = self.encoder.facts(part, pairs % count + ROOT)
        gists = self.network.gist(facts.flatten(0, 1), part.facts_there.flatten(0, 1))
        return States(pool, rows, last, tokens, seen, facts, gists.unflatten(0, facts.shape[:2]))
