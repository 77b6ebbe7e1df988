"""A small encoder that knows no name: words of all worlds, and what a fact shares (§6).

Names are one word to it, so that none can be learnt by heart. Which is which it sees by matches
alone: a fact's words that stand in the question, too, or in the fact that was read last. Without
either it fails, as `names` and `matches=False` show (§6, "What failed").
"""

import logging
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from workbench.hashing import digest
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.lexical import words
from workbench.retrievers.model import Attention, Feed, Pool

log = logging.getLogger(__name__)

COMMON = 5 / 6
"""Share of the worlds that a word of the vocabulary stands in."""
MOST_TOKENS = 64
CLS, NAME, NUMBER, FIRST = range(4)
"""Tokens that are no word of the vocabulary, and the number of its first word."""


def vocabulary(questions: Iterable[Evidence]) -> list[str]:
    """The words of nearly all worlds, sorted; not those that are written large, as names are."""
    of_world = defaultdict(set)
    for question in questions:
        for text in (question.question, *question.facts):
            small = re.findall(r"\w+", text[:1].lower() + text[1:])
            of_world[question.world].update(word for word in small if word[0].islower())
    counts = Counter(word for there in of_world.values() for word in there)
    least = math.ceil(COMMON * len(of_world))
    return sorted(word for word, count in counts.items() if count >= least)


def names(questions: Iterable[Evidence]) -> list[str]:
    """Every word that is no number, sorted, names among them: what can be learnt by heart."""
    texts = {text for question in questions for text in (question.question, *question.facts)}
    return sorted({word for text in texts for word in words(text) if not word.isdigit()})


@dataclass(frozen=True)
class LexicalPool(Pool):
    """`words`: a number for each word of a pool, -1 beside words. `weights`: how rare it is there.

    `asked`: that, where it stands in the question, and 0. All `[questions, facts, tokens]`.
    """

    words: torch.Tensor
    asked: torch.Tensor
    weights: torch.Tensor


class LexicalEncoder(nn.Module):
    """Token states by one layer of self-attention over words and matches ("TinyLexEncoder").

    `known`: words that have a vector of their own (`vocabulary`, or `names`, too).
    """

    def __init__(
        self, known: Sequence[str], d: int, heads: int, dropout: float = 0.0, matches: bool = True
    ) -> None:
        super().__init__()
        self.about = {"reads": "words", "vocabulary": digest(list(known)), "matches": matches}
        self.reads_last = matches
        self.cut: set[tuple[str, ...]] = set()
        self.known = {word: i for i, word in enumerate(known, FIRST)}
        self.tokens = nn.Embedding(FIRST + len(known), d)
        self.positions = nn.Embedding(MOST_TOKENS, d)
        self.asked, self.last = (nn.Parameter(torch.randn(d)) for _ in range(2))
        self.own, self.feed = Attention(d, heads, dropout), Feed(d, dropout)

    def pool(self, questions: Sequence[Evidence]) -> LexicalPool:
        """Tokens and matches; of longer texts the first `MOST_TOKENS` are read, said once."""
        asked = [words(question.question) for question in questions]
        told = [[words(fact) for fact in question.facts] for question in questions]
        every = [*asked, *(fact for facts in told for fact in facts)]
        if long := {tuple(text) for text in every if len(text) >= MOST_TOKENS} - self.cut:
            self.cut |= long
            log.warning("%d more texts are cut to %d tokens", len(long), MOST_TOKENS)
        rows = []
        for question, facts in zip(asked, told, strict=True):
            there = Counter(word for fact in facts for word in set(fact))
            number = {word: i for i, word in enumerate(there)}
            # log 1 of a single fact: nothing is rare there.
            most, inside = math.log(len(facts)) or 1.0, set(question)
            rare = {word: math.log(len(facts) / count) / most for word, count in there.items()}
            for fact in facts:
                named = zip(self._ids(fact), fact, strict=True)
                marks = [(i, number[word], rare[word], word in inside) for i, word in named]
                rows.append([(CLS, -1, 0.0, False), *marks][:MOST_TOKENS])
        longest = max(map(len, rows))
        padded = [[*row, *[(-1, -1, -1, -1)] * (longest - len(row))] for row in rows]
        here = self.asked.device
        ids = [torch.tensor([CLS, *self._ids(text)][:MOST_TOKENS]) for text in asked]
        tokens = pad_sequence(ids, True, -1).to(here)
        by_question = torch.tensor(padded).split([len(facts) for facts in told])
        facts_, number_, rare_, asked_ = pad_sequence(by_question, True, -1).to(here).unbind(-1)
        rare_, there_ = rare_.clamp(0), facts_ >= 0
        facts_, number_ = facts_.clamp(0).long(), number_.long()
        parts = facts_, there_, number_, rare_ * (asked_ > 0), rare_
        return LexicalPool(tokens.clamp(0), tokens >= 0, *parts)

    def questions(self, pool: Pool) -> torch.Tensor:
        """`[questions, tokens, d]`."""
        return self._states(pool.questions, pool.questions_there)

    def facts(self, pool: LexicalPool, last: torch.Tensor) -> torch.Tensor:
        """`[questions, facts, tokens, d]`, once each question's `last` (or `ROOT`) was read."""
        tokens, there = pool.facts.flatten(0, 1), pool.facts_there.flatten(0, 1)
        if not self.reads_last:
            return self._states(tokens, there).unflatten(0, pool.facts.shape[:2])
        rows = torch.arange(len(last), device=last.device)
        read = pool.words[rows, last.clamp(0)].masked_fill((last == ROOT)[:, None], -1)
        again = (pool.words[..., None] == read[:, None, None]).any(-1)  # -1 weighs 0
        matches = pool.asked[..., None] * self.asked
        matches = matches + (pool.weights * again)[..., None] * self.last
        states = self._states(tokens, there, matches.flatten(0, 1))
        return states.unflatten(0, pool.facts.shape[:2])

    def _ids(self, text: Sequence[str]) -> list[int]:
        return [NUMBER if word.isdigit() else self.known.get(word, NAME) for word in text]

    def _states(
        self, ids: torch.Tensor, there: torch.Tensor, matches: torch.Tensor | float = 0.0
    ) -> torch.Tensor:
        tokens = self.tokens(ids) + self.positions.weight[: ids.shape[-1]] + matches
        return self.feed(self.own(tokens, tokens, there))
