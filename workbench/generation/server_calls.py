"""Calls to a server: the fields that it takes, and the samples that one call brings."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio
import httpx2

from workbench.errors import GenerationError
from workbench.generation.requests import Drawn, GenRequest, Sample, prompt_text
from workbench.generation.server_errors import (
    as_error,
    is_filtered,
    message_of,
    pause,
    refused_fields,
    shortened,
)
from workbench.generation.server_limits import within
from workbench.generation.server_replies import REPHRASE, Reply, read
from workbench.generation.stop_strings import cut
from workbench.hashing import canonical, digest

log = logging.getLogger(__name__)

Unit = tuple[int, tuple[int, ...], bool]
"""(request, sample indices of one call, whether stops that begin with white space stay here)."""


class Calls:
    """The calls of one draw: their client, what the server has refused, what it did not answer."""

    def __init__(
        self,
        client: Any,
        url: str,
        model: str,
        requests: Sequence[GenRequest],
        *,
        concurrency: int,
        timeout: float,
    ) -> None:
        self.client, self.url, self.model, self.requests = client, url, model, requests
        self.timeout = timeout
        self.room = anyio.CapacityLimiter(concurrency)
        self.refused: set[str] = set()
        self.warned: set[str] = set()
        self.unanswered: dict[int, list[str]] = {}
        self.nested = self.stopped = False

    async def complete(self, unit: Unit) -> tuple[list[Drawn], list[Unit]]:
        """One call: the samples it brought, and what is left to ask for.

        Nothing of both where the draw has been stopped. Samples without an answer are neither: why
        is told in `unanswered`.
        """
        async with self.room:
            if self.stopped:
                return [], []
            place, indices, late = unit
            asked = indices[:1] if "n" in self.refused else indices
            reply = await self.reply(place, asked, late)
        self.warn(reply.doubts)
        told = reply.answers.keys() | reply.refusals.keys()
        absent = [k for i, k in enumerate(asked) if i not in told]
        if absent:
            # transformers serve ignores n without a word.
            self.drop({"n"}, f"{len(asked) - len(absent)} of {len(asked)} samples came")
        left: list[Unit] = [(place, (k,), late) for k in (*absent, *indices[len(asked) :])]
        for i, why in reply.refusals.items():
            message = f"request {place}: {self.url} gives no answer for sample {asked[i]}: {why}"
            self.unanswered.setdefault(place, []).append(message)
        drawn: list[Drawn] = []
        stops = self.requests[place].stop
        for i, answer in reply.answers.items():
            text, by = answer.text, answer.by
            # Stopped in the white space it began with (some servers keep the stop in the text)?
            early = any(s[0].isspace() and not text.removesuffix(s).strip() for s in stops)
            if early and answer.reason == "stop" and by is not None and not late:
                left.append((place, (asked[i],), True))
                continue
            before = cut(text, stops)
            ended = "stop" if isinstance(by, str) else "eos"
            ended = "length" if answer.reason == "length" else ended
            sample = (text, ended) if before is None else (before, "stop")
            tokens = answer.n_tokens, reply.prompt_tokens
            drawn.append((place, asked[i], Sample(*sample, *tokens)))
        return drawn, left

    async def reply(self, place: int, asked: tuple[int, ...], late: bool) -> Reply:
        """The reply to one call, refused fields dropped, in the time that a call has."""
        ask = partial(self._ask, place, asked, late)
        return await within(self.timeout, f"request {place}: {self.url}", ask)

    async def _ask(self, place: int, asked: tuple[int, ...], late: bool) -> Reply:
        from openai import APIError

        request = self.requests[place]
        text = isinstance(request.prompt, str)
        path = "/completions" if text else "/chat/completions"
        asking = {"model": self.model, "prompt" if text else "messages": request.prompt}
        while True:
            fields = self.fields(place, asked, late)
            try:
                # Straight to the path: the client's own methods copy the prompt field by field.
                body = asking | fields
                raw = (await self.client.post(path, cast_to=httpx2.Response, body=body)).content
                break
            except APIError as caught:
                error = caught
            # Outside the except: the client's error holds the key and must not hang on to ours.
            if is_filtered(error):
                why = f"{shortened(message_of(error))}; {REPHRASE}"
                return Reply(refusals=dict.fromkeys(range(len(asked)), why))
            # The server says when; only `timeout` ends it.
            if (seconds := pause(error)) and self.client.max_retries and not self.stopped:
                await anyio.sleep(seconds)
                continue
            if not (names := refused_fields(error, fields)):
                raise as_error(self.url, error, place)
            self.drop(names, message_of(error))
        try:
            return read(raw, request, self.model, len(asked))
        except ValueError as wrong:
            start = shortened(raw[:2000].decode("utf-8", "backslashreplace"))
            raise GenerationError(
                f"request {place}: {self.url} answered with something else than completions "
                f"({wrong}): {start}"
            ) from None

    def fields(self, place: int, asked: tuple[int, ...], late: bool) -> dict[str, Any]:
        """How to sample, less what was refused. Raises `GenerationError` for a lost `top_k`."""
        request = self.requests[place]
        greedy = request.temperature == 0
        top_k = 0 if greedy else request.top_k
        stops = [stop for stop in request.stop if not (late and stop[0].isspace())]
        # With the first index: samples asked for later do not repeat the earlier ones.
        seeded = digest(canonical([request.seed, prompt_text(request.prompt), asked[0]]), 64)
        nested = {
            "do_sample": not greedy, "top_k": top_k, "min_p": 0.0, "repetition_penalty": 1.0
        }  # fmt: skip
        fields: dict[str, Any] = {
            "temperature": request.temperature,
            "top_p": 1.0 if greedy else request.top_p,
            "max_tokens": request.max_new_tokens,
            "n": len(asked) if len(asked) > 1 else None,
            "seed": None if greedy else int(seeded[:8], 16) >> 1,
            "stop": stops[:4] or None,  # the OpenAI API takes no more; the rest are cut here
            # Unsaid, servers may take these from the model's generation config.
            "top_k": top_k or -1,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "generation_config": canonical(nested) if self.nested else None,
        }
        if "max_tokens" in self.refused:
            fields["max_completion_tokens"] = request.max_new_tokens
        # A server that refuses top_p=1 (text-generation-inference) takes a lower one.
        refused = self.refused - ({"top_p"} if fields["top_p"] < 1 else set())
        fields = {k: v for k, v in fields.items() if v is not None and k not in refused}
        if top_k and not fields.keys() & {"top_k", "generation_config"}:
            raise GenerationError(f"request {place}: {self.url} does not take top_k={top_k}")
        return fields

    def drop(self, names: set[str], reason: str) -> None:
        """Do without these fields from now on; a warning for each, once."""
        new = names - self.refused
        # transformers serve: it takes these, and samples at all, as its own config says.
        nest = (
            new <= {"top_k", "min_p", "repetition_penalty"} and "Unexpected fields in the" in reason
        )
        self.nested = self.nested or nest
        self.refused |= new
        then = "sending it in generation_config" if nest else "going on without it"
        for name in sorted(new):
            if name == "max_tokens":
                then = "sending it as max_completion_tokens"
            log.warning("%s refuses %s; %s: %s", self.url, name, then, shortened(reason))

    def warn(self, doubts: dict[str, str]) -> None:
        """A warning for each kind of doubt, once."""
        for kind, doubt in doubts.items():
            if kind not in self.warned:
                self.warned.add(kind)
                log.warning("%s %s", self.url, doubt)
