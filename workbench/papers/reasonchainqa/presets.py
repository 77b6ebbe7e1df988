"""Settings, questions and models of a preset. The method is the same in all of them."""

import logging
from pathlib import Path

from workbench.kopl.knowledge import read_knowledge
from workbench.kopl.rebuild import rebuilt
from workbench.models.encoders import Encoder
from workbench.papers import evidence_models, parameters
from workbench.papers.evidence import SPLITS, split_files
from workbench.papers.evidence_models import completer as completer
from workbench.papers.evidence_models import reader as reader
from workbench.papers.reasonchainqa.paper import NEEDS, Settings, is_kqa_pro
from workbench.papers.reasonchainqa.paper import settings as settings
from workbench.papers.workers import cores
from workbench.retrieval.chains import read_chains
from workbench.retrieval.graphs import Evidence
from workbench.worlds.chains import questions as drawn

log = logging.getLogger(__name__)

MOST_DEPTH = 20
"""Facts on a path of a file of one's own."""
READERS = {"small": "smollm2"}
HELD_OUT = "held_out"
"""The split of test questions in wordings that no training question has."""


def questions(settings: Settings, data_path: str = "") -> dict[str, list[Evidence]]:
    """Split → questions: of invented worlds, which share no name, or the first of a folder's files.

    Branching questions of a file are read as one chain, in the order of their program or by place.
    From KQA Pro's files evidence is rebuilt; the log tells what fell out, and why. Raises
    `ValueError` as `evidence.split_files`, and as `retrieval.chains.read_chains` or `kopl.rebuild`.
    """
    counts = {split: getattr(settings, split) for split in SPLITS}
    if data_path:
        with parameters.naming("data_path", data_path):
            read = _rebuilt if is_kqa_pro(data_path) else _read
            splits = read(data_path, counts, settings)
        evidence_models.warn_of_shared(splits)
        return splits
    worlds = dict(zip(SPLITS, settings.worlds, strict=True))
    splits = {split: _drawn(settings, split, n, worlds[split]) for split, n in counts.items()}
    if settings.held_out:
        new = _drawn(settings, "test", settings.held_out, worlds["test"], held_out=True)
        splits[HELD_OUT] = new
    return splits


def _read(folder: str, counts: dict[str, int], settings: Settings) -> dict[str, list[Evidence]]:
    files = split_files(folder)
    out = {}
    for split, count in counts.items():
        every = read_chains(files[split], linearise=True, max_depth=MOST_DEPTH)
        if len(every) > count:
            log.warning("%s: the first %d of %d questions", files[split], count, len(every))
        out[split] = every[:count]
    return out


def _rebuilt(folder: str, counts: dict[str, int], settings: Settings) -> dict[str, list[Evidence]]:
    knowledge = read_knowledge(Path(folder, "kb.json"))
    out = {}
    for split, count in counts.items():
        out[split], tally = rebuilt(
            folder, split, pool=settings.pool, count=count, knowledge=knowledge
        )
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(tally.items()))
        log.warning("KQA Pro %s: %d questions, left out %s", split, len(out[split]), told or "none")
    return out


def _drawn(
    settings: Settings, split: str, count: int, worlds: int, held_out: bool = False
) -> list[Evidence]:
    return drawn(
        split, count, worlds=worlds, pool=settings.pool, decoys=settings.decoys,
        depths=settings.depths, types=settings.types, held_out=held_out,
    )  # fmt: skip


def encoder(preset: str, model_id: str = "") -> Encoder:
    """The sentence encoder that ranks as it comes. Raises as `evidence_models.encoder`."""
    return evidence_models.encoder(preset, model_id, NEEDS)


def reader_id(preset: str) -> str:
    """The language model that answers as it comes at a preset; empty for none."""
    return READERS.get(preset, "")


def workers(preset: str) -> int:
    """Processes that share trainings: one a core at tiny, else one, with the sentence encoder."""
    return cores() if preset == "tiny" else 1
