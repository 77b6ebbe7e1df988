"""A hand-written text in ordinary English, asked by what is trained on invented worlds, or not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from workbench.models.encoders import Encoder
from workbench.papers.reasonchainqa import study
from workbench.papers.reasonchainqa.paper import SUPPORT, TOWERS, Settings
from workbench.papers.reasonchainqa.study import Study
from workbench.papers.workers import Keep
from workbench.paths import small_folder
from workbench.retrieval.chains import read_chains
from workbench.retrieval.graphs import Evidence


def text() -> list[Evidence]:
    """Thirty questions of one to four facts over the 161 of an invented mountain railway."""
    return read_chains(small_folder() / "railway.json")


def run(
    questions: Mapping[str, Sequence[Evidence]],
    settings: Settings,
    keep: Keep,
    encoder: Encoder | None = None,
    folder: str | Path | None = None,
    copies: Study | None = None,
) -> Study:
    """`study.run`, asked the hand-written questions: counts and thresholds are of invented dev.

    `folder`: of the networks, which are not trained again for it. `copies`: what the fitted copies
    of the encoder find there (`databases.run`); their rows come last. What is trained above an
    encoder by one query is left out, as are the questions in other wordings.

    >>> handwritten.run(questions, settings, keep, encoder, work / "networks").scores["bm25"]
    """
    # Of what is left out alone something must be asked.
    methods = tuple(m for m in settings.methods if m not in {*TOWERS, *SUPPORT}) or ("bm25",)
    asked = {"train": questions["train"], "dev": questions["dev"], "test": text()}
    out = study.run(asked, replace(settings, methods=methods), keep, encoder, folder)
    for method in copies.scores if copies else ():
        out.add(method, copies.predicted[method][0], "; ".join(copies.tuned.get(method, ())))
    return out
