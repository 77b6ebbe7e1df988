"""How a pass over pairs is kept on disk: counts, sparse rows, and how far it has come."""

import json
import zipfile
import zlib
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from workbench.errors import FeatureError
from workbench.sae.counts import Counts
from workbench.writing import whole, write_json


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


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file; `FeatureError` naming it where it is missing or damaged."""
    try:
        return dict(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise FeatureError(f"{path}: damaged ({error}); delete the folder, build again") from error


@lru_cache(maxsize=16)
def read_shard(path: Path, changed: int) -> dict[str, np.ndarray]:
    """`read_arrays`, the last few kept in memory; `changed`: the file's time, in nanoseconds."""
    return read_arrays(path)


def read_state(folder: Path) -> tuple[dict[str, Any], Counts]:
    """`run.json` of a folder, and its counts so far. Raises `FeatureError` as `read_arrays`."""
    try:
        meta = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FeatureError(f"{folder / 'run.json'}: cannot be read ({error})") from error
    counts = Counts(**read_arrays(folder / f"counts-{meta['done']:08d}.npz"))
    return meta, counts


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
