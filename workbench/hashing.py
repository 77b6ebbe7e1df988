"""Identity of content: the one place where text, JSON, files and tensors get a digest."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

# Making one for every sample would take as long as using it.
_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
DIGITS = 16
"""Hex digits of a digest where nothing says otherwise: 64 bits tell contents apart."""


def canonical(value: Any) -> str:
    """JSON of `value` in one spelling: sorted keys, no spaces, text as it is.

    Raises `ValueError` for NaN and infinity, `TypeError` for what JSON has no word for.
    """
    return _CANONICAL.encode(value)


def digest(content: Any, digits: int = DIGITS) -> str:
    """The first `digits` hex digits (at most 64) of SHA-256.

    Text and bytes are hashed as they are, anything else as `canonical` JSON.
    """
    if not isinstance(content, str | bytes):
        content = canonical(content)
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:digits]


def pieces_digest(pieces: Iterable[Any], digits: int = 64) -> str:
    """`digest` of bytes (or what has a buffer of them) that come in pieces, as of one whole."""
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()[:digits]


def file_digest(path: str | Path, digits: int = 64) -> str:
    """`digest` of a file's bytes, read in pieces. Raises `OSError` as opening it does."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:digits]


def checksum(tensor: Any) -> int:
    """64 bits that change with any byte of a tensor, taken in one pass where it lies.

    xxHash on a CPU. On another device a wrapping sum of 8-byte words, each times an odd number of
    its place (an odd factor loses no bit); so the same values have another checksum there.
    """
    import torch
    import xxhash

    flat = tensor.detach().contiguous().flatten().view(torch.uint8)
    return xxhash.xxh3_64_intdigest(flat.numpy().data) if flat.is_cpu else word_checksum(flat)


def checksums(tensors: Iterable[Any]) -> list[int]:
    """`checksum` of each. Large ones on a CPU are read by several threads, beside the GIL."""
    tensors = list(tensors)
    if not all(t.is_cpu for t in tensors) or sum(t.nbytes for t in tensors) < 2**24:
        return [checksum(t) for t in tensors]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(checksum, tensors))


def word_checksum(flat: Any, step: int = 2**22) -> int:
    """`checksum` of uint8 `[n]` on any device, `step` words at a time."""
    import torch

    words = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).view(torch.int64)
    place = torch.arange(min(step, len(words)), device=flat.device)
    odd = (place * -7046029254386353131 ^ place * 2862933555777941757 >> 29) | 1
    total = len(flat)
    for start in range(0, len(words), step):
        piece = words[start : start + step]
        total = (total * 6364136223846793005 + int((piece * odd[: len(piece)]).sum())) % 2**64
    return total


def tensors_digest(tensors: Mapping[str, Any]) -> str:
    """16 hex digits of every tensor's name, shape, dtype and value, in the order of names.

    xxHash: gigabytes of weights are told apart, not defended, and it is ten times as fast as SHA.
    """
    import torch
    import xxhash

    state = xxhash.xxh3_64()
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        state.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return state.hexdigest()
