"""Limits of what a server may do to a call: its time in all, the bytes of a reply, and its host."""

import os
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import httpx2

from workbench.errors import GenerationError
from workbench.generation.server_errors import KEY, shortened

# nnsight gives every object a `save`, which sets of attributes that anyio makes later (it imports
# its parts when they are used) would take for one of their own that lacks a type.
anyio.TypedAttributeSet.__annotations__ = {"save": Any}

MOST_BYTES = 32 << 20
"""The largest reply that is read, unpacked."""
_UNPACKED = ("", "identity")
_PACKED = ("gzip", "x-gzip", "deflate")
_REDIRECTS_TO_GET = (301, 302, 303)
_statuses: ContextVar[list[int]] = ContextVar("statuses of the replies to this call")
T = TypeVar("T")


def connection(url: str, retries: int, timeout: float) -> Any:
    """An `openai.AsyncOpenAI` whose replies end, stay small, and come from this host alone.

    Raises `GenerationError` for a key that no header can carry.
    """
    import openai

    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and (key or "none").isprintable()):
        raise GenerationError(f"${KEY} holds characters that no API key has; set it anew")
    home = httpx2.URL(url).origin

    async def stay(request: httpx2.Request) -> None:
        if request.url.origin != home:
            raise GenerationError(
                f"{url} redirects to another host, {shortened(str(request.url))}; nothing was sent "
                "there: if you trust it, give its address as the URL"
            )

    async def bound(response: httpx2.Response) -> None:
        _statuses.get().append(response.status_code)
        redirects = response.has_redirect_location and response.request.method == "POST"
        if redirects and response.status_code in _REDIRECTS_TO_GET:
            raise GenerationError(
                f"{url} redirects ({response.status_code}) to "
                f"{shortened(response.headers['location'])}, which would lose the prompt; if you "
                "trust that address, give it as the URL"
            )
        coding = response.headers.pop("content-encoding", "").strip().lower()
        if coding not in (*_UNPACKED, *_PACKED):
            raise GenerationError(
                f"{url} packs its reply as {shortened(coding)!r}, which was not asked for"
            )
        # What a reply calls itself does not matter: JSON is UTF-8.
        response.headers.pop("content-type", None)
        # 47: zlib's or gzip's header, whichever comes.
        unpack = zlib.decompressobj(47).decompress if coding in _PACKED else None
        response.stream = _Bounded(response.stream, unpack, url)

    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        max_retries=retries,
        timeout=openai.Timeout(timeout, connect=min(timeout, 10.0)),
        http_client=openai.DefaultAsyncHttpxClient(
            # One call per connection: what else comes on it must not answer the next prompt.
            headers={"Accept-Encoding": "identity", "Connection": "close"},
            event_hooks={"request": [stay], "response": [bound]},
        ),
    )


async def within(seconds: float, url: str, call: Callable[[], Awaitable[T]]) -> T:
    """What `call` returns, everything in it included: redirects, retries and pauses between them.

    Raises `GenerationError` after `seconds`.
    """
    statuses: list[int] = []
    _statuses.set(statuses)
    try:
        with anyio.fail_after(seconds):
            return await call()
    except TimeoutError:
        pass
    so_far = f"; its last reply had status {statuses[-1]}" if statuses else ""
    busy = ", or lower its concurrency" if statuses and statuses[-1] in (429, 503) else ""
    raise GenerationError(
        f"{url} has not answered in full within timeout={seconds:g} seconds, retries and pauses "
        f"included{so_far}. If it needs longer, raise Endpoint's timeout{busy}"
    )


class _Bounded(httpx2.AsyncByteStream):
    """A reply's body, unpacked, up to `MOST_BYTES`."""

    def __init__(self, stream: Any, unpack: Callable[[bytes, int], bytes] | None, url: str) -> None:
        self.stream, self.unpack, self.url = stream, unpack, url

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self.stream:
            try:
                data = self.unpack(chunk, MOST_BYTES + 1) if self.unpack else chunk
            except zlib.error as error:
                raise GenerationError(f"{self.url} sent a damaged reply: {error}") from None
            size += len(data)
            if size > MOST_BYTES:
                raise GenerationError(
                    f"{self.url} sent more than {MOST_BYTES >> 20} MiB in one reply; if that is no "
                    "fault of the server's, ask for fewer samples or tokens in one request"
                )
            yield data

    async def aclose(self) -> None:
        await self.stream.aclose()
