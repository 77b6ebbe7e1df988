"""Retrieval in one shot, and iterated: the next fact by the question and what was read.

By words or by vectors, over one database or the pool of each question (arXiv 2210.08763, §2.2).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np
import torch

from workbench import arguments
from workbench.retrieval.graphs import ROOT, Edge
from workbench.retrieval.lexical import DIGITS, texts
from workbench.retrieval.metrics import overlap

BEAM = 5
"""Readings of a question that go on at once (§2.2)."""


class Scorer(Protocol):
    """What ranks facts: `Bm25`, `TfIdf`, an `Index` of vectors."""

    @property
    def facts(self) -> Sequence[str]: ...

    def nearest(
        self, queries: Sequence[str], k: int, read: Sequence[Sequence[int]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores and places `[queries, k]`, by each query and the facts `read` after it."""


@dataclass(frozen=True)
class Reading:
    """Places of facts in the order of reading, and the score by which each was chosen."""

    facts: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """The mean of the scores; -1 for nothing read."""
        return round(sum(self.scores) / len(self.scores), DIGITS) if self.facts else -1.0

    @property
    def edges(self) -> list[Edge]:
        """The facts as one chain from the question."""
        return list(zip((ROOT, *self.facts), self.facts, strict=False))


def one_shot(
    scorer: Scorer | Sequence[Scorer], questions: Sequence[str], counts: Sequence[int]
) -> list[Reading]:
    """The `counts[i]` facts nearest to each question. Arguments and errors as of `iterated`.

    >>> one_shot(index, ["Who mends gates?"], [2])[0].facts
    """
    scorers, questions, counts = _checked(scorer, questions, counts)
    queries = [(i, question, ()) for i, question in enumerate(questions)]
    rows = zip(counts, _nearest(scorers, queries, max(counts)), strict=True)
    return [Reading(*(tuple(part[:count].tolist()) for part in row)) for count, row in rows]


def iterated(
    scorer: Scorer | Sequence[Scorer],
    questions: Sequence[str],
    counts: Sequence[int],
    *,
    beam: int = 1,
    least: float = -1.0,
) -> list[list[Reading]]:
    """For each question up to `beam` readings of at most `counts[i]` facts, the best first.

    A query is the question with all facts read so far, where §2.2 has q + c_j, the last alone: the
    words of earlier facts still count, and a question's own words the less the more is read. All
    queries of a level over one database are one batch. `scorer`: of the one database, or of each
    question's pool. `counts`: the numbers of gold facts are an oracle, to be named so. `least`: a
    reading ends where no further fact has so large a score. Raises `ValueError` for questions that
    are no texts, counts that are not one from 1 to the number of facts for each, and other numbers
    out of range.

    >>> iterated(Bm25(facts), ["Who mends gates?"], [2], beam=5)[0][0].edges
    """
    return [*levels(scorer, questions, counts, beam=beam, least=least)][-1]


def best_count(
    scorer: Scorer | Sequence[Scorer],
    questions: Sequence[str],
    gold: Sequence[Collection[int]],
    most: int,
    *,
    beam: int = 1,
) -> int:
    """The number of steps, `most` at most, of the highest mean F1 of facts; the smallest of equals.

    To be chosen on dev. `gold`: the places of each question's gold facts. Raises as `iterated`.
    """
    arguments.whole("most", most, 1)
    scorers = _of_each(scorer, questions)
    counts = [min(most, len(of.facts)) for of in scorers]
    means = []
    for held in levels(scorers, questions, counts, beam=beam):
        pairs = zip(gold, held, strict=True)
        scores = [overlap({*facts}, {*readings[0].facts})[2] for facts, readings in pairs]
        means.append(round(sum(scores) / len(scores), 9))
    return 1 + means.index(max(means))


def levels(
    scorer: Scorer | Sequence[Scorer],
    questions: Sequence[str],
    counts: Sequence[int],
    *,
    beam: int = 1,
    least: float = -1.0,
) -> Iterator[list[list[Reading]]]:
    """Yield what `iterated` returns for no more than 1 fact, then 2, to the largest count."""
    scorers, questions, counts = _checked(scorer, questions, counts)
    arguments.whole("beam", beam, 1)
    arguments.finite("least", least)
    held = [[Reading()] for _ in questions]
    for level in range(max(counts)):
        # A reading that is shorter than its level has ended.
        active = [
            (i, reading)
            for i, readings in enumerate(held)
            for reading in readings
            if len(reading.facts) == level < counts[i]
        ]
        queries = [(i, questions[i], reading.facts) for i, reading in active]
        rows = zip(active, _nearest(scorers, queries, beam + level), strict=True)
        held = [*held]
        # A question at a time, so that no more is held than its beam.
        for i, of_question in groupby(rows, key=lambda row: row[0][0]):
            ended = [r for r in held[i] if len(r.facts) < level]
            longer = [(-r.score, r.facts, r.scores) for r in ended]
            for (_, before), (places, of_places) in of_question:
                read, scores, total = before.facts, before.scores, sum(before.scores)
                pairs = zip(places.tolist(), of_places.tolist(), strict=True)
                near = [(at, score) for at, score in pairs if at not in read and score >= least]
                longer += [
                    (-round((total + score) / (level + 1), DIGITS), (*read, at), (*scores, score))
                    for at, score in near[:beam]
                ] or [(-before.score, read, scores)]
            held[i] = [Reading(*rest) for _, *rest in sorted(longer)[:beam]]
        yield held


def _nearest(
    scorers: Sequence[Scorer], queries: Sequence[tuple[int, str, tuple[int, ...]]], most: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each query (whose question, its text, what was read) up to `most` places and scores.

    Those over the same facts are one batch.
    """
    batches: dict[int, list[int]] = defaultdict(list)
    for number, (i, _, _) in enumerate(queries):
        batches[id(scorers[i])].append(number)
    rows = [(np.empty(0), np.empty(0))] * len(queries)
    for numbers in batches.values():
        owners, asked, read = zip(*(queries[number] for number in numbers), strict=True)
        scorer = scorers[owners[0]]
        scores, places = scorer.nearest(asked, min(most, len(scorer.facts)), read)
        near = scores.double().numpy().round(DIGITS)
        for number, row, at in zip(numbers, near, places.numpy(), strict=True):
            rows[number] = at, row
    return rows


def _of_each(scorer: Scorer | Sequence[Scorer], questions: Sequence[str]) -> list[Scorer]:
    return [*scorer] if isinstance(scorer, Sequence) else [scorer] * len(questions)


def _checked(
    scorer: Scorer | Sequence[Scorer], questions: Sequence[str], counts: Sequence[int]
) -> tuple[list[Scorer], list[str], list[int]]:
    questions, counts = texts("questions", questions), arguments.listed("counts", counts)
    scorers = _of_each(scorer, questions)
    for name, values in {"counts": counts, "scorers": scorers}.items():
        if len(values) != len(questions):
            raise ValueError(f"{len(values)} {name} for {len(questions)} questions")
    most = [len(of.facts) for of in scorers]
    whole = [arguments.whole(f"counts[{i}]", n, 1, most[i]) for i, n in enumerate(counts)]
    return scorers, questions, whole
