"""A database of facts as vectors on disk, known by its encoder and its facts; pools in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from workbench.errors import CacheCorrupt, CacheMismatch
from workbench.hashing import digest
from workbench.models.encoders import Encoder
from workbench.reading import read_array, read_object
from workbench.retrieval.lexical import after_each, places_of, texts
from workbench.retrieval.search import top_k
from workbench.writing import whole, write_json

VECTORS, ABOUT = "vectors.npy", "index.json"
PART = 4096
"""Facts encoded between two writes."""


class Remembering:
    """An encoder that encodes no text twice; the vectors of all it was given stay in memory.

    >>> ranker = Remembering(wb.load_encoder("minilm"))
    """

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._vectors: dict[str, torch.Tensor] = {}

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """As `Encoder.encode`."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new or not texts:
            vectors = self.encoder.encode(new)
            self._vectors.update(zip(new, vectors, strict=True))
        return torch.stack([self._vectors[text] for text in texts]) if texts else vectors


@dataclass(frozen=True)
class Index:
    """`vectors`: `[facts, width]`, on disk a float16 memory map. `encoder`, `facts`: theirs."""

    vectors: np.ndarray
    encoder: Encoder | Remembering
    facts: Sequence[str]

    def nearest(
        self, queries: Sequence[str], k: int, read: Sequence[Sequence[int]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and places of the `k` nearest facts, both `[queries, k]`, as `search.top_k`.

        `read`: places of the facts that follow each query, none where it is empty. Raises
        `ValueError` for those that are not of facts, and as `search.top_k`.

        >>> scores, places = index.nearest(["Who mends gates?"], 5)
        """
        queries = texts("queries", queries)
        asked = [
            " ".join([query, *(self.facts[at] for at in places_of(after, len(self.facts)))])
            for query, after in zip(queries, after_each(queries, read), strict=True)
        ]
        return top_k(self.encoder.encode(asked), self.vectors, k)


def indexes_of(encoder: Encoder | Remembering, pools: Sequence[Sequence[str]]) -> list[Index]:
    """An index of each pool of facts, in memory; each different fact is encoded once.

    Raises `ValueError` for a pool without facts, or a fact that is no text.
    """
    pools = [texts(f"pools[{i}]", pool) for i, pool in enumerate(pools)]
    place = {fact: i for i, fact in enumerate(dict.fromkeys(f for pool in pools for f in pool))}
    vectors = encoder.encode([*place]).numpy()
    return [Index(vectors[[place[fact] for fact in pool]], encoder, pool) for pool in pools]


def index_of(encoder: Encoder, facts: Sequence[str], folder: str | Path) -> Index:
    """The index of the facts in `folder`, made where there is none.

    Raises `CacheMismatch` for one of another encoder or other facts, `CacheCorrupt` for one that
    is damaged, and `ValueError` for no facts.
    """
    place, facts = Path(folder), texts("facts", facts)
    about = {
        "encoder": encoder.identity(),
        "facts": digest(list(facts)),
        "shape": [len(facts), encoder.width],
    }
    if not place.exists():
        with whole(place) as unfinished:
            unfinished.mkdir()
            shape = (len(facts), encoder.width)
            rows = np.lib.format.open_memmap(unfinished / VECTORS, "w+", np.float16, shape)
            for start in range(0, len(facts), PART):
                rows[start : start + PART] = encoder.encode(facts[start : start + PART]).numpy()
            rows.flush()
            write_json(unfinished / ABOUT, about)
    there = read_object(place / ABOUT, CacheCorrupt)
    for name in about:
        if there.get(name) != about[name]:
            raise CacheMismatch(
                f"{place} is an index of another encoder or of other facts: {name} is "
                f"{there.get(name)!r:.40} there, {about[name]!r:.40} here; give another folder, or "
                "remove that one"
            )
    vectors = read_array(place / VECTORS, CacheCorrupt, "r")
    if vectors.dtype != np.float16 or list(vectors.shape) != about["shape"]:
        raise CacheCorrupt(f"{place / VECTORS} is {vectors.dtype}{list(vectors.shape)}: remove it")
    return Index(vectors, encoder, facts)
