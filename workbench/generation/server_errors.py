"""What a server's error says: which field it refuses, and what to tell the user."""

import os
import re
from typing import Any

from workbench.errors import ContextLengthError, GenerationError

KEY = "OPENAI_API_KEY"
"""Environment variable with the server's key; it is kept nowhere."""
DISPENSABLE = ("n", "seed", "stop", "top_k", "repetition_penalty", "generation_config")
_TOO_LONG = re.compile(r"context[ _](?:length|size|window)(?:\D{0,12}(\d+))?", re.IGNORECASE)
_PROMPT = re.compile(r"(\d+) (?:in the (?:messages|prompt)|input tokens)")


def shortened(text: str) -> str:
    """The first 300 characters on one line, without the server's key."""
    return " ".join(text.replace(os.environ.get(KEY) or "\0", "[key]").split())[:300]


def message_of(error: Any) -> str:
    """The server's own words in an `openai.APIError`."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    if isinstance(body, list):
        # FastAPI's validation: where, and what; the rest repeats the request.
        body = [(entry.get("loc"), entry.get("msg")) for entry in body if isinstance(entry, dict)]
    return str(body or error.message)


def refused_fields(error: Any, sent: dict[str, Any]) -> set[str]:
    """Those of the fields `sent` that an error refuses and that can be done without.

    Only what the message clearly names.
    """
    message = message_of(error)
    if getattr(error, "status_code", 0) not in (400, 422, 500, 501) or _TOO_LONG.search(message):
        return set()
    # llama.cpp on n: "Only one completion choice is allowed".
    named = ["n" if "one completion choice" in message else error.param]
    for name in DISPENSABLE:
        # "n" and "stop" are words of any sentence, unless in quotes, or as a field is spoken of.
        as_field = (
            rf"['\"`]{name}['\"`]|(?<![\w\\']){name}(?= ?[=<>]| must | is not | should )"
            rf"|(?:argument|parameter|field|supplied|support)s?:? (?:\w+, )*{name}\b"
        )
        if re.search(name if "_" in name else as_field, message):
            named.append(name)
    return {name for name in named if name in DISPENSABLE and name in sent}


def as_error(url: str, error: Any, place: int) -> GenerationError:
    """The error to raise in place of the client's, with what to do about it.

    `place`: the request's in the caller's list.
    """
    status, message = getattr(error, "status_code", None), shortened(message_of(error))
    if status is None:
        todo = "start the server or correct the URL, which ends in /v1"
        return GenerationError(f"{url} does not answer ({message}); {todo}")
    if status in (401, 403):
        return GenerationError(f"{url} refuses access ({status}); set ${KEY} to a valid key")
    if status == 429 or status >= 500:
        return GenerationError(f"{url} still fails with {status} when tried again: {message}")
    if not _TOO_LONG.search(f"{message} {error.code} {error.type}"):
        return GenerationError(f"request {place}: {url} refuses it with {status}: {message}")
    matches = [pattern.search(message) for pattern in (_PROMPT, _TOO_LONG)]
    lengths = [int((match and match[1]) or 0) for match in matches]
    return ContextLengthError(f"request {place} exceeds the context: {message}", *lengths, place)
