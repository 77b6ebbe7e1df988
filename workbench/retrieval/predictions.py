"""Predicted graphs of evidence, from and to files: each edge with its score (§3)."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import arguments
from workbench.errors import DatasetError
from workbench.files import Row, read_rows, repeated
from workbench.retrieval.evidence_files import plain_text
from workbench.retrieval.graphs import ROOT, Edge, Evidence
from workbench.writing import whole

SHOWN = 5
"""Ids that a message names at most."""


@dataclass(frozen=True)
class Prediction:
    """What a method says of one question: a score for each edge, and an answer where it gives one.

    Edges need not form a graph: a method may leave them cut off, or go in circles.
    """

    scores: Mapping[Edge, float]
    answer: str = ""

    def edges(self, above: float = -math.inf) -> list[Edge]:
        """The edges whose score lies above a threshold, sorted."""
        return sorted(edge for edge, score in self.scores.items() if score > above)


def read_predictions(path: str | Path, questions: Sequence[Evidence]) -> list[Prediction]:
    """The predictions of a file for these questions, in their order.

    Rows are `{"id", "edges": [[u, v, score], …], "answer"}`. Raises `FileNotFoundError`, and
    `DatasetError` for ids that are unknown, missing or there twice, also among the questions (the
    first five), edges that leave a question's facts, and scores that are no finite numbers.
    """
    known = {question.id: question for question in questions}
    rows = read_rows(path)
    names = [str(row.get("id")) for row in rows]
    present = set(names)
    for what, wrong in (
        ("is of questions of one id", repeated([question.id for question in questions])),
        ("has ids that no question has", [name for name in names if name not in known]),
        ("lacks the questions", [name for name in known if name not in present]),
        ("has more than once", repeated(names)),
    ):
        if wrong:
            more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise DatasetError(f"{path} {what}: {', '.join(wrong[:SHOWN])}{more}")
    of_id = {
        name: _prediction(row, len(known[name].facts), f"{path} row {i} ({name})")
        for i, (name, row) in enumerate(zip(names, rows, strict=True))
    }
    return [of_id[question.id] for question in questions]


def write_predictions(
    path: str | Path, questions: Sequence[Evidence], predictions: Sequence[Prediction], method: str
) -> None:
    """Write what `read_predictions` reads, one question a line.

    Raises `ValueError` for what it would not read, and `WriteError`.
    """
    if len(predictions) != len(questions):
        raise ValueError(f"{len(predictions)} predictions for {len(questions)} questions")
    arguments.different("ids of questions", [question.id for question in questions])
    with whole(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        for question, prediction in zip(questions, predictions, strict=True):
            last = len(question.facts) - 1
            edges = [
                [
                    arguments.whole(f"{question.id}: start of an edge", u, ROOT, last),
                    arguments.whole(f"{question.id}: end of an edge", v, 0, last),
                    arguments.finite(f"{question.id}: score of ({u}, {v})", score),
                ]
                for (u, v), score in sorted(prediction.scores.items())
            ]
            row = {"id": question.id, "edges": edges, "answer": prediction.answer}
            file.write(json.dumps({**row, "method": method}, ensure_ascii=False) + "\n")


def _prediction(row: Row, count: int, place: str) -> Prediction:
    edges = row.get("edges")
    if not isinstance(edges, list):
        raise DatasetError(
            f"{place}: field 'edges' is {edges!r:.60}; give triples [from, to, score]"
        )
    scores: dict[Edge, float] = {}
    for edge in edges:
        if not isinstance(edge, list) or len(edge) != 3 or not all(map(_is_number, edge)):
            raise DatasetError(
                f"{place}: edge {edge!r:.60} is no triple [from, to, score] of numbers"
            )
        u, v, score = edge
        if u != int(u) or v != int(v) or not ROOT <= u < count or not 0 <= v < count:
            raise DatasetError(f"{place}: edge {edge!r:.60} leaves the {count} facts")
        if (int(u), int(v)) in scores:
            raise DatasetError(f"{place}: edge {edge!r:.60} is there twice")
        scores[int(u), int(v)] = float(score)
    return Prediction(scores, plain_text(row, "answer", place))


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max
