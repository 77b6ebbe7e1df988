"""SSG among the methods: trained by pairs on given questions, its threshold tuned on dev.

Of the sentence encoder only a linear map over its vectors is trained (the release tunes it whole).
A set of facts has no edges: it is taken for a star, as a ranking is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from workbench.models.encoders import Encoder
from workbench.retrieval import support_sets
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.metrics import overlap
from workbench.retrieval.support_sets import (
    ABOVE,
    RELEASED_ABOVE,
    RELEASED_ROUNDS,
    ROUNDS,
    MappedEncoder,
    SupportSet,
)
from workbench.retrievers.search import MOST_STATES

FIT = support_sets.PairFit(epochs=4, lr=2e-3)
"""A map is quickly fitted. Chosen on development questions (F1 of facts of `ssg`, seed 0: the best
of all tried above `lex`, and above MiniLM); the other values are the release's."""
TRAIN, DEV = 300, 60
"""Questions whose pairs are learnt, and those whose pairs choose among steps, at most."""
METHODS = ("ssg", "ssg_released")
"""Repaired, and as it was released."""
Join = Callable[[Sequence[SupportSet]], list[int]]


def best_set(sets: Sequence[SupportSet]) -> list[int]:
    """The facts of the set of the highest mean cosine; none of no sets."""
    return list(sets[0][0]) if sets else []


def all_sets(sets: Sequence[SupportSet]) -> list[int]:
    """The facts of any set, sorted."""
    return sorted({fact for facts, _ in sets for fact in facts})


JOINS: dict[str, Join] = {"best set": best_set, "all sets": all_sets}


def ssg(
    questions: Mapping[str, Sequence[Evidence]],
    encoder: Encoder,
    seed: int,
    methods: Sequence[str] = METHODS,
) -> dict[str, dict[str, Any]]:
    """Method → `"test"`: facts of each test question; `"chosen"`: what was, on dev, by F1 of facts.

    `ssg_released`: pairs, two rounds, a cosine of 0.8 and reuse of facts as they were. `ssg` tries
    thresholds from the strictest until F1 falls, and the best set or all. Raises `ValueError`,
    before it trains, for a fact that reads as the end of a set.
    """
    check(questions)
    vectors: dict[str, Any] = {}
    return {
        method: _ssg(questions, MappedEncoder(encoder, vectors), seed, method == "ssg_released")
        for method in methods
    }


def check(questions: Mapping[str, Sequence[Evidence]]) -> None:
    """Raise `ValueError` for a fact that reads as the end of a set does, naming its question."""
    first = {q.facts: (split, q.id) for split, some in questions.items() for q in some[::-1]}
    for facts, (split, name) in first.items():
        try:
            support_sets.actions_of(facts)
        except ValueError as error:
            raise ValueError(f"{split} question {name}: {error}") from None


def _ssg(
    questions: Mapping[str, Sequence[Evidence]], embed: MappedEncoder, seed: int, released: bool
) -> dict[str, Any]:
    train, dev = (
        [pair for q in some for pair in support_sets.pairs(q, released=released, seed=seed)]
        for some in (questions["train"][:TRAIN], questions["dev"][:DEV])
    )
    support_sets.trained(embed, train, dev, FIT, seed)

    def sets(split: str, above: float) -> list[list[SupportSet]]:
        limits = {"rounds": RELEASED_ROUNDS if released else ROUNDS, "states": MOST_STATES}
        return [
            support_sets.support_sets(
                embed, q.question, q.facts, above=above, reuse=released, **limits
            )
            for q in questions[split]
        ]

    if released:
        return {"chosen": "", "test": [all_sets(each) for each in sets("test", RELEASED_ABOVE)]}
    best, above, name = -1.0, 0.0, ""
    for tried in sorted(ABOVE, reverse=True):
        there = sets("dev", tried)
        means = {join: _f1(questions["dev"], map(JOINS[join], there)) for join in JOINS}
        leading = max(means, key=means.__getitem__)
        if means[leading] < best:
            break
        if means[leading] > best:
            best, above, name = means[leading], tried, leading
    test = [JOINS[name](each) for each in sets("test", above)]
    return {"chosen": f"τ {above:g}, {name}", "test": test}


def _f1(questions: Sequence[Evidence], predicted: Any) -> float:
    pairs = zip(questions, predicted, strict=True)
    return round(float(np.mean([overlap(set(q.nodes), set(facts))[2] for q, facts in pairs])), 9)
