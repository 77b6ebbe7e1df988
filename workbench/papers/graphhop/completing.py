"""A language model as it comes, as the reader (§4, reader iii): greedy, the answer alone."""

from pathlib import Path

from workbench.generation.complete import Completer, complete
from workbench.generation.requests import GenRequest
from workbench.generation.sample_store import SampleStore
from workbench.papers.graphhop.answering import Answers, evidence_of
from workbench.papers.graphhop.study import Study
from workbench.readers.prompts import NEW, first_line, prompt

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

    The first line of a reply counts. With a `store` nothing is asked twice. Raises as `complete`.

    >>> completing.run(gh_study, wb.load("smollm2"), store="out/samples")
    """
    asked = [i for i, q in enumerate(study.test) if q.answer][:COUNT]
    evidence = evidence_of(study, asked, 0)
    requests = [
        GenRequest(prompt(study.test[i], edges, chat), max_new_tokens=NEW, stage=name)
        for name, graphs in evidence.items()
        for i, edges in zip(asked, graphs, strict=True)
    ]
    replies = [result.texts[0] for result in complete(model, requests, store=store)]
    rows = [replies[i : i + len(asked)] for i in range(0, len(replies), len(asked) or 1)]
    return {name: [[first_line(reply) for reply in row]]
            for name, row in zip(evidence, rows, strict=True)}  # fmt: skip
