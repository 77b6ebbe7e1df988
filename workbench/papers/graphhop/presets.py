"""Settings, questions and sentence encoder of a preset. The method is the same in all of them."""

from workbench.models.encoders import Encoder
from workbench.papers import evidence_models, parameters
from workbench.papers.evidence import SPLITS, split_files
from workbench.papers.evidence_models import completer as completer
from workbench.papers.evidence_models import reader as reader
from workbench.papers.graphhop.paper import NEEDS, Settings
from workbench.papers.graphhop.paper import settings as settings
from workbench.retrieval.evidence_files import read_evidence
from workbench.retrieval.graphs import Evidence
from workbench.worlds.pools import questions as drawn


def questions(settings: Settings, data_path: str = "") -> dict[str, list[Evidence]]:
    """Split → questions: of invented worlds, which share no name, or the first of a folder's files.

    Raises `ValueError` as `evidence.split_files`, and as `retrieval.evidence_files.read_evidence`.
    """
    counts = {split: getattr(settings, split) for split in SPLITS}
    if data_path:
        files = split_files(data_path)
        with parameters.naming("data_path", data_path):
            splits = {split: read_evidence(files[split])[:n] for split, n in counts.items()}
        evidence_models.warn_of_shared(splits)
        return splits
    return {
        split: drawn(split, n, worlds=worlds, pool=settings.pool, decoys=settings.decoys)
        for (split, n), worlds in zip(counts.items(), settings.worlds, strict=True)
    }


def encoder(preset: str, model_id: str = "") -> Encoder:
    """The sentence encoder that ranks as it comes. Raises as `evidence_models.encoder`."""
    return evidence_models.encoder(preset, model_id, NEEDS)
