"""Forward passes of one batch: whole texts, or all prompts once and then a token at a time."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import Cache

from workbench.generation.batching import Batch, Row
from workbench.generation.kvcache import make_room, roomy_cache, select_rows, shared_prefix
from workbench.models.model import InFlight, Model
from workbench.models.prompts import Encoded, padded

WHOLE, CACHED, COPIED, SHARED = "whole", "cached", "copied", "shared"
"""Ways to compute rows side by side: whole padded texts; prompts once and then a token at a time;
with beginnings computed once and copied to every row; with one beginning that all rows attend to.
"""


@dataclass
class CachedRows:
    """The rows that still go on, with their keys and values; all tensors are int64.

    `requests` `[row]`: whose rows they are. `starts` `[row]`: the column of the first response
    token. `mask` `[row, column]` has columns for all tokens to come; `width` of them are in use.
    `position`, `farthest` `[row]`: where a row's next token goes, and where its last one.
    """

    cache: Cache
    requests: torch.Tensor
    starts: torch.Tensor
    mask: torch.Tensor
    width: int
    position: torch.Tensor
    farthest: torch.Tensor

    def keep(self, going: torch.Tensor) -> None:
        """Drop all rows but those `going`, bool `[row]`."""
        self.requests, self.starts = self.requests[going], self.starts[going]
        rows = going.nonzero().flatten().to(self.mask.device)
        select_rows(self.cache, rows)
        self.mask, self.position = self.mask[rows], self.position[rows]
        self.farthest = self.farthest[rows]


class BatchForward:
    """Next-token logits of the rows of one batch, float32 `[row, vocab]`.

    `total`: how many prompts the caller has in all. `ways`: those that hold for this model; without
    `WHOLE` each text is computed alone, without `SHARED` beginnings are copied. The model's
    `in_flight` is set for each pass and left to whoever asked for it to be cleared.
    """

    def __init__(
        self,
        model: Model,
        batch: Batch,
        encoded: Sequence[Encoded],
        total: int,
        ways: frozenset[str],
    ) -> None:
        self.model, self.batch, self.encoded, self.total = model, batch, encoded, total
        self.ways = ways
        self.device = model.input_device

    def whole_texts(self, rows: Sequence[int], tokens: Sequence[list[int]]) -> torch.Tensor:
        """Logits of these `rows` from prompts and the rows' `tokens` so far, without a cache."""
        if WHOLE not in self.ways and len(rows) > 1:
            return torch.cat([self.whole_texts([row], tokens) for row in rows])
        requests = [self.batch.rows[row].request for row in rows]
        prompts = [self.encoded[i] for i in requests]
        texts = [p.ids + tokens[row] for p, row in zip(prompts, rows, strict=True)]
        ids, mask = self._padded(texts)
        starts = [ids.shape[1] - len(text) + prompt.start
                  for text, prompt in zip(texts, prompts, strict=True)]  # fmt: skip
        self.model.in_flight = InFlight(torch.tensor(requests), self.total, torch.tensor(starts))
        return self._logits(ids, mask, _positions(mask))

    def next_tokens(self, context: ExitStack) -> Iterator[tuple[list[Row], torch.Tensor]]:
        """Yield rows with their logits after the prompts, one row a request; none goes on.

        All at once, or each alone where pads are not held.
        """
        rows, nothing = list(self.batch.rows), [[] for _ in self.batch.rows]
        # What is not continued needs a cache only to share a beginning.
        if CACHED in self.ways and any(self.batch.shared):
            yield rows, self.prompts(context)[0]
        elif WHOLE in self.ways:
            yield rows, self.whole_texts(range(len(rows)), nothing)
        else:
            for i, row in enumerate(rows):
                yield [row], self.whole_texts([i], nothing)

    def prompts(self, context: ExitStack) -> tuple[torch.Tensor, CachedRows]:
        """Logits and cached rows of all prompts: shared beginnings once each, then every rest.

        Layout of a row: pad, beginning, pad, rest; positions count real tokens. The cache may be
        used until `context` ends.
        """
        requests = self.batch.requests
        ids = [encoded.ids for encoded in self.encoded]
        beginnings = self.batch.beginnings(ids)
        cuts = list(zip(requests, self.batch.shared, strict=True))
        beginning_of_prompt = [beginnings[tuple(ids[i][:shared])] for i, shared in cuts]
        rests = [ids[i][shared:] for i, shared in cuts]
        head, head_mask = self._padded(list(beginnings))
        tail, mask = self._padded(rests)
        cache: Cache = roomy_cache(self.model.hf)
        make_room(cache, 0)
        if head.shape[1]:
            self.model.hf.base_model(
                head, attention_mask=head_mask, position_ids=_positions(head_mask),
                past_key_values=cache, use_cache=True,
            )  # fmt: skip
            chosen = torch.tensor(beginning_of_prompt, device=self.device)
            mask = torch.cat([head_mask[chosen], mask], 1)
            if len(beginnings) == 1 and SHARED in self.ways:
                cache = context.enter_context(shared_prefix(self.model.hf, cache))
                make_room(cache, 0)
            else:
                select_rows(cache, chosen)
        width, position = mask.shape[1], mask.sum(1)
        # Only steering through hooks asks for it.
        starts = [width - len(self.encoded[i].ids) + self.encoded[i].start for i in requests]
        rows = CachedRows(
            cache, torch.tensor(requests), torch.tensor(starts), mask, width, position, position
        )
        self.model.in_flight = InFlight(rows.requests, self.total, rows.starts)
        return self._logits(tail, mask, _positions(mask)[:, -tail.shape[1] :], cache), rows

    def samples(self, context: ExitStack, new: Sequence[int]) -> tuple[torch.Tensor, CachedRows]:
        """As `prompts`, but a row per sample, with room for `new` tokens of each."""
        logits, rows = self.prompts(context)
        place = {request: k for k, request in enumerate(self.batch.requests)}
        prompt = torch.tensor([place[row.request] for row in self.batch.rows])
        rows.requests, rows.starts = rows.requests[prompt], rows.starts[prompt]
        prompt = prompt.to(self.device)
        select_rows(rows.cache, prompt)
        make_room(rows.cache, max(new))
        room = rows.mask.new_ones(len(prompt), max(new))
        rows.mask = torch.cat([rows.mask[prompt], room], 1)
        rows.position = rows.position[prompt]
        rows.farthest = rows.position + (torch.tensor(new, device=self.device) - 2).clamp(min=0)
        return logits[prompt], rows

    def step(self, rows: CachedRows, chosen: torch.Tensor) -> torch.Tensor:
        """Logits after one more token of each row, `chosen` int64 `[row]`."""
        rows.width += 1
        self.model.in_flight = InFlight(rows.requests, self.total, rows.starts)
        mask, positions = rows.mask[:, : rows.width], rows.position[:, None]
        logits = self._logits(chosen[:, None], mask, positions, rows.cache)
        # Rows that are done wait at their end: the context, or short frequencies, may end there.
        rows.position = torch.minimum(rows.position + 1, rows.farthest)
        return logits

    def _logits(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        hf = self.model.hf
        out = hf(
            ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
            use_cache=cache is not None, **only_last(type(hf)),
        )  # fmt: skip
        return out.logits[:, -1].float()

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded ids and their mask, int64 `[row, width]`, on the model's device."""
        ids, mask = padded(rows, self.model.pad_id, "left")
        return ids.to(self.device), mask.to(self.device)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


@lru_cache(maxsize=32)
def only_last(kind: type, count: int = 1) -> dict[str, int]:
    """How this kind of model is asked for the logits of the last `count` tokens alone."""
    able = "logits_to_keep" in inspect.signature(kind.forward).parameters
    return {"logits_to_keep": count} if able else {}
