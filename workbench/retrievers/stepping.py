"""A trained network as a stepper: a chain of facts that is read one by one, or by hand."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch

from workbench import arguments
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.lexical import texts
from workbench.retrieval.steps import Step, Stepper
from workbench.retrievers.model import PATH, PathRetriever, Retriever, States
from workbench.retrievers.targets import Path

KEPT = 32
"""States of a question that are kept: another hop by hand goes on from one of them."""


def stepper_of(retriever: Retriever) -> Stepper:
    """One step of a network that reads from the question on, as `steps.follow` takes it.

    A fact has the sigmoid of its logit, and so has a path retriever's end; else the chain ends by
    as much as nothing seems to come next: 1 - the largest of them. The last question's texts are
    encoded once, each state is read once.
    Raises `ValueError` for a network of another direction, later as `Nearest.step`.

    >>> wb.explain(question, facts, stepper_of(forward), beam=4).chain
    """
    arguments.one_of("direction", retriever.direction, ("forward", PATH))
    walk = lru_cache(maxsize=1)(lambda question, facts: _walk(retriever, question, facts))

    def stepper(question: str, facts: Sequence[str], read: Sequence[int]) -> Step:
        (question,), facts = texts("question", [question]), texts("facts", facts)
        read = [arguments.whole(f"read[{j}]", v, 0, len(facts) - 1) for j, v in enumerate(read)]
        own, end = walk(question, tuple(facts))(tuple(read))
        odds = own.copy()
        odds[read] = 0
        return Step(odds, 1 - float(odds.max()) if end is None else end)

    return stepper


def _walk(
    retriever: Retriever, question: str, facts: tuple[str, ...]
) -> Callable[[Path], tuple[np.ndarray, float | None]]:
    """Facts read so far → probabilities of all, float64 `[facts]`, and of a path's end."""

    @lru_cache(maxsize=KEPT)
    def state(read: Path) -> States:
        if not read:
            return retriever.start(retriever.encoder.pool([Evidence("", question, facts, ())]))
        before = state(read[:-1])
        return retriever.step(before, *before.rows.new_tensor([[0], [read[-1]]]))

    @lru_cache(maxsize=KEPT)
    @torch.no_grad()
    def odds(read: Path) -> tuple[np.ndarray, float | None]:
        at, end = state(read), None
        if isinstance(retriever, PathRetriever):
            end = torch.sigmoid(retriever.ends(at.tokens, at.pool.questions_there)).item()
        return torch.sigmoid(retriever.scores(at)[0]).double().cpu().numpy(), end

    return odds
