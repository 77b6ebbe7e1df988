"""A sentence encoder that keeps what it computed: float16 on disk, by text and by encoder."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workbench.hashing import digest, tensors_digest
from workbench.models.encoders import Encoder, listed_texts
from workbench.paths import require_cache
from workbench.writing import whole

log = logging.getLogger(__name__)

PART = 4096
"""Texts of one file: what a run that is killed loses at most."""


@dataclass(frozen=True, eq=False)
class CachedEncoder(Encoder):
    """An `Encoder` whose vectors and states are float16 values, taken from `folder` where there.

    What is computed is the same as what is read. Encoders, even of one folder, never mix: each has
    its own folder there, named by `identity`. Several processes may use one at once. A damaged
    file is named in the log and its texts are encoded anew.
    """

    folder: Path
    _files: dict[Path, dict[str, torch.Tensor]] = field(default_factory=dict, repr=False)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """As `Encoder.encode`, rounded to float16."""
        computed = super().encode
        rows = self._rows("vectors", texts, lambda new: list(computed(new)[:, None]))
        return torch.cat([torch.empty(0, self.width), *rows])

    def states(self, texts: Sequence[str]) -> list[torch.Tensor]:
        """As `Encoder.states`, rounded to float16."""
        return self._rows("states", texts, super().states)

    def _rows(
        self, kind: str, texts: Sequence[str], compute: Callable[[list[str]], list[torch.Tensor]]
    ) -> list[torch.Tensor]:
        texts, place = listed_texts(texts), self.folder / self.identity() / kind
        keys = [digest(text, 32) for text in texts]
        there: dict[str, torch.Tensor] = {}
        for path in sorted(place.glob("*.safetensors")):
            there |= self._read(path)
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in there}
        for start in range(0, len(new), PART):
            part = [*new][start : start + PART]
            rows = [row.half() for row in compute([new[key] for key in part])]
            path = place / f"{digest(part, 32)}.safetensors"
            _write(path, ",".join(part), rows)
            self._files[path] = dict(zip(part, rows, strict=True))
            there |= self._files[path]
        return [there[key].float() for key in keys]

    def _read(self, path: Path) -> dict[str, torch.Tensor]:
        """Text's key → its rows `[tokens, width]`; nothing of a damaged file, which is removed."""
        if path not in self._files:
            try:
                with safe_open(path, "pt") as file:
                    about = file.metadata()
                    rows, sizes = file.get_tensor("rows"), file.get_tensor("sizes")
                if about["checksum"] != _checksum(about["keys"], rows, sizes):
                    raise KeyError("its content is not what was written")
            except (SafetensorError, OSError, KeyError, TypeError) as error:
                log.warning("%s is damaged (%s); its texts are encoded anew", path, error)
                path.unlink(missing_ok=True)
                return {}
            parts = rows.split(sizes.tolist())
            self._files[path] = dict(zip(about["keys"].split(","), parts, strict=True))
        return self._files[path]


def _write(path: Path, keys: str, rows: list[torch.Tensor]) -> None:
    flat, sizes = torch.cat(rows), torch.tensor([len(row) for row in rows])
    with whole(path) as partial:
        about = {"keys": keys, "checksum": _checksum(keys, flat, sizes)}
        save_file({"rows": flat, "sizes": sizes}, partial, about)


def _checksum(keys: str, rows: torch.Tensor, sizes: torch.Tensor) -> str:
    return digest([keys, tensors_digest({"rows": rows, "sizes": sizes})])


def cached(encoder: Encoder, folder: str | Path | None = None) -> CachedEncoder:
    """The encoder with a cache in `folder`, by default in `paths.cache_folder()`.

    >>> encoder = cached(wb.load_encoder("minilm"))
    """
    place = Path(folder) if folder is not None else require_cache() / "encoders"
    return CachedEncoder(
        encoder.hf, encoder.tokenizer, encoder.name, encoder.max_tokens, folder=place
    )
