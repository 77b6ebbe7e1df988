"""Completions from a server that speaks the OpenAI protocol: vLLM, transformers serve, a host."""

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from anyio.from_thread import BlockingPortal, start_blocking_portal

from workbench.arguments import finite, whole
from workbench.errors import GenerationError
from workbench.generation.requests import Drawn, GenRequest, prompt_text
from workbench.generation.server_calls import Calls, Unit
from workbench.generation.server_errors import KEY, as_error, shortened
from workbench.generation.server_limits import connection, within
from workbench.generation.server_replies import listed

SCHEMES = ("http", "https")
# So many requests without an answer, and none with one, end a draw.
_IN_VAIN = 20


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible server; a `Backend`.

    `url` ends in /v1. `model` is its name there (empty: the only one listed), and stands for the
    weights in a sample's identity. The API key comes from the environment (OPENAI_API_KEY) and is
    kept nowhere; redirects to another host are refused. `timeout` is the seconds that one call (a
    prompt with all its samples) may take, retries and pauses included. Lost connections, 429 and
    5xx are retried with growing pauses; where a busy server (429, 503) says when, until `timeout`.
    Tokens of several samples in one call are its count shared out by length of text; a count that
    cannot be true is replaced by one token for four characters, with a warning.
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
        try:
            parts = urlsplit(self.url)
            usable = bool(parts.hostname) and parts.port != 0 and self.url.isprintable()
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc or parts.query or parts.scheme not in SCHEMES:
            raise ValueError(f"a URL looks like http://host:8000/v1; a key belongs in ${KEY}")
        if not self.model.isprintable():
            raise ValueError(f"model={self.model!r}: a name has no control characters")
        whole("concurrency", self.concurrency, 1)
        whole("retries", self.retries, 0)
        finite("timeout", self.timeout, above=0)

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
        if len(names) != 1 or not names[0].isprintable():
            raise GenerationError(
                f"{self.url} lists {len(names)} models ({_first(names)}); name the one you mean: "
                "Endpoint(url, model=…)"
            )
        return names[0]

    def identity(self) -> dict[str, str]:
        """The protocol and the model's name; not the host, which may change between runs."""
        return {"backend": "openai", "model": self.name}

    def check(self, requests: Sequence[GenRequest]) -> None:
        """Raise `GenerationError` where the server does not answer, knows no such model (one that
        it does not list is tried with a token), a chat ends in a reply (some would answer it), or
        a text holds half of a surrogate pair.
        """
        for i, request in enumerate(requests):
            prompt = request.prompt
            try:
                "".join((prompt_text(prompt), *request.stop)).encode()
            except UnicodeEncodeError as error:
                raise GenerationError(
                    f"request {i} holds {error.object[error.start]!a}, half of a surrogate pair, "
                    "which is no text: mend or leave it out"
                ) from None
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
            with self._connected(self.retries) as (portal, client):
                portal.call(self._calls(client, [trial]).reply, 0, (0,), False)
        except GenerationError as error:
            unlisted = f"model {self.name!r}, not among those listed ({_first(names)})"
            raise GenerationError(f"{unlisted}: {error}") from None

    def draw(
        self, requests: Sequence[GenRequest], missing: Sequence[Sequence[int]]
    ) -> Iterator[list[Drawn]]:
        """Complete `missing`. Prompts that begin alike follow each other, for the server's cache.

        Raises `GenerationError` (`ContextLengthError`) after yielding all that was finished; for a
        reply without an answer (filtered, refused, only reasoning), after all other samples.
        """
        order = sorted(range(len(requests)), key=lambda i: prompt_text(requests[i].prompt))
        units = [list(zip(ks)) if self.strict_seeds else [tuple(ks)] for ks in missing]
        queue: deque[Unit] = deque((i, ks, False) for i in order for ks in units[i] if ks)
        pending: set[Future[tuple[list[Drawn], list[Unit]]]] = set()
        stopped: BaseException | None = None
        answered = False
        with self._connected(self.retries) as (portal, client):
            calls = self._calls(client, requests)
            while queue or pending:
                # A few in reserve, so that none of the running calls' places stays empty.
                while queue and len(pending) < 2 * self.concurrency:
                    pending.add(portal.start_task_soon(calls.complete, queue.popleft()))
                try:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                except KeyboardInterrupt as interrupt:
                    finished, pending = {future for future in pending if future.done()}, set()
                    stopped = interrupt
                drawn: list[Drawn] = []
                for future in finished:
                    try:
                        samples, units_left = future.result()
                    except GenerationError as error:
                        stopped = stopped or error
                    else:
                        drawn += samples
                        queue.extendleft(reversed(units_left))
                answered = answered or bool(drawn)
                if stopped or (len(calls.unanswered) >= _IN_VAIN and not answered):
                    calls.stopped = True
                    queue.clear()
                if drawn:
                    yield drawn
            if calls.unanswered and not stopped:
                first, *others = [why for whys in calls.unanswered.values() for why in whys]
                stopped = GenerationError(f"{first}{f'; nor {len(others)} more' * bool(others)}")
            if isinstance(stopped, GenerationError):
                end = "(Finished samples are stored; the same call continues.)"
                stopped.args = (f"{stopped} {end}",)
            if stopped:
                raise stopped

    def _calls(self, client: Any, requests: Sequence[GenRequest]) -> Calls:
        limits = {"concurrency": self.concurrency, "timeout": self.timeout}
        return Calls(client, self.url, self.name, requests, **limits)

    @contextlib.contextmanager
    def _connected(self, retries: int) -> Iterator[tuple[BlockingPortal, Any]]:
        """An event loop in a thread and a client in it; leaving by an exception ends all calls."""
        client = connection(self.url, retries, self.timeout)
        with start_blocking_portal() as portal:
            try:
                yield portal, client
            finally:
                with contextlib.suppress(RuntimeError):
                    portal.call(client.close)

    def _listed(self) -> list[str]:
        """Names of the models the server lists, none where it keeps no list. Asks twice at most."""
        from openai import APIError

        with self._connected(min(self.retries, 1)) as (portal, client):
            try:
                ask = client.models.with_raw_response.list
                reply = portal.call(within, self.timeout, self.url, ask)
                return listed(reply.content)
            except APIError as caught:
                error = caught
        if getattr(error, "status_code", None) in (None, 401, 403):
            raise as_error(self.url, error, 0)
        return []


def _first(names: Sequence[str]) -> str:
    """The first ten of the names."""
    return ", ".join([*map(shortened, names[:10]), *["…"] * (len(names) > 10)])
