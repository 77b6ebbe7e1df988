"""LocalBackend: what a local model completes, in batches that fit its memory."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from workbench.arguments import whole
from workbench.errors import ContextLengthError
from workbench.generation.batch_forward import CACHED
from workbench.generation.batching import Batch, Row
from workbench.generation.decoding import Decoder, end_tokens, warn_of_ends
from workbench.generation.fitting import Fitting
from workbench.generation.readings import readings
from workbench.generation.requests import Drawn, GenRequest, prompt_key
from workbench.generation.rules import Rule, as_rule, rule_identity, trigger_table
from workbench.hashing import canonical, digest
from workbench.models.forward_state import libraries
from workbench.models.limits import rope_limit
from workbench.models.model import Model
from workbench.models.prompts import Encoded, Prompt, encode_all
from workbench.models.tokenizer_state import depends_on_the_moment, tokenizer_digest


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
        self.rule: Rule | None = None
        self._fitting = Fitting(model, batch_size, budget_bytes)
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
            **rule_identity(self.rule),
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

        And `DatasetError` or `ModelError` as `prompts.encode_all` does, `ValueError` for a rule's
        triggers that are no tokens.
        """
        limit = self.model.context_length
        if self.rule is not None:
            trigger_table(self.rule, self.model)
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
        """Yield the missing samples as they end, those of one step together.

        Batches are planned over *all* samples of all requests and those not missing are left out:
        a run that goes on after a kill has the batches it would have had, less what had ended. The
        model is this thread's until the iterator ends or is closed.

        Raises `GenerationError` for logits that are not finite, naming the request, and
        `MemoryError` for a row that does not fit by itself.
        """
        encoded = self._encode(requests)
        wanted = {Row(i, index) for i, indices in enumerate(missing) for index in indices}
        decoded = partial(Decoder.run, rule=self.rule)
        by_cut: dict[tuple[Any, ...], list[int]] = {}
        for i, r in enumerate(requests):
            by_cut.setdefault((r.stop, r.top_k, r.top_p), []).append(i)
        for members in by_cut.values():
            for batch, shown in self._fitting.batches(requests, encoded, members):
                rows = [row for row in batch.rows if row in wanted]
                if not rows:
                    continue
                chosen = batch.only(rows)
                for drawn in self._fitting.computed(chosen, requests, encoded, shown, decoded):
                    yield [(row.request, row.index, sample) for row, sample in drawn]

    def stream(
        self, requests: Sequence[GenRequest], *, rule: Rule | None = None
    ) -> Iterator[Decoder]:
        """Decode a few requests side by side as one batch, a token at a time, by a rule if given.

        Yields the decoder after every token: `tokens` and `samples()` are what there is of each.
        The model is this thread's until the iterator ends or is closed.

        Raises as `check` and `draw`, and `ValueError` for other `stop`, `top_k` or `top_p` in one.
        """
        rule = self.rule if rule is None else as_rule(rule)
        if len({(r.stop, r.top_k, r.top_p) for r in requests}) > 1:
            raise ValueError("requests of one stream have one stop, top_k and top_p")
        self.check(requests)
        encoded, limit = self._encode(requests), rope_limit(self.model)
        rows = tuple(Row(i, 0) for i in range(len(requests)))
        long = limit and any(
            len(e.ids) + r.max_new_tokens > limit for e, r in zip(encoded, requests, strict=True)
        )
        batch = Batch(rows, (0,) * len(rows))
        shown = self._fitting.ways([batch], requests, encoded)
        if long:
            shown -= {CACHED}
        with self.model.lock:
            decoder = Decoder(self.model, batch, requests, encoded, shown)
            for _ in decoder.steps(rule):
                yield decoder

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
