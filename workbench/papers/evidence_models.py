"""Models of a preset that answer or rank, as papers on evidence load them."""

import logging
from collections import Counter
from itertools import combinations

import torch

from workbench.generation.complete import backend
from workbench.generation.endpoint import Endpoint
from workbench.generation.local import LocalBackend
from workbench.generation.requests import Backend
from workbench.models.encoders import Encoder, load_encoder
from workbench.models.loading import load
from workbench.models.seq2seq import Seq2Seq, load_seq2seq
from workbench.papers import parameters
from workbench.papers.evidence import (
    MODELS,
    SERVERS,
    SPLITS,
    check_completer,
    check_encoder,
    check_reader,
)
from workbench.retrieval.graphs import Evidence

log = logging.getLogger(__name__)


def warn_of_shared(splits: dict[str, list[Evidence]]) -> None:
    """Log how many questions an earlier split has, too: asked alike, of the same gold facts."""
    asked = [Counter((q.question, frozenset(q.facts[v] for v in q.nodes)) for q in splits[name])
             for name in SPLITS]  # fmt: skip
    for (before, known), (split, rows) in combinations(zip(SPLITS, asked, strict=True), 2):
        if count := sum(rows[row] for row in rows if row in known):
            log.warning("%d of %d questions of %s are in %s", count, rows.total(), split, before)


def encoder(preset: str, model_id: str = "", needs: str = "") -> Encoder:
    """The sentence encoder that ranks as it comes: the one given, or the preset's.

    Raises as `check_encoder` and `load_encoder`.
    """
    check_encoder(preset, model_id, needs)
    if preset == "tiny":
        # So small a network gains nothing from a second thread, and sums differ with them.
        torch.set_num_threads(1)
    with parameters.naming("model_id", model_id):
        return load_encoder(model_id or MODELS[preset])


def reader(preset: str, seq2seq_id: str = "") -> Seq2Seq | None:
    """The model that is trained to answer; None for the small one of `answering`.

    Raises as `check_reader` and `load_seq2seq`.
    """
    name = check_reader(preset, seq2seq_id)
    with parameters.naming("seq2seq_id", name):
        return load_seq2seq(name) if name else None


def completer(reader_id: str = "", served_model: str = "") -> tuple[Backend | None, bool]:
    """The language model that answers as it comes, or a server; whether it is asked in a chat.

    None without a `reader_id`. A loaded model without a chat template is asked in plain text.
    Raises as `check_completer`, `models.load` and `Endpoint.check`.
    """
    check_completer(reader_id, served_model)
    if not reader_id:
        return None, True
    if reader_id.startswith(SERVERS):
        server = Endpoint(reader_id, served_model)
        server.check([])
        return server, True
    with parameters.naming("reader_id", reader_id):
        local = backend(load(reader_id))
    templated = isinstance(local, LocalBackend) and bool(local.model.tokenizer.chat_template)
    return local, templated
