"""Decoder: one batch of rows from prompts to samples."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch

from workbench.errors import GenerationError
from workbench.generation.batch_forward import CACHED, BatchForward
from workbench.generation.batching import Batch, Row
from workbench.generation.requests import GenRequest, Sample, prompt_text
from workbench.generation.rules import Rule, RuleWatch
from workbench.generation.sampling import pick, uniforms
from workbench.generation.stop_strings import StopWatch, cut
from workbench.models.model import Model
from workbench.models.prompts import Encoded

log = logging.getLogger(__name__)

_DROP = 0.25
"""Finished rows leave the batch once they make up this share of it."""


class Decoder:
    """Tokens of one batch of rows, and why each row ended (`""` while it goes on)."""

    def __init__(
        self,
        model: Model,
        batch: Batch,
        requests: Sequence[GenRequest],
        encoded: Sequence[Encoded],
        ways: frozenset[str],
    ) -> None:
        self.model, self.batch, self.encoded = model, batch, encoded
        self.requests = [requests[row.request] for row in batch.rows]
        self.forward = BatchForward(model, batch, encoded, len(requests), ways)
        self.ends = end_tokens(model)
        self.tokens: list[list[int]] = [[] for _ in batch.rows]
        self.reason: list[str] = [""] * len(batch.rows)

    def run(self, rule: Rule | None = None) -> Iterator[list[tuple[Row, Sample]]]:
        """Decode until every row has ended, yielding the rows that have after each token."""
        going = range(len(self.requests))
        for _ in self.steps(rule):
            if ended := [i for i in going if self.reason[i]]:
                going = [i for i in going if not self.reason[i]]
                rows = [self.batch.rows[i] for i in ended]
                yield list(zip(rows, self.samples(ended), strict=True))

    @torch.inference_mode()
    def steps(self, rule: Rule | None = None) -> Iterator[None]:
        """Decode one more token of every unfinished row each time it is asked.

        Without `CACHED` the whole text is computed anew for every token.
        """
        requests, device = self.requests, self.model.input_device
        new = [r.max_new_tokens for r in requests]
        draws = uniforms([(r.seed, prompt_text(r.prompt), row.index, max(new))
                          for r, row in zip(requests, self.batch.rows, strict=True)])  # fmt: skip
        draws = draws.to(device)
        temperature = torch.tensor([r.temperature for r in requests], device=device)
        watch = StopWatch(self.model.tokenizer, requests[0].stop)
        live = torch.arange(len(requests))
        prompts = [self.encoded[row.request].ids for row in self.batch.rows]
        last, going = torch.tensor([ids[-1] for ids in prompts]), torch.ones(len(live)).bool()
        so_far = list(zip(prompts, self.tokens, strict=True))
        ruled = RuleWatch(rule, self.model, so_far, self._where) if rule is not None else None
        with ExitStack() as context:
            context.callback(setattr, self.model, "in_flight", None)
            if CACHED not in self.forward.ways:
                logits, cached = self.forward.whole_texts(live.tolist(), self.tokens), None
            else:
                logits, cached = self.forward.samples(context, new)
            for step in range(max(new)):
                self._check_finite(logits, live)
                forced: dict[int, int] = {}
                if ruled is not None:
                    logits, forced = ruled.act(step, logits, live, last, going)
                here = live.to(device)
                chosen = pick(
                    logits,
                    temperature[here],
                    draws[here, step],
                    requests[0].top_k,
                    requests[0].top_p,
                )
                if forced:
                    chosen[list(forced)] = torch.tensor(list(forced.values()), device=device)
                last = chosen.cpu()
                going = self._note(last, live, watch)
                yield
                if not going.any():
                    break
                # Rows that are done cost as much as the others until they are dropped.
                if cached is None or (~going).float().mean() >= _DROP:
                    live, last, chosen = live[going], last[going], chosen[going.to(device)]
                    if cached is not None:
                        cached.keep(going)
                    going = going[going]
                if cached is None:
                    logits = self.forward.whole_texts(live.tolist(), self.tokens)
                else:
                    logits = self.forward.step(cached, chosen)

    def samples(self, rows: Sequence[int] | None = None) -> list[Sample]:
        """What `rows`, or all, hold now; `finish_reason` is empty while one goes on."""
        rows = range(len(self.requests)) if rows is None else rows
        texts = self.model.tokenizer.batch_decode(
            [[t for t in self.tokens[i] if t not in self.ends] for i in rows],
            skip_special_tokens=True,
        )
        samples = []
        for i, text in zip(rows, texts, strict=True):
            before, reason = cut(text, self.requests[i].stop), self.reason[i]
            prompt_tokens = len(self.encoded[self.batch.rows[i].request].ids)
            if before is not None:
                text, reason = before, reason and "stop"
            samples.append(Sample(text, reason, len(self.tokens[i]), prompt_tokens))
        return samples

    def _note(self, chosen: torch.Tensor, live: torch.Tensor, watch: StopWatch) -> torch.Tensor:
        """Take one token a row; bool `[live row]`, which go on."""
        running = [i for i, row in enumerate(live.tolist()) if not self.reason[row]]
        rows = [int(live[i]) for i in running]
        for i, row in zip(running, rows, strict=True):
            token = int(chosen[i])
            self.tokens[row].append(token)
            if token in self.ends:
                self.reason[row] = "eos"
            elif token in watch.tokens:
                self.reason[row] = "stop"
        for i in watch.check(chosen[running], [self.tokens[row] for row in rows]):
            self.reason[rows[i]] = "stop"
        for row in rows:
            if len(self.tokens[row]) >= self.requests[row].max_new_tokens:
                self.reason[row] = self.reason[row] or "length"
        return torch.tensor([not self.reason[row] for row in live.tolist()])

    def _check_finite(self, logits: torch.Tensor, live: torch.Tensor) -> None:
        finite = torch.isfinite(logits.amax(1))
        if not finite.all():
            row = int(live[int((~finite).nonzero()[0])])
            raise GenerationError(
                f"next-token logits are not finite in {self.model.hf.dtype}: {self._where(row)}. "
                "A steering alpha too large for the dtype is the usual cause."
            )

    def _where(self, row: int) -> str:
        text, count = prompt_text(self.requests[row].prompt), len(self.tokens[row])
        return f"request {self.batch.rows[row].request} ({text[:60]!r}…), after {count} new tokens"


def warn_of_ends(model: Model) -> None:
    """Log where the tokenizer's end token does not end a completion: another turn may follow it."""
    end, ends = model.tokenizer.eos_token_id, end_tokens(model)
    if end is not None and end not in ends:
        log.warning(
            "%s: completions end with the tokens %s of its generation config, not with the "
            "tokenizer's %s", model.name, sorted(ends), model.tokenizer.eos_token,
        )  # fmt: skip


def end_tokens(model: Model) -> frozenset[int]:
    """Tokens that end a completion: the generation config's, else the tokenizer's."""
    ends = model.hf.generation_config.eos_token_id
    ends = model.tokenizer.eos_token_id if ends is None else ends
    if ends is None:
        return frozenset()
    return frozenset(torch.as_tensor(ends).flatten().tolist())
