"""Tensors on disk as checksummed safetensors shards that survive a killed writer."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workbench.errors import ShardError
from workbench.hashing import pieces_digest
from workbench.reading import read_json
from workbench.writing import whole, write_json

INDEX = "index.json"


@dataclass(frozen=True)
class Writer:
    """A folder being filled; shard i holds `values` and `lengths` of prompts `ranges[i]`."""

    folder: Path
    index: dict[str, Any]

    def has(self, i: int) -> bool:
        """Whether shard i is there and whole; a damaged one is not, and will be written again."""
        if not path_of(self.folder, i).is_file():
            return False
        try:
            read(self.folder, i, self.index["key"])
        except ShardError:
            return False
        return True

    def write(self, i: int, values: torch.Tensor, lengths: torch.Tensor) -> None:
        """Write one shard whole or not at all. `ShardError` where the disk does not take it."""
        digest = pieces_digest([bytes_of(values), bytes_of(lengths)])
        header = {"key": self.index["key"], "sha256": digest}
        try:
            with whole(path_of(self.folder, i)) as partial:
                save_file({"values": values, "lengths": lengths}, partial, header)
        except (OSError, SafetensorError) as error:
            raise ShardError(
                f"shard {i + 1} of {len(self.index['ranges'])} could not be written to "
                f"{self.folder}: {error}. The shards before it are kept; make room and call again "
                "with the same arguments to go on from there."
            ) from error


@contextmanager
def writing(folder: str | Path, index: dict[str, Any], expected_bytes: int) -> Iterator[Writer]:
    """Open a folder for writing, alone; go on where an earlier writer of the same `index` stopped.

    `index` is JSON-serialisable and holds at least `key` (what identifies the content) and
    `ranges` (`[start, stop]` of each shard).

    Raises `ShardError` where another process writes there now, the folder holds something else, or
    fewer than `expected_bytes` are free for what is still missing.
    """
    folder = Path(folder)
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ShardError(f"another process is writing to {folder}; choose another") from error
    except OSError as error:
        raise ShardError(f"{folder} cannot be written: {error.strerror or error}") from error
    try:
        present = _index(folder) if (folder / INDEX).exists() else None
        if present is not None and present.get("key") != index["key"]:
            theirs, ours = present.get("libraries"), index.get("libraries")
            if theirs != ours:
                raise ShardError(
                    f"{folder} was computed with {_listed(theirs)}, this is {_listed(ours)}, and "
                    "forwards change between versions; choose another folder or delete it"
                )
            raise ShardError(
                f"{folder} holds activations of something else (another model, set of prompts, "
                "site, positions or layers, other settings); choose another folder or delete it"
            )
        foreign = [p.name for p in folder.iterdir() if not _of_a_capture(p)]
        if present is None and foreign:
            raise ShardError(f"{folder} is not empty ({foreign[0]}, …); choose another folder")
        written = sum(p.stat().st_size for p in folder.glob("shard-*.safetensors"))
        free = shutil.disk_usage(folder).free
        if expected_bytes - written > free:
            raise ShardError(
                f"{folder} needs {(expected_bytes - written) / 1e9:.2f} GB more, but its disk has "
                f"{free / 1e9:.2f} GB free; choose another disk, fewer layers or dtype=bfloat16"
            )
        if present is None:
            write_json(folder / INDEX, index, indent=None)
        yield Writer(folder, index)
    finally:
        lock.release()


def read_all(folder: str | Path) -> tuple[dict[str, Any], list[torch.Tensor], torch.Tensor]:
    """(index, memory-mapped values of every shard, all lengths), checksums verified.

    Raises `ShardError` for a folder that is no capture, an unfinished one, and a damaged shard.
    """
    folder = Path(folder)
    if not (folder / INDEX).is_file():
        raise ShardError(f"{folder} holds no captured activations ({INDEX} is missing)")
    index = _index(folder)
    count = len(index["ranges"])
    missing = [i for i in range(count) if not path_of(folder, i).is_file()]
    if missing:
        raise ShardError(
            f"{folder} is unfinished: {len(missing)} of {count} shards are missing. Call capture "
            "again with the same arguments to go on."
        )
    parts = [read(folder, i, index["key"]) for i in range(count)]
    return index, [values for values, _ in parts], torch.cat([lengths for _, lengths in parts])


def read(folder: Path, i: int, key: str) -> tuple[torch.Tensor, torch.Tensor]:
    """(memory-mapped values, lengths) of one shard, its checksum verified."""
    path = path_of(folder, i)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            values, lengths = file.get_tensor("values"), file.get_tensor("lengths")
    except (SafetensorError, OSError) as error:
        raise ShardError(_damaged(path, str(error))) from error
    if header.get("key") != key:
        raise ShardError(_damaged(path, "it belongs to another capture"))
    if header.get("sha256") != pieces_digest(_stored_bytes(path)):
        raise ShardError(_damaged(path, "its checksum does not match"))
    return values, lengths


def path_of(folder: Path, i: int) -> Path:
    """File of shard i."""
    return folder / f"shard-{i:05d}.safetensors"


def _listed(libraries: dict[str, str] | None) -> str:
    listed = ", ".join(f"{name} {number}" for name, number in (libraries or {}).items())
    return listed or "unknown versions"


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged: {why}. Call capture again with the same arguments: it alone is made"


def _index(folder: Path) -> dict[str, Any]:
    index = read_json(folder / INDEX, ShardError)
    if not isinstance(index, dict) or "key" not in index or not _are_ranges(index.get("ranges")):
        raise ShardError(f"{folder / INDEX} is no index of captured activations")
    return index


def _are_ranges(value: Any) -> bool:
    """Whether `value` is [first, last + 1] of the prompts of each shard, without a gap."""
    if not isinstance(value, list) or not all(isinstance(r, list) and len(r) == 2 for r in value):
        return False
    cuts = [0, *(last for _, last in value)]
    firsts = [first for first, _ in value]
    return bool(value) and firsts == cuts[:-1] and all(type(cut) is int for cut in cuts)


def _of_a_capture(path: Path) -> bool:
    return path.name in (".lock", INDEX) or path.match("shard-*") or path.match(".*.partial")


def _stored_bytes(path: Path) -> Iterator[bytes]:
    """The tensors' bytes in a shard, in pieces: a memory map would make all of it resident."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name in ("values", "lengths"):
            start, end = header[name]["data_offsets"]
            file.seek(8 + size + start)
            for offset in range(start, end, 2**20):
                yield file.read(min(2**20, end - offset))


def bytes_of(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's bytes as a flat uint8 array, without a copy where it is contiguous."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy()
