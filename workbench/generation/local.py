"""LocalBackend: what a local model completes or scores, in batches that fit its memory."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import psutil
import torch

from workbench.arguments import whole
from workbench.errors import ContextLengthError
from workbench.generation.batch_forward import CACHED, COPIED, SHARED
from workbench.generation.batching import Batch, Row, plan
from workbench.generation.decoding import Decoder, end_tokens, warn_of_ends
from workbench.generation.readings import readings
from workbench.generation.requests import Drawn, GenRequest, prompt_key
from workbench.generation.trials import ways
from workbench.hashing import canonical, digest
from workbench.models.forward_state import libraries
from workbench.models.limits import GPU_TOKENS, out_of_memory, rope_limit
from workbench.models.model import Model
from workbench.models.prompts import Encoded, Prompt, encode_all
from workbench.models.tokenizer_state import depends_on_the_moment, tokenizer_digest

log = logging.getLogger(__name__)

CPU_ROWS, GPU_ROWS = 512, 1024
_CPU_PREFILL = 8192
_FREE_SHARE = 0.6
T = TypeVar("T")


class LocalBackend:
    """Completions by a local model, steered as it is while `draw` runs.

    Draws do not depend on batch size, order or neighbours, except through the last bits of a
    forward pass: every sample has random numbers of its own (`sampling.uniforms`).

    `batch_size` caps rows per batch (default 512 on a CPU, 1024 on a GPU); `budget_bytes` the keys
    and values held at once (default 60 % of free memory, halved whenever memory runs out).

    Raises `ValueError` for either below 1.

    >>> backend = wb.LocalBackend(model, batch_size=32)
    >>> wb.complete(backend, [wb.GenRequest("Once upon a time")])
    """

    def __init__(
        self, model: Model, *, batch_size: int | None = None, budget_bytes: int | None = None
    ) -> None:
        for name, value in (("batch_size", batch_size), ("budget_bytes", budget_bytes)):
            if value is not None:
                whole(name, value, 1)
        warn_of_ends(model)
        self.model = model
        on_gpu = model.input_device.type == "cuda"
        self.rows = batch_size or (GPU_ROWS if on_gpu else CPU_ROWS)
        self.prefill = GPU_TOKENS if on_gpu else _CPU_PREFILL
        self.budget_bytes = budget_bytes
        self._encoded: dict[str, Encoded] = {}
        self._rendered: dict[str, Encoded] = {}

    @property
    def name(self) -> str:
        """The model's name: a hub id, a folder, or as it was called when wrapped."""
        return self.model.name

    @property
    def device(self) -> str:
        """Where token ids go: `"cpu"`, `"cuda:0"`."""
        return str(self.model.input_device)

    @property
    def by_place(self) -> bool:
        """Whether a request's place in the list matters: steering with one alpha per prompt."""
        return self.model.per_prompt

    def identity(self) -> dict[str, str]:
        """The forward and steering (fingerprint), dtype, tokenizer, template, ends, versions.

        Raises `ModelError` as `Model.fingerprint`.
        """
        tokenizer = self.model.tokenizer
        return {
            "backend": "transformers",
            "weights": self.model.fingerprint(),
            "dtype": str(self.model.hf.dtype),
            "tokenizer": tokenizer_digest(tokenizer),
            "ends": canonical(sorted(end_tokens(self.model))),
            "template": digest(str(tokenizer.chat_template)),
            "libraries": canonical(libraries()),
        }

    def rendered(self, requests: Sequence[GenRequest]) -> list[str | None]:
        """`readings` of the requests, with the ids of chats that may be rendered otherwise later.

        The next `check` and `draw` take these ids, also if the clock goes on.
        """
        tokenizer = self.model.tokenizer
        chats = [r.prompt for r in requests if not isinstance(r.prompt, str)]
        self._rendered = self._ids(chats) if depends_on_the_moment(tokenizer) else {}
        ids = {key: e.ids for key, e in self._rendered.items()}
        return readings(tokenizer, requests, ids)

    def check(self, requests: Sequence[GenRequest]) -> None:
        """Raise `ContextLengthError` for a prompt that leaves no room for what is asked.

        And `DatasetError` or `ModelError` as `prompts.encode_all` does.
        """
        limit = self.model.context_length
        # Tokenizer and template may have changed since these were last encoded.
        self._encoded, self._rendered = self._rendered, {}
        encoded = self._encode(requests)
        for i, (prompt, request) in enumerate(zip(encoded, requests, strict=True)):
            length = len(prompt.ids)
            if limit and length + request.max_new_tokens > limit:
                raise ContextLengthError(
                    f"request {i}: {length} prompt tokens and {request.max_new_tokens} new ones "
                    f"exceed the {limit} of {self.model.name}'s context; shorten the prompt (fewer "
                    "exemplars) or ask for fewer tokens",
                    length, limit, i,
                )  # fmt: skip

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        """Yield the missing samples batch by batch.

        Batches are planned over *all* samples of all requests and those not missing are left out:
        a run that goes on after a kill then has the batches it would have had.

        Raises `GenerationError` for logits that are not finite, naming the request, and
        `MemoryError` for a row that does not fit by itself.
        """
        encoded = self._encode(requests)
        wanted = {Row(i, index) for i, indices in enumerate(missing) for index in indices}
        by_cut: dict[tuple[Any, ...], list[int]] = {}
        for i, r in enumerate(requests):
            by_cut.setdefault((r.stop, r.top_k, r.top_p), []).append(i)
        for members in by_cut.values():
            for batch, shown in self._batches(requests, encoded, members):
                rows = [row for row in batch.rows if row in wanted]
                if rows:
                    chosen = batch.only(rows)
                    for drawn in self._fitted(chosen, requests, encoded, shown, Decoder.run):
                        yield [(row.request, row.index, sample) for row, sample in drawn]

    def stream(self, requests: Sequence[GenRequest]) -> Iterator[Decoder]:
        """Decode a few requests side by side as one batch, a token at a time.

        Yields the decoder after every token: `tokens` and `samples()` are what there is of each.
        The model is this thread's until the iterator ends or is closed.

        Raises as `check` and `draw`, and `ValueError` for other `stop`, `top_k` or `top_p` in one.
        """
        if len({(r.stop, r.top_k, r.top_p) for r in requests}) > 1:
            raise ValueError("requests of one stream have one stop, top_k and top_p")
        self.check(requests)
        encoded, limit = self._encode(requests), rope_limit(self.model)
        rows = tuple(Row(i, 0) for i in range(len(requests)))
        long = limit and any(
            len(e.ids) + r.max_new_tokens > limit for e, r in zip(encoded, requests, strict=True)
        )
        batch = Batch(rows, (0,) * len(rows))
        shown = self._ways([batch], requests, encoded)
        if long:
            shown -= {CACHED}
        with self.model.lock:
            decoder = Decoder(self.model, batch, requests, encoded, shown)
            for _ in decoder.steps():
                yield decoder

    def score(
        self, prompts: Sequence[Prompt], encoded: Sequence[Encoded], ids: torch.Tensor
    ) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Yield (prompts' places, log-probabilities float32 `[place, id]`) batch by batch.

        `ids`: int64 `[prompt, id]`, next tokens to score after each prompt; the log-probabilities
        are over the whole vocabulary. Every prompt is computed once and nothing is decoded.

        Raises as `draw`.
        """
        requests = [GenRequest(p, max_new_tokens=1) for p in prompts]

        def gathered(decoder: Decoder) -> torch.Tensor:
            logits = decoder.next_logits()
            scored_ids = ids[[row.request for row in decoder.batch.rows]].to(logits.device)
            return (logits.gather(1, scored_ids) - logits.logsumexp(1, keepdim=True)).cpu()

        for batch, shown in self._batches(requests, encoded, list(range(len(requests)))):
            for scored in self._fitted(batch, requests, encoded, shown, gathered):
                yield [row.request for row, _ in scored], torch.stack([x for _, x in scored])

    def _encode(self, requests: Sequence[GenRequest]) -> list[Encoded]:
        """Token ids, remembered from `check` for `draw`."""
        keys = [prompt_key(r.prompt) for r in requests]
        encoded = self._encoded
        new = [r.prompt for key, r in zip(keys, requests, strict=True) if key not in encoded]
        if new:
            encoded = self._encoded = encoded | self._ids(new)
        return [encoded[key] for key in keys]

    def _ids(self, prompts: Sequence[Prompt]) -> dict[str, Encoded]:
        return dict(zip(map(prompt_key, prompts), encode_all(self.model, prompts), strict=True))

    def _batches(
        self, requests: Sequence[GenRequest], encoded: Sequence[Encoded], members: list[int]
    ) -> Iterator[tuple[Batch, frozenset[str]]]:
        """(batch, the ways of computing it that hold)."""
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
        shown = self._ways(batches, requests, encoded)
        if any(any(b.shared) for b in batches) and not shown & {COPIED, SHARED}:
            batches = planned(reuse=False)
        for batch in batches:
            yield batch, shown
        for i in long:
            for index in range(requests[i].draws):
                yield Batch((Row(i, index),), (0,)), frozenset()

    def _ways(
        self, batches: Sequence[Batch], requests: Sequence[GenRequest], encoded: Sequence[Encoded]
    ) -> frozenset[str]:
        """The ways of computing all these batches that hold for the model."""
        widths = [_width(batch, requests, encoded) for batch in batches]
        return ways(self.model, batches, widths, [e.ids for e in encoded])

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

    def _fitted(
        self,
        batch: Batch,
        requests: Sequence[GenRequest],
        encoded: Sequence[Encoded],
        shown: frozenset[str],
        work: Callable[[Decoder], Sequence[T] | torch.Tensor],
    ) -> Iterator[list[tuple[Row, T]]]:
        """Each row with what `work` makes of it.

        In halves where memory runs out, or did for as many tokens.
        """
        count = len(batch.rows)
        tokens = count * _width(batch, requests, encoded)
        if count == 1 or tokens <= self._token_budget():
            try:
                with self.model.lock:
                    results = work(Decoder(self.model, batch, requests, encoded, shown))
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if count == 1:
                    raise MemoryError(
                        f"request {batch.rows[0].request} does not fit in memory by itself; ask "
                        "for fewer tokens, shorten the prompt or use a smaller dtype"
                    ) from error
            else:
                yield list(zip(batch.rows, results, strict=True))
                return
            log.warning("out of memory with %d rows; going on with half", count)
            self.budget_bytes = tokens // 2 * self._per_token()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        for rows in (batch.rows[: count // 2], batch.rows[count // 2 :]):
            yield from self._fitted(batch.only(rows), requests, encoded, shown, work)


def _width(batch: Batch, requests: Sequence[GenRequest], encoded: Sequence[Encoded]) -> int:
    """Tokens of a row when all are decoded, pads included."""
    rests = [len(encoded[i].ids) - s for i, s in zip(batch.requests, batch.shared, strict=True)]
    return max(batch.shared) + max(rests) + max(requests[i].max_new_tokens for i in batch.requests)
