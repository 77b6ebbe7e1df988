"""BGR's network (§2.2): a state, the question as read so far, scores facts and then reads one.

One direction; the other is the same network on reversed graphs. Only the first row of a fact is
scored, its self-attention depends on no state, and cross-attention acts on each row by itself: so a
fact is brought down to one vector once, and every state meets those vectors alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

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
        parts = self.q(x), self.k(y), self.v(y)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
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
        inner, outer = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)
        self.block = nn.Sequential(inner, nn.GELU(), outer, nn.Dropout(dropout))
        self.norm = nn.LayerNorm(d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x + self.block(x))


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

    `seen`: which of the rows of `facts` and `gists` each meets.
    """

    pool: Pool
    rows: torch.Tensor
    last: torch.Tensor
    tokens: torch.Tensor
    seen: torch.Tensor
    facts: torch.Tensor
    gists: torch.Tensor


class Retriever(nn.Module):
    """An encoder with the network above it. `direction`: one of `targets.DIRECTIONS`.

    `head`: what of a fact is scored: its first row (`"cls"`), or the mean over all of them
    (`"tokens"`), for which every row meets every state.
    """

    def __init__(
        self, encoder: Encoding, direction: str, d: int, heads: int, dropout: float = 0.0,
        head: str = "cls",
    ) -> None:  # fmt: skip
        super().__init__()
        self.encoder, self.direction, self.head = encoder, direction, head
        self.score_reading, self.step_reading = (Reading(d, heads, dropout) for _ in range(2))
        self.path, self.norm, self.out = nn.Linear(d, d), nn.LayerNorm(d), nn.Linear(d, 1)

    def start(self, pool: Pool) -> States:
        """The state of each question before any fact was read."""
        asked = self.encoder.questions(pool)
        rows = torch.arange(len(asked), device=asked.device)
        return self._states(pool, rows, torch.full_like(rows, ROOT), self._path(asked, asked))

    def gist(self, facts: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """All of a fact that scores depend on: `[facts, tokens, d]` to `[facts, rows * d]`."""
        rows = facts if self.head == "tokens" else facts[:, :1]
        return self.score_reading.own(rows, facts, there).flatten(1)

    def logits(self, gists: torch.Tensor, state: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """By `gists` `[states, facts, d]` and `state` `[states, tokens, d]`: `[states, facts]`."""
        reading = self.score_reading
        return self.out(reading.feed(reading.other(gists, state, there)))[..., 0].float()

    def scores(self, states: States) -> torch.Tensor:
        """Logits that a fact is read next, float32 `[states, facts]`; -inf where there is none."""
        there, facts_there = states.pool.questions_there, states.pool.facts_there[states.rows]
        gists = states.gists[states.seen].unflatten(-1, (-1, states.tokens.shape[-1]))
        scores = self.logits(gists.flatten(1, 2), states.tokens, there[states.rows])
        scores = scores.unflatten(1, gists.shape[1:3])
        if self.head == "tokens":
            # No fact has no token, and 0 / 0 would reach the weights though it is masked.
            counts = facts_there.sum(-1, keepdim=True).clamp(1)
            scores = (scores * facts_there).sum(-1, keepdim=True) / counts
        return scores[..., 0].masked_fill(~facts_there.any(-1), -torch.inf)

    def step(self, states: States, parents: torch.Tensor, facts: torch.Tensor) -> States:
        """The states once each of `parents`, places in `states`, has read its fact."""
        pool, rows, tokens = states.pool, states.rows[parents], self.read(states, parents, facts)
        if self.encoder.reads_last:
            return self._states(pool, rows, facts, tokens)
        return States(pool, rows, facts, tokens, rows, states.facts, states.gists)

    def read(self, states: States, parents: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        """The tokens of `step` alone, `[parents, tokens, d]`: no fact is encoded for them."""
        pool, rows, before = states.pool, states.rows[parents], states.tokens[parents]
        read, read_there = states.facts[states.seen[parents], facts], pool.facts_there[rows, facts]
        after = self.step_reading(before, pool.questions_there[rows], read, read_there)
        return self._path(after, before)

    def _path(self, h: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return self.norm(functional.elu(self.path(h)) + before)

    def _states(
        self, pool: Pool, rows: torch.Tensor, last: torch.Tensor, tokens: torch.Tensor
    ) -> States:
        """Encode the facts once for each question and last fact, however many states share both."""
        count = pool.facts.shape[1] + 1
        pairs, seen = torch.unique(rows * count + last - ROOT, return_inverse=True)
        part = pool.rows(pairs // count)
        facts = self.encoder.facts(part, pairs % count + ROOT)
        gists = self.gist(facts.flatten(0, 1), part.facts_there.flatten(0, 1))
        return States(pool, rows, last, tokens, seen, facts, gists.unflatten(0, facts.shape[:2]))


PATH = "path"
"""The direction of a `PathRetriever`: forward, to where it ends by itself."""


class PathRetriever(Retriever):
    """A network that says, too, whether a chain ends (arXiv 2210.08763, §2.3).

    The logit is `w · mean(S) + b` over the question's tokens of a state S.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.end = nn.Linear(self.out.in_features, 1)

    def ends(self, tokens: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """By tokens of states `[states, tokens, d]` and which there are: float32 `[states]`."""
        there = there[..., None].to(tokens)
        mean = (tokens * there).sum(1) / there.sum(1)
        return self.end(mean)[:, 0].float()
