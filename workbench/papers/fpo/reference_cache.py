"""The offline reference (§2.4): per response its log-probability and pooled features, on disk.

One pass over the pairs makes it; none of alpha, beta, k or the index set enters, so one cache
serves a whole sweep. Arrays are memory-mapped; parts are written one by one, so that a killed pass
goes on.
"""

import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workbench.errors import CacheCorrupt, CacheMismatch
from workbench.reading import read_array, read_arrays, read_object
from workbench.writing import disk_errors, whole, write_json

log = logging.getLogger(__name__)

VERSION = 1
PART = 256
"""Pairs in one part: what a killed pass loses at most."""
_DTYPES = {
    "offsets": (np.int64,),
    "idx": (np.int32,),
    "val": (np.float32, np.float16),
    "logp": (np.float32,),
    "length": (np.int32,),
}


@dataclass(frozen=True)
class Part:
    """Reference values of n consecutive pairs, on the CPU.

    `logp` float32 `[n, 2]` (nats, chosen and rejected), `length` int32 `[n, 2]` (response tokens),
    `pooled` float32 `[n, 2, m]`, or None where no features are asked for.
    """

    logp: np.ndarray
    length: np.ndarray
    pooled: np.ndarray | None


@dataclass(frozen=True)
class ReferenceCache:
    """A finished cache; rows are chosen_0, rejected_0, chosen_1, …

    `offsets` int64 `[2N+1]`, `idx` int32 `[nnz]`, `val` float32 or float16 `[nnz]`, `logp` float32
    `[N, 2]`, `length` int32 `[N, 2]`, all memory-mapped.
    """

    folder: Path
    meta: dict[str, Any]
    offsets: np.ndarray
    idx: np.ndarray
    val: np.ndarray
    logp: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.logp)

    def row(self, pair: int, side: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 indices and float32 values of one response; `side` 0 chosen, 1 rejected. Copies."""
        start, end = self.offsets[2 * pair + side], self.offsets[2 * pair + side + 1]
        return self.idx[start:end].astype(np.int64), self.val[start:end].astype(np.float32)


def read(folder: str | Path, expected: dict[str, Any]) -> ReferenceCache:
    """Open a cache that must be of `expected` (the fields given there are compared).

    Raises `CacheMismatch` listing the differing fields; `CacheCorrupt` with path and row for
    missing, truncated or inconsistent arrays.
    """
    folder = Path(folder)
    meta = read_object(folder / "meta.json", _damaged)
    wrong = [
        f"{k}: cache has {meta.get(k)!r}, this run {v!r}"
        for k, v in {"format_version": VERSION, **expected}.items()
        if meta.get(k) != v
    ]
    if wrong:
        raise CacheMismatch(
            f"{folder} is the reference of something else. " + "; ".join(wrong) + ". Give another "
            "cache_dir, or delete the folder to make it again."
        )
    arrays = {}
    for name, dtypes in _DTYPES.items():
        path = folder / f"{name}.npy"
        arrays[name] = read_array(path, _damaged, mmap_mode="r")
        if arrays[name].dtype not in dtypes:
            raise _damaged(f"{path}: holds {arrays[name].dtype}, not {np.dtype(dtypes[0])}")
    cache = ReferenceCache(folder, meta, **arrays)
    _check(cache)
    return cache


def build(
    folder: str | Path,
    meta: dict[str, Any],
    pairs: int,
    compute: Callable[[range], Part],
    *,
    rank: int = 0,
    world: int = 1,
    part: int = PART,
) -> None:
    """Write the parts of this rank that are not there yet; `finish` joins them.

    `compute` gets a range of pairs. Parts already made under the same `meta` are kept; those of
    another are an error (`CacheMismatch`).
    """
    parts = Path(folder).with_name(Path(folder).name + ".parts")
    if parts.exists() and (parts / "meta.json").exists():
        if read_object(parts / "meta.json", _damaged) != meta:
            raise CacheMismatch(f"{parts} is the unfinished reference of something else; delete it")
    elif rank == 0:
        write_json(parts / "meta.json", meta)
    with disk_errors(parts):
        parts.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, pairs, part)):
        path = parts / f"{number:06d}.npz"
        if number % world != rank or path.exists():
            continue
        arrays = _sparse(compute(range(start, min(start + part, pairs))), meta)
        with whole(path) as partial, partial.open("wb") as file:
            np.savez(file, **arrays)


def finish(folder: str | Path, meta: dict[str, Any], pairs: int, *, part: int = PART) -> None:
    """Join the parts into the memory-mapped arrays; atomic: the folder appears when it is whole."""
    folder = Path(folder)
    parts = folder.with_name(folder.name + ".parts")
    paths = [parts / f"{n:06d}.npz" for n in range(len(range(0, pairs, part)))]
    counts = np.concatenate([_part(p)["counts"] for p in paths])
    offsets = np.concatenate([[0], counts.cumsum()]).astype(np.int64)
    dtypes = {"idx": np.int32, "val": np.dtype(meta["dtype"])}
    shapes = {"idx": (int(offsets[-1]),), "val": (int(offsets[-1]),)}
    shapes |= {"logp": (pairs, 2), "length": (pairs, 2)}
    dtypes |= {"logp": np.float32, "length": np.int32}
    least = np.concatenate([_part(p)["least"] for p in paths])
    statistics = {
        "smallest_kept_max": float(least.max(initial=0.0)),
        "smallest_kept_mean": float(least.mean()) if len(least) else 0.0,
        "nnz": int(offsets[-1]),
    }
    if meta.get("cache_top"):
        log.warning(
            "cache_top=%d: dropped features are at most %.3g (mean over responses %.3g)",
            meta["cache_top"], statistics["smallest_kept_max"], statistics["smallest_kept_mean"],
        )  # fmt: skip
    with whole(folder) as partial:
        partial.mkdir()
        np.save(partial / "offsets.npy", offsets)
        for name, shape in shapes.items():
            _join(partial / f"{name}.npy", shape, dtypes[name], (_part(p)[name] for p in paths))
        write_json(partial / "meta.json", {"format_version": VERSION, **meta, **statistics})
    remove_parts(folder)


def remove_parts(folder: str | Path) -> None:
    """Remove the parts of a finished cache; a pass killed at its very end leaves some."""
    shutil.rmtree(Path(folder).with_name(Path(folder).name + ".parts"), ignore_errors=True)


def _sparse(part: Part, meta: dict[str, Any]) -> dict[str, np.ndarray]:
    """Non-zero features in rising order, the largest `cache_top` of them where that is set.

    `least`: the smallest kept value of a truncated response, 0 of a whole one: an absent entry
    counts as 0, so this bounds the error of each coordinate.
    """
    n = len(part.logp)
    out = {"logp": part.logp.astype(np.float32), "length": part.length.astype(np.int32)}
    if part.pooled is None:
        none = np.zeros(0, np.int32)
        return {**out, "counts": np.zeros(2 * n, np.int64), "idx": none,
                "val": none.astype(meta["dtype"]), "least": np.zeros(2 * n)}  # fmt: skip
    idx, val, least = [], [], np.zeros(2 * n)
    for row, pooled in enumerate(part.pooled.reshape(2 * n, -1)):
        index = pooled.nonzero()[0]
        top = meta.get("cache_top")
        if top and len(index) > top:
            largest = np.argpartition(-pooled[index], top - 1)[:top]
            index = np.sort(index[largest])
            least[row] = pooled[index].min()
        idx.append(index.astype(np.int32))
        val.append(pooled[index].astype(meta["dtype"]))
    counts = np.array([len(i) for i in idx], np.int64)
    return {**out, "counts": counts, "idx": np.concatenate(idx), "val": np.concatenate(val),
            "least": least}  # fmt: skip


def _join(path: Path, shape: tuple[int, ...], dtype: Any, pieces: Iterable[np.ndarray]) -> None:
    # Not through a memory map: where the disk is full, writing to one kills the process.
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).data)


def _part(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path, lambda fault: CacheCorrupt(f"{fault}; delete it and run again"))


def _damaged(fault: str) -> CacheCorrupt:
    return CacheCorrupt(f"{fault}; delete its folder")


def _check(cache: ReferenceCache) -> None:
    """Shapes, offsets, indices and values hang together; the first wrong row is named."""
    folder, rows = cache.folder, 2 * len(cache.logp)
    if cache.length.shape != cache.logp.shape or cache.logp.shape != (rows // 2, 2):
        raise CacheCorrupt(
            f"{folder}: logp {cache.logp.shape} and length {cache.length.shape} differ"
        )
    if len(cache.logp) != cache.meta.get("pairs"):
        raise CacheCorrupt(
            f"{folder}: {len(cache.logp)} pairs, meta.json says {cache.meta['pairs']}"
        )
    if cache.offsets.shape != (rows + 1,) or cache.offsets[0] != 0:
        raise CacheCorrupt(f"{folder / 'offsets.npy'}: {cache.offsets.shape} for {rows} rows")
    falling = np.flatnonzero(np.diff(cache.offsets) < 0)
    if len(falling):
        raise CacheCorrupt(f"{folder / 'offsets.npy'}: row {falling[0]} ends before it begins")
    if not cache.offsets[-1] == len(cache.idx) == len(cache.val):
        raise CacheCorrupt(
            f"{folder}: offsets end at {cache.offsets[-1]} (row {rows - 1}), but there are "
            f"{len(cache.idx)} indices and {len(cache.val)} values"
        )
    bad = {
        "idx.npy": np.flatnonzero((cache.idx < 0) | (cache.idx >= cache.meta.get("features", 0))),
        "val.npy": np.flatnonzero(~np.isfinite(cache.val)),
    }
    for name, places in bad.items():
        if len(places):
            row = np.searchsorted(cache.offsets, places[0], side="right") - 1
            raise CacheCorrupt(f"{folder / name}: row {row} holds an impossible entry")
    lost = np.flatnonzero(~np.isfinite(cache.logp).all(1))
    if len(lost):
        raise CacheCorrupt(f"{folder / 'logp.npy'}: row {2 * lost[0]} is not finite")
