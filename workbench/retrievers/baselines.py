"""One query, a ranking of the pool, its first k facts (§4).

Such a ranking has no edges: each of its facts is taken to follow from the question, as a star.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from workbench.models.encoders import Encoder
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.retrieval.index import Remembering
from workbench.retrieval.lexical import Bm25, TfIdf, ranked
from workbench.retrieval.metrics import overlap

MOST = 10
"""The largest k tried on dev; no question needs more facts."""
Ranking = list[int]
"""Places of a pool's facts, the best first."""
Rank = Callable[[Sequence[Evidence]], list[Ranking]]


def lexical(ranker: type[Bm25] | type[TfIdf]) -> Rank:
    """Each question's pool by BM25, or by the cosine of TF-IDF vectors."""
    return lambda questions: [_by(ranker(q.facts).scores(q.question)) for q in questions]


def dense(encoder: Encoder | Remembering) -> Rank:
    """Each question's pool by the cosine of an encoder's vectors, as it comes, zero-shot."""

    def rank(questions: Sequence[Evidence]) -> list[Ranking]:
        facts = list(dict.fromkeys(fact for q in questions for fact in q.facts))
        at = {fact: i for i, fact in enumerate(facts)}
        vectors = encoder.encode(facts).to(torch.float64)
        asked = encoder.encode([q.question for q in questions]).to(torch.float64)
        rows = ([at[fact] for fact in q.facts] for q in questions)
        return [_by((vectors[row] @ x).numpy()) for row, x in zip(rows, asked, strict=True)]

    return rank


def _by(scores: np.ndarray) -> Ranking:
    # Rounded, so that which of two near-equal facts comes first hangs on no last bit.
    return ranked(scores.astype(np.float64).round(6), len(scores))


def best_k(questions: Sequence[Evidence], rankings: Sequence[Ranking]) -> int:
    """The k of the highest mean F1 of facts; of equal ones the smallest."""
    pairs = [(set(q.nodes), ranking) for q, ranking in zip(questions, rankings, strict=True)]
    means = [
        round(float(np.mean([overlap(gold, set(ranking[:k]))[2] for gold, ranking in pairs])), 9)
        for k in range(1, MOST + 1)
    ]
    return 1 + means.index(max(means))


def cut(
    dev: Sequence[Evidence],
    test: Sequence[Evidence],
    rankings: Mapping[str, Sequence[Ranking]],
) -> tuple[int, list[list[Edge]], list[list[Edge]]]:
    """`best_k` on dev; each test question's star of so many facts, and of as many as are gold.

    `rankings`: those of `"dev"` and of `"test"`.
    """
    k = best_k(dev, rankings["dev"])
    oracle = zip(test, rankings["test"], strict=True)
    return (
        k,
        [star(ranking[:k]) for ranking in rankings["test"]],
        [star(ranking[: len(q.nodes)]) for q, ranking in oracle],
    )


def star(facts: Sequence[int]) -> list[Edge]:
    """Edges from the question to each of the facts, sorted."""
    return sorted((ROOT, fact) for fact in facts)
