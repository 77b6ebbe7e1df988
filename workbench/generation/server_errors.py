"""What a server's error says: which field it refuses, and what to tell the user."""

import os
import re
from typing import Any

from workbench.errors import ContextLengthError, GenerationError

KEY = "OPENAI_API_KEY"
"""Environment variable with the server's key; it is kept nowhere."""
DISPENSABLE = (
    "n", "seed", "stop", "top_k", "min_p", "repetition_penalty", "generation_config", "top_p",
    "max_tokens",
)  # fmt: skip
"""Fields that a call can do without: top_p where it is 1, max_tokens under its newer name."""
MOST_WAIT = 120.0
"""Seconds of a Retry-After that are waited, as the client does."""
_NEWER_NAME = re.compile(r"\buse\W{0,3}max_completion_tokens", re.IGNORECASE)
_TOO_LONG = re.compile(r"context[ _](?:length|size|window)(?:\D{0,12}(\d{1,9}))?", re.IGNORECASE)
_PROMPT = re.compile(r"\b(\d{1,9}) (?:in the (?:messages|prompt)|input tokens)")


def shortened(text: str) -> str:
    """The first 300 characters on one line, without the server's key.

    What no terminal should obey or cannot show is escaped: control characters, lone surrogates.
    """
    # A key that the cut would split is found whole first.
    key, start = os.environ.get(KEY, "").strip(), text[:10_000]
    start = start.replace(key, "[key]") if key else start
    start = " ".join(start.split())[:300]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in start)


def as_text(value: Any) -> str:
    """A value out of a server's JSON as text, however deep it is nested."""
    try:
        return str(value)
    except RecursionError:
        return "(nested too deeply to show)"


def message_of(error: Any) -> str:
    """The server's own words in an `openai.APIError`."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body.get("error") or body
    if isinstance(body, list):
        # FastAPI's validation: where, and what; the rest repeats the request.
        body = [(entry.get("loc"), entry.get("msg")) for entry in body if isinstance(entry, dict)]
    return as_text(body or error.message)[:10_000]


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
    needed = {"top_p"} if sent.get("top_p", 1.0) < 1 else set()
    if not _NEWER_NAME.search(message):
        needed.add("max_tokens")
    return {name for name in named if name in DISPENSABLE and name in sent} - needed


def pause(error: Any) -> float:
    """Seconds that a busy server (429, 503) asks to wait; 0 where it does not, or for too many."""
    if getattr(error, "status_code", None) not in (429, 503) or error.code == "insufficient_quota":
        return 0.0
    if error.response.headers.get("x-should-retry") == "false":
        return 0.0
    seconds = _retry_after(error)
    return seconds if 0 < seconds <= MOST_WAIT else 0.0


def _retry_after(error: Any) -> float:
    try:
        return float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return 0.0


def is_filtered(error: Any) -> bool:
    """Does an error say that this prompt or its completion is not allowed to pass?"""
    return as_text(error.code) in ("content_filter", "content_policy_violation")


def as_error(url: str, error: Any, place: int) -> GenerationError:
    """The error to raise in place of the client's, with what to do about it.

    `place`: the request's in the caller's list.
    """
    status, message = getattr(error, "status_code", None), shortened(message_of(error))
    if status is None:
        # Of a lost connection the client's error says nothing, its cause what was wrong.
        message = f"{message} {shortened(str(error.__cause__ or ''))}".strip()
        todo = "start the server or correct the URL, which ends in /v1"
        return GenerationError(f"{url} does not answer ({message}); {todo}")
    if status in (401, 403):
        return GenerationError(f"{url} refuses access ({status}); set ${KEY} to a valid key")
    if status == 429 or status >= 500:
        after = shortened(error.response.headers.get("retry-after", ""))
        asks = f" and asks to come again after {after}" * bool(after)
        todo = "; a lower concurrency may help" * (status in (429, 503))
        return GenerationError(f"{url} still fails with {status}{asks}: {message}{todo}")
    if not _TOO_LONG.search(f"{message} {as_text(error.code)} {as_text(error.type)}"):
        return GenerationError(f"request {place}: {url} refuses it with {status}: {message}")
    matches = [pattern.search(message) for pattern in (_PROMPT, _TOO_LONG)]
    lengths = [int((match and match[1]) or 0) for match in matches]
    return ContextLengthError(f"request {place} exceeds the context: {message}", *lengths, place)
