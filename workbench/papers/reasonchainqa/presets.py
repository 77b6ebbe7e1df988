"""Settings, questions and models of a preset. The method is the same in all of them."""

from collections.abc import Sequence

from workbench.models.encoders import Encoder
from workbench.papers import evidence_models, parameters
from workbench.papers.evidence import SPLITS, split_files
from workbench.papers.evidence_models import completer as completer
from workbench.papers.evidence_models import reader as reader
from workbench.papers.reasonchainqa.paper import NEEDS, Settings
from workbench.papers.reasonchainqa.paper import settings as settings
from workbench.retrieval.chains import read_chains
from workbench.retrieval.graphs import Evidence
from workbench.worlds.chains import questions as drawn

READERS = {"small": "smollm2"}
HELD_OUT = "held_out"
"""The split of test questions in wordings that no training question has."""


def questions(settings: Settings, data_path: str = "") -> dict[str, list[Evidence]]:
    """Split → questions: of invented worlds, which share no name, or the first of a folder's files.

    Branching questions of a file are read as one chain, in the order of their program or by place.
    Raises `ValueError` as `evidence.split_files`, and as `retrieval.chains.read_chains`.
    """
    counts = {split: getattr(settings, split) for split in SPLITS}
    if data_path:
        files = split_files(data_path)
        with parameters.naming("data_path", data_path):
            splits = {split: read_chains(files[split], linearise=True)[:n]
                      for split, n in counts.items()}  # fmt: skip
        evidence_models.warn_of_shared(splits)
        return splits
    worlds = dict(zip(SPLITS, settings.worlds, strict=True))
    splits = {split: _drawn(settings, split, n, worlds[split]) for split, n in counts.items()}
    if settings.held_out:
        new = _drawn(settings, "test", settings.held_out, worlds["test"], held_out=True)
        splits[HELD_OUT] = new
    return splits


def _drawn(
    settings: Settings, split: str, count: int, worlds: int, held_out: bool = False
) -> Sequence[Evidence]:
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
