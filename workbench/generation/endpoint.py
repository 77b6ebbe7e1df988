"""Completions from a server that speaks the OpenAI protocol: vLLM, transformers serve, a host."""

import json
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import GenerationError
from workbench.generation.requests import Drawn, GenRequest, Sample, prompt_text
from workbench.generation.server_errors import KEY, as_error, message_of, refused_fields, shortened
from workbench.generation.stop_strings import cut
from workbench.hashing import canonical, digest

log = logging.getLogger(__name__)


Unit = tuple[int, tuple[int, ...], bool]
"""(request, sample indices of one call, whether stops that begin with white space stay here)."""
Choices = tuple[list[tuple[str, str, Any, int]], int]
"""[(text, finish reason, stop reason or False, tokens)], tokens of the prompt."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible server; a `Backend`.

    `url` ends in /v1. `model` is its name there (empty: the only one listed), and stands for the
    weights in a sample's identity. The API key comes from the environment (OPENAI_API_KEY) and is
    kept nowhere. Lost connections, 429 and 5xx are retried with growing pauses, or as told.
    Tokens of several samples in one call are its count shared out by length of text.
    Server seeds are best effort: the samples of a prompt share one call and one seed; with
    `strict_seeds` each has its own. `transformers serve` has one random state for all calls: its
    samples repeat only with `concurrency=1`. Raises `ValueError` for settings that make no sense.

    >>> server = wb.Endpoint("http://localhost:8000/v1", concurrency=32)
    >>> wb.generate(server, ["The capital of France is"], max_new_tokens=3)
    """

    url: str
    model: str = ""
    concurrency: int = 8
    retries: int = 5
    timeout: float = 600.0
    strict_seeds: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        secret = "@" in parts.netloc or parts.query
        if secret or parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"a URL looks like http://host:8000/v1; a key belongs in ${KEY}")
        if self.concurrency < 1 or self.retries < 0 or not self.timeout > 0:
            raise ValueError("concurrency and timeout must be positive, retries at least 0")

    @property
    def device(self) -> str:
        """The server's address: where it computes is its own affair."""
        return self.url

    @property
    def by_place(self) -> bool:
        """A request's place in the list does not matter to a server."""
        return False

    @cached_property
    def name(self) -> str:
        """The model's name at the server; `GenerationError` if neither given nor the only one."""
        names = [self.model] if self.model else self._listed()
        if len(names) != 1:
            listed = f"{self.url} lists {len(names)} models ({', '.join(names)})"
            raise GenerationError(f"{listed}; name the one you mean: Endpoint(url, model=…)")
        return names[0]

    def identity(self) -> dict[str, str]:
        """The protocol and the model's name; not the host, which may change between runs."""
        return {"backend": "openai", "model": self.name}

    def check(self, requests: Sequence[GenRequest]) -> None:
        """Raise `GenerationError` where the server does not answer, knows no such model (one that
        it does not list is tried with a token), or a chat ends in a reply: some would answer it.
        """
        for i, prompt in enumerate(request.prompt for request in requests):
            if not isinstance(prompt, str) and prompt[-1]["role"] == "assistant":
                raise GenerationError(
                    f"request {i} ends in an assistant message, which not all servers continue; "
                    "send text, or end it in a user message"
                )
        names = self._listed()
        if not requests or self.name in names:
            return
        text = isinstance(requests[0].prompt, str)
        trial = GenRequest("Hi" if text else [{"role": "user", "content": "Hi"}], max_new_tokens=1)
        try:
            with self._client(self.retries) as client:
                _Run(self, client, [trial]).ask(0, (0,), False)
        except GenerationError as error:
            unlisted = f"model {self.name!r}, not among those listed ({', '.join(names)})"
            raise GenerationError(f"{unlisted}: {error}") from None

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        """Complete `missing`. Prompts that begin alike follow each other, for the server's cache.

        Raises `GenerationError` (`ContextLengthError`) after yielding all that was finished.
        """
        order = sorted(range(len(requests)), key=lambda i: prompt_text(requests[i].prompt))
        calls = [list(zip(ks)) if self.strict_seeds else [tuple(ks)] for ks in missing]
        queue: deque[Unit] = deque((i, ks, False) for i in order for ks in calls[i] if ks)
        client, pool = self._client(self.retries), ThreadPoolExecutor(self.concurrency)
        pending: set[Future[tuple[list[Drawn], list[Unit]]]] = set()
        stopped: GenerationError | None = None
        try:
            run = _Run(self, client, requests)
            while queue or pending:
                # Few at a time: little to call back on an interrupt, little to wait for.
                while queue and len(pending) < 2 * self.concurrency:
                    pending.add(pool.submit(run.complete, queue.popleft()))
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                drawn: list[Drawn] = []
                for future in finished:
                    try:
                        samples, units_left = future.result()
                    except GenerationError as error:
                        stopped = stopped or error
                    else:
                        drawn += samples
                        queue.extendleft(reversed(units_left))
                if stopped:
                    queue.clear()
                    pending = {future for future in pending if not future.cancel()}
                if drawn:
                    yield drawn
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            client.close()
        if stopped:
            stopped.args = (f"{stopped} (Finished samples are stored; the same call continues.)",)
            raise stopped

    def _client(self, retries: int) -> Any:
        import openai

        return openai.OpenAI(
            base_url=self.url,
            api_key=os.environ.get(KEY) or "none",
            max_retries=retries,
            timeout=openai.Timeout(self.timeout, connect=min(self.timeout, 10.0)),
        )

    def _listed(self) -> list[str]:
        """Names of the models the server lists, none where it keeps no list. Asks twice at most."""
        from openai import APIError

        with self._client(min(self.retries, 1)) as client:
            try:
                answer = json.loads(client.models.with_raw_response.list().text)
                return [str(entry["id"]) for entry in answer["data"]]
            except (ValueError, LookupError, TypeError):
                return []
            except APIError as caught:
                error = caught
        if getattr(error, "status_code", None) in (None, 401, 403):
            raise as_error(self.url, error, 0)
        return []


class _Run:
    """One draw: its client, and what the server has refused so far."""

    def __init__(self, endpoint: Endpoint, client: Any, requests: Sequence[GenRequest]) -> None:
        self.url, self.model = endpoint.url, endpoint.name
        self.client, self.requests = client, requests
        self.refused: set[str] = set()
        self.nested, self.lock = False, Lock()

    def complete(self, unit: Unit) -> tuple[list[Drawn], list[Unit]]:
        """One call: the samples it brought, and what is left to ask for."""
        place, indices, late = unit
        stops = self.requests[place].stop
        asked = indices[:1] if "n" in self.refused else indices
        choices, prompt_tokens = self.ask(place, asked, late)
        if len(choices) < len(asked):
            # transformers serve ignores n without a word.
            self.drop({"n"}, f"{len(choices)} of {len(asked)} samples came")
        drawn: list[Drawn] = []
        left = [(place, (k,), late) for k in indices[len(choices) :]]
        for k, (text, reason, by, count) in zip(asked, choices, strict=False):
            # Stopped in the white space it began with (some servers keep the stop in the text)?
            early = any(s[0].isspace() and not text.removesuffix(s).strip() for s in stops)
            if early and reason == "stop" and by is not None and not late:
                left.append((place, (k,), True))
                continue
            before = cut(text, stops)
            ended = "length" if reason == "length" else "stop" if isinstance(by, str) else "eos"
            sample = (text, ended) if before is None else (before, "stop")
            drawn.append((place, k, Sample(*sample, count, prompt_tokens)))
        return drawn, left

    def ask(self, place: int, asked: tuple[int, ...], late: bool) -> Choices:
        """At most as many choices as asked; a refused field is dropped and the call repeated."""
        from openai import APIError

        prompt = self.requests[place].prompt
        text = isinstance(prompt, str)
        api = self.client.completions if text else self.client.chat.completions
        asking = {"prompt": prompt} if text else {"messages": prompt}
        while True:
            fields = self.fields(place, asked, late)
            try:
                raw = api.with_raw_response.create(
                    **asking, model=self.model, extra_body=fields
                ).text
                break
            except APIError as caught:
                error = caught
            # Outside the except: the client's error holds the key and must not hang on to ours.
            if not (names := refused_fields(error, fields)):
                raise as_error(self.url, error, place)
            self.drop(names, message_of(error))
        try:
            return _read(json.loads(raw), len(asked))
        except (ValueError, LookupError, TypeError, AttributeError):
            raise GenerationError(
                f"request {place}: {self.url} answered with something else than completions: "
                f"{shortened(raw)}"
            ) from None

    def fields(self, place: int, asked: tuple[int, ...], late: bool) -> dict[str, Any]:
        """How to sample, less what was refused. Raises `GenerationError` for a lost `top_k`."""
        request = self.requests[place]
        greedy = request.temperature == 0
        top_k = 0 if greedy else request.top_k
        stops = [stop for stop in request.stop if not (late and stop[0].isspace())]
        # With the first index: samples asked for later do not repeat the earlier ones.
        seeded = digest(canonical([request.seed, prompt_text(request.prompt), asked[0]]), 64)
        nested = {"do_sample": not greedy, "top_k": top_k, "repetition_penalty": 1.0}
        fields: dict[str, Any] = {
            "temperature": request.temperature,
            "top_p": 1.0 if greedy else request.top_p,
            "max_tokens": request.max_new_tokens,
            "n": len(asked) if len(asked) > 1 else None,
            "seed": None if greedy else int(seeded[:8], 16) >> 1,
            "stop": stops[:4] or None,  # the OpenAI API takes no more; the rest are cut here
            # Unsaid, servers may take these from the model's generation config.
            "top_k": top_k or -1,
            "repetition_penalty": 1.0,
            "generation_config": canonical(nested) if self.nested else None,
        }
        fields = {k: v for k, v in fields.items() if v is not None and k not in self.refused}
        if top_k and not fields.keys() & {"top_k", "generation_config"}:
            raise GenerationError(f"request {place}: {self.url} does not take top_k={top_k}")
        return fields

    def drop(self, names: set[str], reason: str) -> None:
        """Do without these fields from now on; a warning for each, once."""
        with self.lock:
            new = names - self.refused
            # transformers serve: it takes these, and samples at all, as its own config says.
            nest = new <= {"top_k", "repetition_penalty"} and "Unexpected fields in the" in reason
            self.nested = self.nested or nest
            self.refused |= new
            then = "sending it in generation_config" if nest else "going on without it"
            for name in sorted(new):
                log.warning("%s refuses %s; %s: %s", self.url, name, then, shortened(reason))


def _read(answer: dict[str, Any], most: int) -> Choices:
    """What an answer holds, at most `most` choices; `TypeError` and such for no completions."""
    choices = sorted(answer["choices"], key=lambda choice: choice.get("index", 0))[:most]
    texts = [(c["message"].get("content") if "message" in c else c["text"]) or "" for c in choices]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TypeError("no texts")
    usage = answer.get("usage") or {}
    sizes = [len(text) + 1 for text in texts]
    if usage.get("completion_tokens") is None:
        log.warning("the server counts no tokens; taking four characters for one")
        total = max(len(texts), sum(sizes) // 4)
    else:
        total = int(usage["completion_tokens"])
    # By length of text; each share is a difference of rounded sums, so that they add up.
    ends = [round(total * sum(sizes[:i]) / sum(sizes)) for i in range(len(sizes) + 1)]
    read = []
    for i, (choice, text) in enumerate(zip(choices, texts, strict=True)):
        if (reason := str(choice.get("finish_reason"))) not in ("stop", "length"):
            log.warning("the server ended a completion for its own reason: %s", reason)
        # vLLM: the stop string, or null at the model's own end. False: the server does not say.
        read.append((text, reason, choice.get("stop_reason", False), ends[i + 1] - ends[i]))
    return read, int(usage.get("prompt_tokens") or 0)
