"""Decoder: one batch of rows from prompts to samples, each prompt's beginning computed once."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import lru_cache

import torch

from workbench.errors import GenerationError
from workbench.generation.batching import Batch
from workbench.generation.kvcache import roomy_cache, shared_prefix, shares_prefix
from workbench.generation.requests import GenRequest, Sample, prompt_text
from workbench.generation.sampling import pick, uniforms
from workbench.generation.stop_strings import StopWatch, cut
from workbench.models.model import InFlight, Model
from workbench.models.prompts import Encoded

_DROP = 0.25
"""Finished rows leave the batch once they make up this share of it."""


class Decoder:
    """One batch from its prompts to its samples."""

    def __init__(
        self,
        model: Model,
        batch: Batch,
        requests: Sequence[GenRequest],
        encoded: Sequence[Encoded],
    ) -> None:
        self.model, self.batch, self.encoded = model, batch, encoded
        self.total = len(requests)
        self.requests = [requests[row.request] for row in batch.rows]
        self.device = model.input_device
        self.new = max(r.max_new_tokens for r in self.requests)
        self.tokens: list[list[int]] = [[] for _ in batch.rows]
        self.reason: list[str] = [""] * len(batch.rows)

    def run(self, slow: bool = False) -> list[Sample]:
        """Decode; `slow` computes the whole text anew for every token, without a cache."""
        for _ in self.steps(slow):
            pass
        return self.samples()

    @torch.inference_mode()
    def steps(self, slow: bool = False) -> Iterator[None]:
        """Decode one more token of every unfinished row each time it is asked."""
        requests, rows = self.requests, self.batch.rows
        draws = uniforms([(r.seed, prompt_text(r.prompt), row.index, self.new)
                          for r, row in zip(requests, rows, strict=True)])  # fmt: skip
        draws = draws.to(self.device)
        temperature = torch.tensor([r.temperature for r in requests], device=self.device)
        watch = StopWatch(self.model.tokenizer, requests[0].stop)
        ends = end_tokens(self.model)
        live = torch.arange(len(rows))
        with ExitStack() as context:
            context.callback(setattr, self.model, "in_flight", None)
            logits = self._whole(live) if slow else self._prefill(context)
            for step in range(self.new):
                self._finite(logits, live)
                here = live.to(self.device)
                chosen = pick(
                    logits,
                    temperature[here],
                    draws[here, step],
                    requests[0].top_k,
                    requests[0].top_p,
                )
                keep = self._took(chosen.cpu(), live, watch, ends)
                yield
                if not keep.any():
                    break
                # Rows that are done cost as much as the others until they are dropped.
                if slow or (~keep).float().mean() >= _DROP:
                    live, chosen = live[keep], chosen[keep.to(self.device)]
                    if not slow:
                        self._drop(keep)
                logits = self._whole(live) if slow else self._step(chosen, live)

    @torch.inference_mode()
    def next_logits(self, slow: bool = False) -> torch.Tensor:
        """float32 `[row, vocab]` after each prompt, one row a request; nothing is decoded."""
        live = torch.arange(len(self.batch.rows))
        # What is not continued needs a cache only to share a beginning.
        whole = slow or not any(self.batch.shared)
        with ExitStack() as context:
            context.callback(setattr, self.model, "in_flight", None)
            logits = self._whole(live) if whole else self._prompts(context)[0]
            self._finite(logits, live)
        return logits

    def _took(
        self, chosen: torch.Tensor, live: torch.Tensor, watch: StopWatch, ends: frozenset[int]
    ) -> torch.Tensor:
        """Note one token a row; bool `[live row]`, which go on."""
        running = [i for i, row in enumerate(live.tolist()) if not self.reason[row]]
        places = [int(live[i]) for i in running]
        for i, row in zip(running, places, strict=True):
            token = int(chosen[i])
            self.tokens[row].append(token)
            if token in ends:
                self.reason[row] = "eos"
        stopped = watch.check(chosen[running], [self.tokens[row] for row in places])
        for i in stopped:
            self.reason[places[i]] = "stop"
        for row in places:
            if len(self.tokens[row]) >= self.requests[row].max_new_tokens:
                self.reason[row] = self.reason[row] or "length"
        return torch.tensor([not self.reason[row] for row in live.tolist()])

    def _prompts(self, context: ExitStack) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Shared beginnings once each, then the rest of every prompt once.

        Layout of a row: pad, beginning, pad, rest; positions count real tokens. Returns logits
        float32 `[prompt, vocab]`, the mask int64 `[prompt, width]`, first response columns.
        """
        which = self.batch.requests
        beginnings: dict[tuple[int, ...], int] = {}
        group = []
        for i, shared in zip(which, self.batch.shared, strict=True):
            key = tuple(self.encoded[i].ids[:shared])
            group.append(beginnings.setdefault(key, len(beginnings)))
        rests = [self.encoded[i].ids[s:] for i, s in zip(which, self.batch.shared, strict=True)]
        head, head_mask = self._padded([list(k) for k in beginnings])
        tail, tail_mask = self._padded(rests)
        self.cache = roomy_cache(self.model.hf)
        mask = tail_mask
        if head.shape[1]:
            self.model.hf.base_model(
                head, attention_mask=head_mask, position_ids=_positions(head_mask),
                past_key_values=self.cache, use_cache=True,
            )  # fmt: skip
            chosen = torch.tensor(group, device=self.device)
            mask = torch.cat([head_mask[chosen], tail_mask], 1)
            if len(beginnings) == 1 and shares_prefix(self.model.hf):
                self.cache = context.enter_context(shared_prefix(self.model.hf, self.cache))
            else:
                self.cache.batch_select_indices(chosen)
        # Column of the first response token; only steering through hooks asks for it.
        ends = [mask.shape[1] - len(self.encoded[i].ids) + self.encoded[i].start for i in which]
        self.model.in_flight = InFlight(torch.tensor(which), self.total, torch.tensor(ends))
        return self._forward(tail, mask, _positions(mask)[:, -tail.shape[1] :]), mask, ends

    def _prefill(self, context: ExitStack) -> torch.Tensor:
        """All prompts, then one row a sample, with room for the decoded tokens."""
        logits, mask, ends = self._prompts(context)
        which = self.batch.requests
        place = {i: k for k, i in enumerate(which)}
        repeat = torch.tensor([place[row.request] for row in self.batch.rows])
        self.starts = torch.tensor(ends)[repeat]
        repeat = repeat.to(self.device)
        self.cache.batch_select_indices(repeat)
        room = torch.ones(len(repeat), self.new, dtype=mask.dtype, device=self.device)
        self.mask = torch.cat([mask[repeat], room], 1)
        self.width = mask.shape[1]
        self.position = mask.sum(1)[repeat]
        new = torch.tensor([r.max_new_tokens for r in self.requests], device=self.device)
        self.farthest = self.position + (new - 2).clamp(min=0)
        return logits[repeat]

    def _step(self, chosen: torch.Tensor, live: torch.Tensor) -> torch.Tensor:
        """Logits after one more token a row."""
        self.width += 1
        prompts = torch.tensor([self.batch.rows[i].request for i in live.tolist()])
        self.model.in_flight = InFlight(prompts, self.total, self.starts[live])
        logits = self._forward(chosen[:, None], self.mask[:, : self.width], self.position[:, None])
        # Rows that are done wait at their end: the context, or short frequencies, may end there.
        self.position = torch.minimum(self.position + 1, self.farthest)
        return logits

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor
    ) -> torch.Tensor:
        out = self.model.hf(
            ids, attention_mask=mask, position_ids=positions,
            past_key_values=self.cache, use_cache=True, **_only_last(type(self.model.hf)),
        )  # fmt: skip
        return out.logits[:, -1].float()

    def _drop(self, keep: torch.Tensor) -> None:
        kept = keep.nonzero().flatten().to(self.device)
        self.cache.batch_select_indices(kept)
        self.mask, self.position = self.mask[kept], self.position[kept]
        self.farthest = self.farthest[kept]

    def _whole(self, live: torch.Tensor) -> torch.Tensor:
        """Logits from full texts, no cache; a row at a time where lengths change frequencies."""
        texts, rows = [], [self.batch.rows[i].request for i in live.tolist()]
        for i, request in zip(live.tolist(), rows, strict=True):
            texts.append(self.encoded[request].ids + self.tokens[i])
        ids, mask = self._padded(texts)
        starts = [ids.shape[1] - len(t) + self.encoded[r].start
                  for t, r in zip(texts, rows, strict=True)]  # fmt: skip
        self.model.in_flight = InFlight(torch.tensor(rows), self.total, torch.tensor(starts))
        out = self.model.hf(
            ids, attention_mask=mask, position_ids=_positions(mask),
            use_cache=False, **_only_last(type(self.model.hf)),
        )  # fmt: skip
        return out.logits[:, -1].float()

    def _padded(self, rows: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded ids and their mask, int64 `[row, width]`."""
        width = max(map(len, rows))
        pad = self.model.tokenizer.pad_token_id
        ids = [[pad] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    def _finite(self, logits: torch.Tensor, live: torch.Tensor) -> None:
        good = torch.isfinite(logits.amax(1))
        if not good.all():
            row = int(live[int((~good).nonzero()[0])])
            text = prompt_text(self.requests[row].prompt)
            raise GenerationError(
                f"next-token logits are not finite in {self.model.hf.dtype}: request "
                f"{self.batch.rows[row].request} ({text[:60]!r}…), after {len(self.tokens[row])} "
                "new tokens. A steering alpha too large for the dtype is the usual cause."
            )

    def samples(self) -> list[Sample]:
        """What each row holds now; `finish_reason` is empty while it goes on."""
        ends = end_tokens(self.model)
        texts = self.model.tokenizer.batch_decode(
            [[t for t in ids if t not in ends] for ids in self.tokens], skip_special_tokens=True
        )
        out = []
        for i, (text, request) in enumerate(zip(texts, self.requests, strict=True)):
            before = cut(text, request.stop)
            prompt_tokens = len(self.encoded[self.batch.rows[i].request].ids)
            text = text if before is None else before
            out.append(Sample(text, self.reason[i], len(self.tokens[i]), prompt_tokens))
        return out


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def end_tokens(model: Model) -> frozenset[int]:
    """Tokens that end a completion: the generation config's, else the tokenizer's."""
    ends = model.hf.generation_config.eos_token_id
    ends = model.tokenizer.eos_token_id if ends is None else ends
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


@lru_cache(maxsize=32)
def _only_last(kind: type) -> dict[str, int]:
    kept = "logits_to_keep" in inspect.signature(kind.forward).parameters
    return {"logits_to_keep": 1} if kept else {}
