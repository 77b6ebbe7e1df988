"""What a trained reader answers from each kind of evidence, and whether it is right."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from workbench.hashing import digest
from workbench.models.seq2seq import Seq2Seq
from workbench.papers.evidence_tables import Values
from workbench.papers.workers import Keep
from workbench.readers.trained import ReaderFit, taught_answers
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Edge, Evidence
from workbench.training.memory import release

Answers = dict[str, list[list[str]]]
"""Evidence → `[seed][question]` → what the reader says."""


def answers(
    train: Sequence[Evidence],
    test: Sequence[Evidence],
    evidence: Mapping[int, Mapping[str, Sequence[Sequence[Edge]]]],
    fit: ReaderFit,
    keep: Keep,
    model: Seq2Seq | None = None,
    folder: Path | None = None,
) -> Answers:
    """The answers of a reader for each seed, trained on the graphs of `train`.

    `evidence`: seed → kind → a graph for each test question. A reader with what it answers is a
    step of `keep`; `folder`: where a training that was killed finds its last epoch.
    """
    out: Answers = {}
    for seed, kinds in evidence.items():
        key = {"questions": digest([as_row(q) for q in (*train, *test)]), "count": len(train),
               "evidence": digest([*kinds.items()]), "fit": asdict(fit), "seed": seed,
               "model": model.identity() if model else ""}  # fmt: skip
        state = folder / f"training-reader-{seed}-{digest(key)}" if folder else None
        step = partial(taught_answers, train, test, kinds, fit, seed, model, state)
        for kind, replies in keep(f"reader-{seed}", key, step).items():
            out.setdefault(kind, []).append(replies)
        release()
    return out


def right(
    asked: Sequence[Evidence],
    seeds: Sequence[Sequence[str]],
    of: Callable[[Evidence], bool] = lambda q: True,
) -> Values:
    """1 or 0 for each answer to the first questions, by `answer_exact`, and the questions' ids."""
    rows = [
        [(float(answer_exact(q.answer, reply)), q.id)
         for q, reply in zip(asked, seed, strict=False) if of(q)]
        for seed in seeds
    ]  # fmt: skip
    return [[value for value, _ in row] for row in rows], [[id_ for _, id_ in row] for row in rows]
