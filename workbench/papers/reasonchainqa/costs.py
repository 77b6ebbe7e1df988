"""How much faster BM25 reads on than by scoring each query anew, measured in the run itself (§8).

A query is a question with the facts read so far. Its score is a sum over its words, so that of each
part is computed once and added; nothing is indexed or scored again.
"""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.evaluation.intervals import AMOUNT
from workbench.evaluation.metrics import measured
from workbench.evaluation.ratios import alternated
from workbench.retrieval.iterate import BEAM, iterated
from workbench.retrieval.lexical import Bm25
from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.chains import questions
from workbench.worlds.facts import World

ROUNDS, FACTS, ASKED, STEPS = 5, 3000, 60, 4
LIMIT = 1e-3
"""Largest difference of two scores, float32 sums of some 40 words."""
Query = tuple[str, tuple[int, ...]]
"""A question, and the places of the facts read so far."""


class _Noted(Bm25):
    """BM25 that notes what it was asked."""

    def __init__(self, facts: Sequence[str]) -> None:
        super().__init__(facts)
        self.asked: list[Query] = []

    def scores(self, query: str, read: Sequence[int] = ()) -> np.ndarray:
        self.asked.append((query, tuple(read)))
        return super().scores(query, read)


def measure() -> list[float]:
    """(Seconds of scoring each query whole) / (seconds of adding its parts), of each round.

    All queries of a search for chains of four facts, five at once, by 60 questions over a database
    of 3,000 facts. Raises `ArithmeticError` where scores differ.
    """
    worlds = [World("test", number, 1.0, CHAINS) for number in range(2)]
    facts = [*dict.fromkeys(fact.text for world in worlds for fact in world.facts)][:FACTS]
    asked = [q.question for q in questions("test", ASKED, worlds=1, types=("What",))]
    noted = _Noted(facts)
    iterated(noted, asked, [STEPS] * ASKED, beam=BEAM)
    rows: dict[str, list[np.ndarray]] = {}
    # A new index for each call, as one remembers what it has scored.
    new = [Bm25(facts) for _ in range(2 * (ROUNDS + 1))]

    def anew() -> None:
        index = new.pop()
        texts = [" ".join([query, *(facts[i] for i in read)]) for query, read in noted.asked]
        rows["anew"] = [index.scores(text) for text in texts]

    def added() -> None:
        index = new.pop()
        rows["added"] = [index.scores(query, read) for query, read in noted.asked]

    ratios = alternated(anew, added, ROUNDS)
    worst = max(np.abs(a - b).max() for a, b in zip(*rows.values(), strict=True))
    if worst > LIMIT:
        raise ArithmeticError(f"scores that are added are off by {worst:.2g}, limit {LIMIT:g}")
    return ratios


def metrics(ratios: Sequence[float]) -> list[dict[str, Any]]:
    """The median over rounds, `bm25_incremental_ratio`; the paper has no such figure."""
    setting = f"facts {FACTS:,}, questions {ASKED}, beam {BEAM}, steps {STEPS}"
    return [
        measured("bm25_incremental_ratio", ratios, "rounds", (None, setting),
                 statistic=statistics.median, limits=AMOUNT)
    ]  # fmt: skip
