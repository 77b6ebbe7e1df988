"""Messages as people publish them, with the roles and keys that chat templates know."""

import re
from collections.abc import Callable
from typing import Any

from workbench.files import SHEET_ERRORS

Message = dict[str, Any]
Side = str | list[Message]
"""A prompt or an answer: text, or messages with `role` and `content`."""
ROLES = {
    **{role: role for role in ("system", "developer", "user", "assistant", "tool", "function")},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "model", "bot", "chatbot", "ai"), "assistant"),
    **dict.fromkeys(("observation", "ipython"), "tool"),
}
"""What a published role is called in a chat template."""
_EXTRAS = ("name", "tool_calls", "tool_call_id", "reasoning_content", "thinking")
_WRITTEN_OUT = re.compile(r"\s*\[?\s*\{\s*['\"](?:role|content|from|value)['\"]\s*:")


def read_side(value: Any, name: str, wrong: Callable[[str], Exception]) -> Side:
    """Text as it is; a message or a list of them with `role` and `content`, nothing else.

    Keys that a template may read (tool calls and the like) stay where they are filled. Raises
    `wrong(fault)` for anything else, unknown roles, and messages without text.
    """
    if isinstance(value, str):
        if _WRITTEN_OUT.match(value):
            raise wrong(f"{name} is a list of messages written as text: read it from .jsonl")
        if value.strip() in SHEET_ERRORS:
            raise wrong(f"{name} is {value.strip()!r}, the error of a spreadsheet")
        return value
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
        raise wrong(
            f"{name} is {type(value).__name__} {str(value)[:40]!r}; it must be text or a list of "
            "messages with role and content"
        )
    if not messages:
        raise wrong(f"{name} is an empty list")
    return [_message(message, name, wrong) for message in messages]


def turns_fault(answer: list[Message]) -> str:
    """What is wrong with messages that are to be trained as an answer; empty if nothing."""
    roles = [message["role"] for message in answer]
    if others := {"user", "system", "developer"} & set(roles):
        return f"holds a turn of {sorted(others)[0]} that would be trained as an answer"
    if roles[0] != "assistant" or roles[-1] != "assistant":
        return f"is a turn of {roles[-1] if roles[0] == 'assistant' else roles[0]}, no answer"
    return ""


def _message(message: Message, name: str, wrong: Callable[[str], Exception]) -> Message:
    role = message.get("role") or message.get("from")
    content = message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise wrong(f"{name} holds a message without a role")
    if role.lower() not in ROLES:
        raise wrong(f"{name} holds a message of the unknown role {role!r}; use user or assistant")
    if isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("text"), str) for part in content
    ):
        content = "".join(part["text"] for part in content)
    extras = {key: message[key] for key in _EXTRAS if message.get(key)}
    if not isinstance(content, str) and not (content is None and "tool_calls" in extras):
        raise wrong(f"{name} holds a message without text")
    return {"role": ROLES[role.lower()], "content": content, **extras}


def same(first: Message, second: Message) -> bool:
    """Whether two messages say the same, white space at the ends aside."""
    a, b = ({**m, "content": (m["content"] or "").strip()} for m in (first, second))
    return a == b


def count_shared(chosen: list[Message], rejected: list[Message]) -> int:
    """How many messages both begin with, one at least left to each."""
    most = min(len(chosen), len(rejected)) - 1
    return next((n for n in range(most) if not same(chosen[n], rejected[n])), max(most, 0))


def joined(
    prompt: list[Message], shared: list[Message], wrong: Callable[[str], Exception]
) -> list[Message]:
    """One prompt of a prompt's messages and those that both answers begin with.

    Raises `wrong(fault)` where the answers begin with a user's turn that the prompt lacks.
    """

    def alike(a: list[Message], b: list[Message]) -> bool:
        return len(a) == len(b) and all(map(same, a, b))

    if not shared or alike(prompt[-len(shared) :], shared):
        return prompt
    starts = range(len(shared) - len(prompt) + 1)
    asks = shared[0]["role"] in ("system", "user")
    if asks and any(alike(shared[n : n + len(prompt)], prompt) for n in starts):
        return shared
    if shared[0]["role"] == "system" or (asks and prompt[-1]["role"] == "user"):
        raise wrong("the answers begin with other turns than the prompt")
    return [*prompt, *shared]
