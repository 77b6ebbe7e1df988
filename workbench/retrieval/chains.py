"""The chain view of evidence: each question's gold facts one after the other (arXiv 2210.08763).

A chain is a graph in which neither the question nor any fact leads to two facts. What branches may
be read as one chain all the same, in the order of its program, where that is known.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workbench import arguments
from workbench.errors import DatasetError, GraphError
from workbench.retrieval.evidence_files import evidence_or_errors, usable
from workbench.retrieval.graphs import ROOT, Edge, Evidence, depth, successors

log = logging.getLogger(__name__)

MOST_DEPTH = 7
"""Facts of the longest chains of the benchmark."""


def chain_of(question: Evidence) -> tuple[int, ...]:
    """The gold facts in order of reading: the question's `chain`, else `depth_first`."""
    return question.chain or depth_first(question.edges)


def depth_first(edges: Sequence[Edge]) -> tuple[int, ...]:
    """The facts, each after all that lead to it, and else a branch to its end before the next.

    Of two branches that begins at the smaller place. What the question does not lead to, or what is
    in a circle, is left out, and with it all that it leads to.

    >>> depth_first([(-1, 0), (-1, 1), (0, 5), (1, 2)])
    (0, 5, 1, 2)
    """
    after = successors(edges)
    waits_for = Counter(v for _, v in set(edges))
    order, stack = [], [ROOT]
    while stack:
        fact = stack.pop()
        order.append(fact)
        for v in reversed(after.get(fact, [])):
            waits_for[v] -= 1
            if not waits_for[v]:
                stack.append(v)
    return tuple(order[1:])


def read_chains(
    path: str | Path,
    *,
    max_depth: int = MOST_DEPTH,
    linearise: bool = False,
    strict: bool = True,
    repair: bool = False,
) -> list[Evidence]:
    """The questions of a file of chains, each with its `chain`; else as `read_evidence`.

    `linearise`: what branches is read as `chain_of` has it. Raises `GraphError` for it otherwise,
    and for more than `max_depth` facts on a path, naming row and facts; `strict=False` leaves such
    rows out, counted in the log by reason.

    >>> read_chains("chains.jsonl", linearise=True)[0].chain
    """
    arguments.whole("max_depth", max_depth, 1)
    read: list[Evidence | DatasetError] = []
    reasons: Counter[str] = Counter()
    for place, question in evidence_or_errors(path, repair=repair):
        reason = ""
        if isinstance(question, DatasetError):
            reason = "are no graph" if isinstance(question, GraphError) else "cannot be read"
        elif not linearise and (fault := _branch(question, place)):
            reason, question = "branch", fault
        elif (deep := depth(question.edges)) > max_depth:
            reason = f"are deeper than {max_depth}"
            question = GraphError(
                f"{place}: {deep} facts on a path; at most {max_depth} are read: leave it out, or "
                "give a larger max_depth"
            )
        else:
            question = replace(question, chain=chain_of(question))
        read.append(question)
        reasons.update([reason] if reason else [])
    if reasons and not strict:
        shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        log.warning("%s: of the questions %s", path, shown)
    return usable(path, read, strict)


def _branch(question: Evidence, place: str) -> GraphError | None:
    """What to say of the first node that leads to two facts, the question before all."""
    for u, vs in sorted(successors(question.edges).items()):
        if len(vs) > 1:
            node = "the question" if u == ROOT else f"fact {u}"
            return GraphError(
                f"{place}: {node} leads to facts {', '.join(map(str, vs))}: this is a graph; use "
                "the graph view (read_evidence), or linearise=True, which reads it as one chain"
            )
    return None
