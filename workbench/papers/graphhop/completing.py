"""A language model as it comes, as the reader (§4, reader iii): greedy, the answer alone."""

from pathlib import Path

from workbench.generation.complete import Completer
from workbench.generation.sample_store import SampleStore
from workbench.papers.graphhop.answering import Answers, evidence_of
from workbench.papers.graphhop.study import Study
from workbench.readers.prompts import replies

COUNT = 100
"""Test questions asked, the first with an answer."""


def run(
    study: Study,
    model: Completer,
    *,
    chat: bool = True,
    store: SampleStore | str | Path | None = None,
) -> Answers:
    """What the model answers from each evidence of `answering.EVIDENCE`, as `answering.run`.

    With a `store` nothing is asked twice. Raises as `complete`.

    >>> completing.run(gh_study, wb.load("smollm2"), store="out/samples")
    """
    asked = [i for i, q in enumerate(study.test) if q.answer][:COUNT]
    evidence, questions = evidence_of(study, asked, 0), [study.test[i] for i in asked]
    of_kind = replies(model, questions, evidence, chat=chat, store=store)
    return {name: [row] for name, row in of_kind.items()}
