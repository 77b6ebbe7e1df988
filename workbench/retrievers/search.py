"""Reads facts from state to state and keeps every edge with its score (§2.4, §2.5).

What is kept is more than an answer's evidence: `fuse` chooses from it, without the model.
"""

import logging
from collections.abc import Sequence

import torch

from workbench import arguments
from workbench.retrieval.graphs import ROOT, Edge, Evidence, ScoredEdge
from workbench.retrievers.model import Retriever
from workbench.retrievers.targets import MOST_DEPTH, Path

log = logging.getLogger(__name__)

EXPANDED = 0.05
"""Facts more probable than this are read."""
MOST_STATES, MOST_EDGES = 40, 25
"""Of one question."""
TOGETHER = 32
"""Questions searched at once; the results do not depend on it."""
DIGITS = 5
"""Of a probability, so that none hangs on the order of a sum."""


@torch.no_grad()
def retrieved(
    retriever: Retriever,
    questions: Sequence[Evidence],
    *,
    above: float = EXPANDED,
    depth: int = MOST_DEPTH,
    states: int = MOST_STATES,
    edges: int = MOST_EDGES,
    greedy: bool = False,
) -> list[list[ScoredEdge]]:
    """Each question's edges with their scores, sorted, all in the direction in which one reads.

    A fact more probable than `above` is read from each path that it is not on; an edge has the
    best score over paths. Backward, a fact also has an edge from the question, by as much as
    nothing seems to come before it. `greedy`: only the best fact of each state. No path is longer
    than `depth` facts; of more `states` or `edges` of a question the best are kept, with a warning.
    Raises `ValueError` for a number out of range, and for questions without facts.

    >>> retrieved(forward, questions("test", 12))[0]
    """
    arguments.finite("above", above, 0, 1)
    for name, value in {"depth": depth, "states": states, "edges": edges}.items():
        arguments.whole(name, value, 1)
    for question in arguments.listed("questions", questions, empty=True):
        arguments.listed(f"facts of question {question.id!r}", question.facts)
    out: list[list[ScoredEdge]] = []
    cut: set[int] = set()
    for start in range(0, len(questions), TOGETHER):
        part = questions[start : start + TOGETHER]
        scores, missing = _search(retriever, part, above, depth, states, greedy)
        for row, of_question in enumerate(scores, start):
            best = sorted(of_question.items(), key=lambda item: (-item[1], item[0]))
            if len(best) > edges:
                cut.add(row)
            out.append(sorted((u, v, score) for (u, v), score in best[:edges]))
        cut |= {start + row for row in missing}
    if cut:
        log.warning(
            "%s: %d of %d questions have more than %d states or %d edges; the best stay",
            retriever.direction, len(cut), len(questions), states, edges,
        )  # fmt: skip
    return out


def _search(
    retriever: Retriever,
    questions: Sequence[Evidence],
    above: float,
    depth: int,
    states: int,
    greedy: bool,
) -> tuple[list[dict[Edge, float]], set[int]]:
    """Scores by edge of each question, and the questions of which states were left out."""
    level = retriever.start(retriever.encoder.pool(questions))
    here: list[tuple[int, Path]] = [(row, ()) for row in range(len(questions))]
    scores: list[dict[Edge, float]] = [{} for _ in questions]
    room, missing = [states - 1] * len(questions), set()
    backward = retriever.direction == "backward"
    depth = 1 if retriever.direction == "one_hop" else depth
    for hop in range(depth):
        rows = torch.sigmoid(retriever.scores(level)).tolist()
        children: list[list[tuple[float, int, int]]] = [[] for _ in questions]
        for i, ((row, path), of_state) in enumerate(zip(here, rows, strict=True)):
            odds = enumerate(of_state)
            likely = sorted((-round(p, DIGITS), v) for v, p in odds if v not in path)
            reading = [(p, v) for p, v in likely[: 1 if greedy else None] if -p > above]
            children[row] += [(p, i, v) for p, v in reading]
            edges_read = [((path[-1] if path else ROOT, v), -p) for p, v in reading]
            if backward:
                edges_read = [((v, u), p) for (u, v), p in edges_read if u != ROOT]
                first = round(1 + likely[0][0], DIGITS) if likely else 1.0
                if path and first > above:
                    edges_read.append(((ROOT, path[-1]), first))
            for edge, p in edges_read:
                scores[row][edge] = max(p, scores[row].get(edge, 0.0))
        chosen = []
        for row, of_row in enumerate(children):
            best = sorted(of_row)[: room[row]]
            room[row] -= len(best)
            if len(best) < len(of_row):
                missing.add(row)
            chosen += [(i, v) for _, i, v in best]
        if not chosen or hop == depth - 1:
            break
        here = [(here[i][0], (*here[i][1], v)) for i, v in chosen]
        parents, facts = level.rows.new_tensor(chosen).T
        level = retriever.step(level, parents, facts)
    return scores, missing
