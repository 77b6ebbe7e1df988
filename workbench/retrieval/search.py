"""The nearest vectors to a query: exact, over as many as a file holds, one chunk at a time."""

from collections.abc import Iterator

import numpy as np
import torch

from workbench import arguments

CHUNK = 2**16
"""Vectors compared at once: 100 MB of scores for some 400 queries."""
Vectors = torch.Tensor | np.ndarray
"""`[facts, width]`; an array may be a memory map."""


def top_k(
    queries: torch.Tensor, vectors: Vectors, k: int, *, chunk: int = CHUNK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inner products of the `k` nearest vectors and their places, both `[queries, k]`.

    The largest first; of equal ones the first in place. `queries`: float `[queries, width]`, on
    whose device and in whose dtype products are taken. Raises `ValueError` for other shapes, and
    for `k` outside 1 to the number of vectors.

    >>> scores, places = top_k(encoder.encode(["Who mends gates?"]), index.vectors, 5)
    """
    if queries.ndim != 2 or len(vectors.shape) != 2 or queries.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} and vectors {tuple(vectors.shape)} must be "
            "[number, width] of one width"
        )
    arguments.whole("k", k, 1, len(vectors))
    arguments.whole("chunk", chunk, 1)
    best = queries.new_empty(len(queries), 0)
    places = torch.empty(len(queries), 0, dtype=torch.long, device=queries.device)
    for start, part in _parts(queries, vectors, chunk):
        scores, at = first_of_equals(queries @ part.T, min(k, len(part)))
        # What came before stands in front, so that of equals the first in place stays.
        merged, picked = first_of_equals(torch.cat([best, scores], 1), min(k, start + len(part)))
        places = torch.cat([places, at + start], 1).gather(1, picked)
        best = merged
    return best, places


def first_of_equals(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `k` largest of each row and where they are; of equal ones the first."""
    values, at = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    # topk takes any of those that equal the last one; they are told apart only where there are.
    tied = (values[:, k - 1 : k] == values[:, k:]).any(1).nonzero()[:, 0]
    values, at = values[:, :k], at[:, :k]
    for row in tied.tolist():
        last = values[row, -1]
        above = (scores[row] > last).nonzero()[:, 0]
        equal = (scores[row] == last).nonzero()[: k - len(above), 0]
        at[row] = torch.cat([above, equal])
        values[row] = scores[row, at[row]]
    at, order = at.sort(dim=1)
    values = values.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    return values, at.gather(1, order)


def _parts(
    queries: torch.Tensor, vectors: Vectors, chunk: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield chunks as the queries are; those of an array one after another in the same memory."""
    room = torch.empty(0)
    if isinstance(vectors, np.ndarray):
        on_cpu = queries.device.type == "cpu"
        dtype = queries.dtype if on_cpu else torch.from_numpy(vectors[:0].copy()).dtype
        room = torch.empty(min(chunk, len(vectors)), vectors.shape[1], dtype=dtype)
    for start in range(0, len(vectors), chunk):
        part = vectors[start : start + chunk]
        if isinstance(part, np.ndarray):
            np.copyto(room[: len(part)].numpy(), part)
            part = room[: len(part)]
        yield start, part.to(queries.device, queries.dtype)
