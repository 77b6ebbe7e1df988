"""Dense retrieval in one shot, and iterated: the next fact by the question and what was read."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from workbench import arguments
from workbench.retrieval.graphs import ROOT, Edge
from workbench.retrieval.index import Index
from workbench.retrieval.lexical import texts

_DIGITS = 5
"""Of cosines: the last bits of a sum are not the same on every machine."""


@dataclass(frozen=True)
class Reading:
    """Places of facts in the order of reading, and the cosine by which each was found."""

    facts: tuple[int, ...] = ()
    cosines: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """The mean of the cosines; -1 for nothing read."""
        return round(sum(self.cosines) / len(self.cosines), _DIGITS) if self.facts else -1.0

    @property
    def edges(self) -> list[Edge]:
        """The facts as one chain from the question."""
        return list(zip((ROOT, *self.facts), self.facts, strict=False))


def one_shot(index: Index, questions: Sequence[str], counts: Sequence[int]) -> list[Reading]:
    """The `counts[i]` facts nearest to each question. Raises as `iterated`.

    >>> one_shot(index, ["Who mends gates?"], [2])[0].facts
    """
    questions, counts = _checked(index, questions, counts)
    scores, places = index.nearest(questions, max(counts))
    return [
        Reading(tuple(row[:count]), tuple(round(cosine, _DIGITS) for cosine in cosines[:count]))
        for count, row, cosines in zip(counts, places.tolist(), scores.tolist(), strict=True)
    ]


def iterated(
    index: Index,
    questions: Sequence[str],
    counts: Sequence[int],
    *,
    beam: int = 1,
    least: float = -1.0,
) -> list[list[Reading]]:
    """For each question up to `beam` readings of at most `counts[i]` facts, the best first.

    A query is the question with the facts read so far; all queries of a level are one batch.
    `counts`: the numbers of gold facts are an oracle, to be named so. `least`: a reading ends where
    no further fact has so large a cosine. Raises `ValueError` for questions that are no texts,
    counts that are not one from 1 to the number of facts for each, and other numbers out of range.

    >>> iterated(index, ["Who mends gates?"], [2])[0][0].edges
    """
    questions, counts = _checked(index, questions, counts)
    arguments.whole("beam", beam, 1)
    arguments.finite("least", least, -1, 1)
    held = [[Reading()] for _ in questions]
    for level in range(max(counts)):
        # A reading that is shorter than its level has ended.
        active = [
            (i, reading)
            for i, readings in enumerate(held)
            for reading in readings
            if len(reading.facts) == level < counts[i]
        ]
        if not active:
            break
        queries = [" ".join([questions[i], *(index.facts[at] for at in reading.facts)])
                   for i, reading in active]  # fmt: skip
        scores, places = index.nearest(queries, min(beam + level, len(index.facts)))
        grown: dict[int, set[Reading]] = defaultdict(set)
        for (i, reading), cosines, row in zip(
            active, scores.tolist(), places.tolist(), strict=True
        ):
            longer = [
                Reading((*reading.facts, at), (*reading.cosines, round(cosine, _DIGITS)))
                for cosine, at in zip(cosines, row, strict=True)
                if at not in reading.facts and round(cosine, _DIGITS) >= least
            ]
            grown[i] |= {*longer[:beam]} or {reading}
        for i, readings in grown.items():
            ended = {reading for reading in held[i] if len(reading.facts) < level}
            held[i] = sorted(readings | ended, key=lambda r: (-r.score, r.facts))[:beam]
    return held


def _checked(
    index: Index, questions: Sequence[str], counts: Sequence[int]
) -> tuple[list[str], list[int]]:
    questions = texts("questions", questions)
    counts = arguments.listed("counts", counts)
    if len(counts) != len(questions):
        raise ValueError(f"{len(counts)} counts for {len(questions)} questions")
    most = len(index.facts)
    return questions, [arguments.whole(f"counts[{i}]", n, 1, most) for i, n in enumerate(counts)]
