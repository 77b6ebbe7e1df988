"""A trained network on disk: its weights, and all that they are of (§3)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from workbench.errors import CacheMismatch, ModelError
from workbench.hashing import digest
from workbench.models.encoders import Encoder
from workbench.reading import read_object
from workbench.retrievers.model import Retriever
from workbench.retrievers.train import Fit, built
from workbench.training.resume import fault, seal
from workbench.writing import whole, write_json

WEIGHTS, CONFIG, FORMAT = "model.safetensors", "config.json", "graphhop-network/1"


def save(
    retriever: Retriever,
    folder: str | Path,
    fit: Fit,
    *,
    seed: int,
    data: str,
    thresholds: dict[str, float],
) -> None:
    """Write a network; a folder that is there is replaced whole.

    `data`: a fingerprint of what it was trained on. `thresholds`: what was chosen on dev, by name.
    Raises `WriteError` where the disk refuses.
    """
    encoder = retriever.encoder
    config = {
        "format": FORMAT, "direction": retriever.direction, "fit": asdict(fit),
        "encoder": encoder.about, "words": [*getattr(encoder, "known", ())],
        "thresholds": thresholds, "seed": seed, "data": data,
    }  # fmt: skip
    with whole(folder) as partial:
        partial.mkdir()
        tensors = {name: value.contiguous() for name, value in retriever.state_dict().items()}
        save_file(tensors, partial / WEIGHTS)
        write_json(partial / CONFIG, config, indent=1)
        seal(partial, FORMAT)


def load(
    folder: str | Path, encoder: Encoder | None = None, *, direction: str = ""
) -> tuple[Retriever, dict[str, Any]]:
    """The network that `save` wrote, ready to search, and its config.

    `encoder`: the sentence encoder that it was trained above, where it was. `direction`: that which
    it must have; empty for any. Raises, before weights are loaded, `ModelError` for a folder that
    is damaged or no network's, and `CacheMismatch`, naming both, for one of another direction,
    encoder, vocabulary or size.

    >>> forward, config = load("runs/graphhop/…/networks/forward-0-3f…")
    """
    folder = Path(folder)
    if wrong := fault(folder, FORMAT):
        raise ModelError(f"{folder} is no network of this format: {wrong}; remove it, train again")
    config = read_object(folder / CONFIG, ModelError)
    try:
        fit, about, words = Fit(**config["fit"]), config["encoder"], config["words"]
        _same(folder, "direction", config["direction"], direction or config["direction"])
        if words or fit.reads == "words":
            _same(folder, "vocabulary", about["vocabulary"], digest(words))
        if encoder and fit.reads != "words":
            if fit.reads == "tuned":
                _same(folder, "hidden size", fit.d, encoder.width)
            if about["identity"] != (identity := encoder.identity()):
                _same(folder, "encoder", about["encoder"], encoder.name)
                _same(folder, "weights of the encoder", about["identity"], identity)
        (retriever,) = built(fit, [config["direction"]], words, encoder)
    except (LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: {error!s:.300}") from error
    own = {name: list(value.shape) for name, value in retriever.state_dict().items()}
    with safe_open(folder / WEIGHTS, "pt") as file:
        stored = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    for name in sorted({*own, *stored}):
        _same(folder, name, stored.get(name), own.get(name))
    retriever.load_state_dict(load_file(folder / WEIGHTS))
    return retriever.eval(), config


def _same(folder: Path, what: str, stored: Any, asked: Any) -> None:
    if stored != asked:
        raise CacheMismatch(
            f"{folder}: {what} {stored!r:.80} is not {asked!r:.80}; give what it was trained with"
        )
