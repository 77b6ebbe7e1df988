"""How a pass over pairs is kept on disk: counts, sparse rows, and how far it has come."""

from dataclasses import asdict, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from workbench.errors import FeatureError
from workbench.reading import read_arrays, read_object
from workbench.sae.counts import Counts
from workbench.writing import whole, write_json


def _damaged(fault: str) -> FeatureError:
    return FeatureError(f"{fault}; delete the folder, build again")


def as_arrays(dense: np.ndarray, name: str, dtype: Any) -> dict[str, np.ndarray]:
    """A dense array as three, named `name`_data, _index and _count."""
    sparse = scipy.sparse.csr_matrix(dense)
    return {
        f"{name}_data": sparse.data.astype(dtype),
        f"{name}_index": sparse.indices.astype(np.uint32),
        f"{name}_count": np.diff(sparse.indptr).astype(np.uint32),
    }


def as_matrix(file: Any, name: str, m: int, rows: slice = slice(None)) -> scipy.sparse.csr_matrix:
    """The inverse of `as_arrays`, or some of its rows: sparse float32 `[rows, m]`."""
    pointers = np.concatenate([[0], file[f"{name}_count"].cumsum(dtype=np.int64)])
    first, last, _ = rows.indices(len(pointers) - 1)
    pointers = pointers[first : last + 1]
    stored = slice(pointers[0], pointers[-1])
    data = file[f"{name}_data"][stored].astype(np.float32)
    index = file[f"{name}_index"][stored]
    return scipy.sparse.csr_matrix((data, index, pointers - pointers[0]), (last - first, m))


def shards(folder: Path) -> list[Path]:
    """The stored parts, in the order of their pairs."""
    return sorted(folder.glob("rows-*.npz"))


def row_of(path: Path) -> int:
    """Number of a part's first pair."""
    return int(path.stem.split("-")[1])


def read_rows(path: Path, m: int) -> dict[str, np.ndarray]:
    """The arrays of a stored part, checked to be those of `m` features.

    Raises `FeatureError` naming the file and the array that is missing, or does not fit the others.
    """
    arrays = read_arrays(path, _damaged)
    length = _array(arrays, "length", path, "ui")
    texts = {"pooled": len(length) // 2, "tokens": int(length.sum())}
    for name in ("pooled00", "pooled01", "pooled10", "pooled11", "tokens0", "tokens1"):
        data = _array(arrays, f"{name}_data", path, "f")
        index = _array(arrays, f"{name}_index", path, "u")
        count = _array(arrays, f"{name}_count", path, "u")
        if len(count) != texts[name[:6]] or not len(data) == len(index) == int(count.sum()):
            raise _damaged(f"{path}: {name} does not fit the texts")
        if not np.isfinite(data).all() or (index >= m).any():
            raise _damaged(f"{path}: {name} holds an impossible entry")
    return arrays


@lru_cache(maxsize=16)
def read_shard(path: Path, m: int, changed: int) -> dict[str, np.ndarray]:
    """`read_rows`, the last few kept in memory; `changed`: the file's time, in nanoseconds."""
    return read_rows(path, m)


def read_state(folder: Path) -> tuple[dict[str, Any], Counts]:
    """`run.json` of a folder, and its counts so far. Raises `FeatureError` naming one."""
    path = folder / "run.json"
    meta = read_object(path, _damaged)
    kinds = dict.fromkeys(("done", "rows", "features", "first_row", "shard"), int)
    kinds |= dict.fromkeys(("hook", "policy", "ref", "sae", "data"), str)
    wrong = [
        name for name, kind in kinds.items()
        if type(meta.get(name)) is not kind or (kind is int and meta[name] < 0)
    ]  # fmt: skip
    if wrong:
        raise _damaged(f"{path}: {', '.join(wrong)} missing or of another type")
    return meta, _read_counts(folder / f"counts-{meta['done']:08d}.npz", meta["features"])


def _read_counts(path: Path, m: int) -> Counts:
    arrays = read_arrays(path, _damaged)
    pull = _array(arrays, "pull", path, "f")
    # Empty ones of the size that is there: that of run.json may be beyond any memory.
    for name, empty in asdict(Counts.empty(len(pull))).items():
        stored = arrays.get(name)
        if stored is None or stored.dtype != empty.dtype or stored.shape != empty.shape:
            raise _damaged(f"{path}: {name} missing or of another shape or type")
        impossible = np.isnan(stored) if name == "sample_key" else ~np.isfinite(stored)
        if impossible.any():
            raise _damaged(f"{path}: {name} is not finite")
    if len(pull) != m:
        raise _damaged(f"{path}: of {len(pull)} features, run.json has {m}")
    return Counts(**{field.name: arrays[field.name] for field in fields(Counts)})


def _array(arrays: dict[str, np.ndarray], name: str, path: Path, kinds: str) -> np.ndarray:
    """An array of one axis whose dtype is of one of `kinds`."""
    array = arrays.get(name)
    if array is None or array.ndim != 1 or array.dtype.kind not in kinds:
        raise _damaged(f"{path}: {name} missing or of another shape or type")
    return array


def save_state(folder: Path, meta: dict[str, Any], counts: Counts) -> None:
    """Counts first, then the note that names them: what run.json says is always there."""
    path = folder / f"counts-{meta['done']:08d}.npz"
    save_arrays(path, asdict(counts))
    write_json(folder / "run.json", meta)
    for old in folder.glob("counts-*.npz"):
        if old != path:
            old.unlink()


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as one .npz file, whole or not at all."""
    with whole(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
