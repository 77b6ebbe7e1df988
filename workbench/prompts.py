"""Prompts and chats to token ids, and which of those tokens to read. Done once, here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from workbench.errors import DatasetError, ModelError
from workbench.models import Model

Prompt = str | Sequence[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """Token ids of one prompt; ids from `start` on are its response (none where there is none)."""

    ids: list[int]
    start: int


@dataclass(frozen=True)
class Positions:
    """Which tokens to read: `last(k)`, `response()` or `all_tokens()`."""

    kind: str
    k: int = 0

    def pick(self, encoded: Encoded) -> range:
        """Indices into the ids; fewer than `k` where the text is shorter.

        The last tokens of a chat that ends in a reply are the last tokens *of the reply*: they
        never reach back into the chat template.
        """
        end = len(encoded.ids)
        has_response = encoded.start < end
        if self.kind == "all":
            return range(end)
        floor = encoded.start if has_response else 0
        if self.kind == "response":
            return range(encoded.start, end)
        return range(max(floor, end - self.k), end)


def last(k: int = 1) -> Positions:
    """The last `k` tokens: of the reply where the chat ends in one, else of the prompt."""
    if k < 1:
        raise ValueError(f"last({k}): k must be at least 1")
    return Positions("last", k)


def response() -> Positions:
    """Every token of the reply that ends the chat, its end-of-turn token excluded."""
    return Positions("response")


def all_tokens() -> Positions:
    """Every token, those of the chat template included."""
    return Positions("all")


def encode(model: Model, prompt: Prompt) -> Encoded:
    """Token ids of a plain string (as is) or of chat messages (through the chat template).

    A chat that ends in an assistant message becomes template(all before, generation prompt on)
    followed by the reply's own tokens, with nothing of the template after them.

    Raises `ModelError` where the tokenizer has no chat template or the template rejects a role;
    `DatasetError` for an empty prompt or malformed messages.
    """
    tokenizer = model.tokenizer
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"]
        if not ids:
            raise DatasetError("empty prompt")
        return Encoded(ids, len(ids))
    messages = [dict(m) for m in prompt]
    if not messages or any({"role", "content"} - m.keys() for m in messages):
        raise DatasetError(f"a chat is a list of {{'role', 'content'}} messages; got {messages!r}")
    reply = messages.pop()["content"] if messages[-1]["role"] == "assistant" else None
    head = _template(tokenizer, messages, model.name)
    ids = tokenizer(head, add_special_tokens=False)["input_ids"]
    if reply is None:
        return Encoded(ids, len(ids))
    return Encoded(ids + tokenizer(reply, add_special_tokens=False)["input_ids"], len(ids))


def _template(tokenizer: Any, messages: list[dict[str, str]], name: str) -> str:
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{name}: the tokenizer has no chat template. Set model.tokenizer.chat_template "
            "(usually the base model's), or pass plain strings instead of messages."
        )
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        roles = [m["role"] for m in messages]
        raise ModelError(
            f"{name}: the chat template rejects roles {roles}: {error}. Where the system role is "
            "the problem, put its text at the head of the first user message."
        ) from error
