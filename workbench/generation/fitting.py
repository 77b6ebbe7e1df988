"""Fitting: which rows a local model computes together, so that memory holds them."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

import psutil
import torch

from workbench.generation.batch_forward import COPIED, SHARED
from workbench.generation.batching import Batch, Row, plan
from workbench.generation.decoding import Decoder
from workbench.generation.requests import GenRequest
from workbench.generation.trials import ways
from workbench.models.limits import GPU_TOKENS, out_of_memory, rope_limit
from workbench.models.model import Model
from workbench.models.prompts import Encoded

log = logging.getLogger(__name__)

CPU_ROWS, GPU_ROWS = 512, 1024
_CPU_PREFILL = 8192
_FREE_SHARE = 0.6
T = TypeVar("T")
Work = Callable[[Decoder], Iterator[list[tuple[Row, T]]]]
"""What is made of a batch: rows with their results, yielded as they are ready."""


class Fitting:
    """Batches of a model's requests, computed in halves where memory runs out.

    `rows`: the most in a batch. `budget_bytes`: keys and values held at once, None before the free
    memory was asked. `names`: what errors call the requests.
    """

    def __init__(
        self, model: Model, batch_size: int | None, budget: int | None, names: Sequence[str] = ()
    ) -> None:
        self.model, self.budget_bytes, self.names = model, budget, names
        on_gpu = model.input_device.type == "cuda"
        self.rows = batch_size or (GPU_ROWS if on_gpu else CPU_ROWS)
        self.prefill = GPU_TOKENS if on_gpu else _CPU_PREFILL

    def batches(
        self, requests: Sequence[GenRequest], encoded: Sequence[Encoded], members: list[int]
    ) -> Iterator[tuple[Batch, frozenset[str]]]:
        """Yield each batch of the `members` among the requests, and the ways to compute it."""
        limit = rope_limit(self.model)
        new = [r.max_new_tokens for r in requests]
        # Beyond the limit rotary frequencies depend on the length, and cached keys go stale.
        long = [i for i in members if limit and len(encoded[i].ids) + new[i] > limit]
        normal = sorted(set(members) - set(long))
        draws = [0] * len(requests)
        for i in normal:
            draws[i] = requests[i].draws
        planned = partial(
            plan, [tuple(e.ids) for e in encoded], draws, new,
            max_rows=self.rows, max_tokens=self._token_budget(), max_prefill=self.prefill,
        )  # fmt: skip
        batches = planned(reuse=not self.model.hooked)
        shown = self.ways(batches, requests, encoded)
        if any(any(b.shared) for b in batches) and not shown & {COPIED, SHARED}:
            batches = planned(reuse=False)
        for batch in batches:
            yield batch, shown
        for i in long:
            for index in range(requests[i].draws):
                yield Batch((Row(i, index),), (0,)), frozenset()

    def ways(
        self, batches: Sequence[Batch], requests: Sequence[GenRequest], encoded: Sequence[Encoded]
    ) -> frozenset[str]:
        """The ways of computing all these batches that hold for the model."""
        widths = [_width(batch, requests, encoded) for batch in batches]
        return ways(self.model, batches, widths, [e.ids for e in encoded])

    def computed(
        self,
        batch: Batch,
        requests: Sequence[GenRequest],
        encoded: Sequence[Encoded],
        shown: frozenset[str],
        work: Work[T],
    ) -> Iterator[list[tuple[Row, T]]]:
        """Yield rows with what `work` makes of them, in halves where memory runs out, or did.

        The model is this thread's until the iterator ends or is closed.
        """
        rows = batch.rows
        tokens = len(rows) * _width(batch, requests, encoded)
        if len(rows) == 1 or tokens <= self._token_budget():
            try:
                with (
                    self.model.lock,
                    closing(work(Decoder(self.model, batch, requests, encoded, shown))) as results,
                ):
                    for ready in results:
                        yield ready
                        done = {row for row, _ in ready}
                        rows = tuple(row for row in rows if row not in done)
                return
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if len(batch.rows) == 1:
                    i = rows[0].request
                    name = self.names[i] if self.names else f"request {i}"
                    raise MemoryError(
                        f"{name} does not fit in memory by itself; ask for fewer tokens, shorten "
                        "the prompt or use a smaller dtype"
                    ) from error
            log.warning("out of memory with %d rows; going on with half", len(batch.rows))
            self.budget_bytes = tokens // 2 * self._per_token()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :]):
            if half:
                yield from self.computed(batch.only(half), requests, encoded, shown, work)

    def _per_token(self) -> int:
        """Bytes of one cached token: 2 * layers * kv_heads * d_head * bytes each."""
        m = self.model
        return 2 * m.n_layers * m.n_kv_heads * m.d_head * m.hf.dtype.itemsize

    def _token_budget(self) -> int:
        """Cached tokens that fit."""
        if self.budget_bytes is None:
            device = self.model.input_device
            free = (
                torch.cuda.mem_get_info(device)[0]
                if device.type == "cuda"
                else psutil.virtual_memory().available
            )
            self.budget_bytes = int(_FREE_SHARE * free)
        return max(1, self.budget_bytes // self._per_token())


def _width(batch: Batch, requests: Sequence[GenRequest], encoded: Sequence[Encoded]) -> int:
    """Tokens of a row when all are decoded, pads included."""
    rests = [len(encoded[i].ids) - s for i, s in zip(batch.requests, batch.shared, strict=True)]
    return max(batch.shared) + max(rests) + max(requests[i].max_new_tokens for i in batch.requests)
