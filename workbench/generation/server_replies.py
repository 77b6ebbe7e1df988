"""What a server's reply holds: which choices are answers, why others are none, what it cost."""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from workbench.generation.requests import GenRequest, prompt_text
from workbench.generation.server_errors import as_text, shortened

ENDS = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn", "complete"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
}
"""Finish reasons of a completion under the names that servers give them, in small letters."""
_ERRORS = ("error", "errors")
_FAILED = ("failed", "error", "cancelled", "canceled", "incomplete", "expired")
_BROKEN = re.compile("error|filter|safety|refus|block|prohibit|abort|cancel|fail", re.IGNORECASE)
_FILTERS = ("content_filter_results", "content_filter_result", "prompt_filter_results")
# Fields beside a text that do not say what the model would have said.
_HARMLESS = {
    *_FILTERS, "index", "finish_reason", "native_finish_reason", "stop_reason", "matched_stop",
    "text", "message", "logprobs", "prompt_logprobs", "token_ids", "prompt_token_ids",
    "role", "name", "id", "type", "object", "status",
}  # fmt: skip
_TEMPLATE_TOKENS = 4096
REPHRASE = "rephrase the prompt or leave it out"
_LONGER = "raise max_new_tokens"


@dataclass(frozen=True)
class Answer:
    """A completion: `by` is the stop string, None at the model's own end, False where unsaid."""

    text: str
    reason: str
    by: Any
    n_tokens: int


@dataclass
class Reply:
    """Answers, and why there is none, by index within the call; `doubts`: what was not believed."""

    answers: dict[int, Answer] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    prompt_tokens: int = 0
    doubts: dict[str, str] = field(default_factory=dict)


def parse(raw: bytes) -> Any:
    """The JSON of a reply. Raises `ValueError` saying what is wrong with it."""
    try:
        return json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_each_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def listed(raw: bytes) -> list[str]:
    """Names in a list of models, each once; none where it is no such list."""
    try:
        names = [entry["id"] for entry in parse(raw)["data"]]
    except (ValueError, LookupError, TypeError):
        return []
    return list(dict.fromkeys(name for name in names if isinstance(name, str) and name))


def read(raw: bytes, request: GenRequest, model: str, asked: int) -> Reply:
    """What the reply to a call for `asked` samples of `request` from `model` holds.

    A choice is an answer where the server says that it ended (at a stop, or at `max_new_tokens`)
    and it has a text. An empty text that ends in "stop" is an answer: the model had nothing to add.

    Raises `ValueError` saying why it holds no completions at all.
    """
    answer = parse(raw)
    if not isinstance(answer, dict):
        raise ValueError("no object")
    if error := next(filter(None, map(answer.get, _ERRORS)), None):
        raise ValueError(f"an error: {shortened(as_text(error))}")
    if answer.get("object") == "error" or answer.get("status") in _FAILED:
        raise ValueError("an error beside its choices")
    choices = _in_order(answer.get("choices"))
    texts = {index: _text(choice) or "" for index, choice in choices.items()}
    sizes = [len(texts[i]) + len(_reasoning(choice)) + 1 for i, choice in choices.items()]
    reply = Reply()
    total = _count_of_samples(reply, answer, sizes, texts, request.max_new_tokens)
    reply.prompt_tokens = _count_of_prompt(reply, answer, prompt_text(request.prompt))
    named = answer.get("model")
    # Dated versions and revisions begin like the name that they are called by.
    if isinstance(named, str) and named and model not in named:
        reply.doubts["model"] = f"answers as {shortened(named)}, not as {model}, the model asked"
    # By length of text; each share is a difference of rounded sums, so that they add up.
    ends = [round(total * sum(sizes[:i]) / sum(sizes)) for i in range(len(sizes) + 1)]
    for place, (index, choice) in enumerate(choices.items()):
        if index >= asked:
            continue
        if why := _no_answer(choice, answer):
            reply.refusals[index] = why
        else:
            end, count = ENDS[choice["finish_reason"].lower()], ends[place + 1] - ends[place]
            by = choice.get("stop_reason", False)
            reply.answers[index] = Answer(texts[index], end, by, count)
    if not (reply.answers or reply.refusals):
        raise ValueError("no choice has an index that was asked for")
    return reply


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a key twice in one object")
    return entries


def _in_order(choices: Any) -> dict[int, dict[str, Any]]:
    """Choices by their index, or by their order where none has one."""
    if not isinstance(choices, list) or not choices:
        raise ValueError("no choices")
    if not all(isinstance(choice, dict) for choice in choices):
        raise ValueError("a choice that is no object")
    indices = [choice.get("index") for choice in choices]
    if all(index is None for index in indices):
        return dict(enumerate(choices))
    if not all(type(index) is int and index >= 0 for index in indices):
        raise ValueError(f"indexes of choices {shortened(as_text(indices))}")
    by_index = dict(sorted(zip(indices, choices, strict=True), key=lambda pair: pair[0]))
    if len(by_index) < len(choices):
        raise ValueError(f"an index of choices twice: {shortened(as_text(indices))}")
    return by_index


def _text(choice: dict[str, Any]) -> str | None:
    """A choice's text, None where it has none. Raises `ValueError` for two, or one that is none."""
    message = choice.get("message")
    if not isinstance(message, dict | None) or not ("text" in choice or message is not None):
        raise ValueError("a choice with neither text nor message")
    texts = [choice.get("text"), (message or {}).get("content")]
    contents = [_joined(text) if isinstance(text, list) else text for text in texts]
    contents = [content for content in contents if content is not None]
    if not all(isinstance(content, str) for content in contents):
        raise ValueError("a text that is no string")
    if len(set(contents)) > 1:
        raise ValueError("two different texts in one choice")
    return contents[0] if contents else None


def _joined(parts: list[Any]) -> str | None:
    """The text of a content in parts, less those of reasoning; None where a part is no text."""
    kinds = [part.get("type") if isinstance(part, dict) else None for part in parts]
    spoken = [
        part.get("text")
        for part, kind in zip(parts, kinds, strict=True)
        if kind not in ("thinking", "reasoning")
    ]
    plain = all(kind in ("text", "output_text", "thinking", "reasoning") for kind in kinds)
    if not spoken or not plain or not all(isinstance(text, str) for text in spoken):
        return None
    return "".join(spoken)


def _reasoning(choice: dict[str, Any]) -> str:
    """What a reasoning model thought before its answer, where the server shows it."""
    message = choice.get("message") or {}
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    return thoughts if isinstance(thoughts, str) else ""


def _beside(choice: dict[str, Any]) -> list[str]:
    """Names of the fields that hold something beside a text: reasoning, sound, what is not known.

    Servers and models give reasoning ever new names.
    """
    message = choice.get("message") or {}
    fields = [*choice.items(), *message.items()]
    names = [
        name
        for name, value in fields
        if name not in (*_HARMLESS, "content") and isinstance(value, str | list | dict) and value
    ]
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    spoken = all(part.get("type") in ("text", "output_text") for part in parts)
    return names if spoken else [*names, "content"]


def _no_answer(choice: dict[str, Any], answer: dict[str, Any]) -> str:
    """Why a choice of `answer` is none, and what to do; empty where it is one."""
    message = choice.get("message") or {}
    if error := next((e for o in (choice, message) for e in map(o.get, _ERRORS) if e), None):
        return f"an error, {shortened(as_text(error))}"
    if refusal := message.get("refusal") or choice.get("refusal"):
        return f"a refusal, {shortened(as_text(refusal))!r}; {REPHRASE}"
    called = [name for name in ("tool_calls", "function_call") if message.get(name)]
    if called or (reason := choice.get("finish_reason")) in ("tool_calls", "function_call"):
        return "a call of a tool; serve the model without tools"
    filters = [entries.get(name) for entries in (choice, message, answer) for name in _FILTERS]
    if reason == "content_filter" or "'filtered': True" in as_text(filters):
        return f"finish_reason {shortened(as_text(reason))!r}, filtered; {REPHRASE}"
    if _BROKEN.search(native := as_text(choice.get("native_finish_reason"))):
        return f"native_finish_reason {shortened(native)!r}; the server's log may say why"
    if not isinstance(reason, str) or reason.lower() not in ENDS:
        shown = shortened(as_text(reason))
        return f"finish_reason {shown!r}, neither 'stop' nor 'length'; the server's log may say why"
    text = _text(choice)
    if text is None:
        return "no text"
    if not text.strip() and (names := _beside(choice)):
        return f"no text beside {shortened(', '.join(names))}; {_LONGER}"
    if not text and ENDS[reason.lower()] == "length":
        return f"no text before its tokens ran out; {_LONGER}"
    return ""


def _usage(answer: dict[str, Any], name: str) -> Any:
    usage = answer.get("usage")
    return usage.get(name) if isinstance(usage, dict) else None


def _count_of_samples(
    reply: Reply, answer: dict[str, Any], sizes: list[int], texts: dict[int, str], most_tokens: int
) -> int:
    """Tokens of all samples: as the server says where that can be true."""
    least, most = int(any(texts.values())), most_tokens * len(sizes)
    estimate = max(len(sizes), sum(sizes) // 4)
    return _believed(reply, "completion_tokens", answer, least, most, estimate)


def _count_of_prompt(reply: Reply, answer: dict[str, Any], prompt: str) -> int:
    """Tokens of the prompt. At most its bytes, twice for normalisation, and a template's."""
    most = 2 * len(prompt.encode("utf-8", "surrogatepass")) + _TEMPLATE_TOKENS
    estimate = math.ceil(len(prompt) / 4)
    return _believed(reply, "prompt_tokens", answer, min(1, len(prompt)), most, estimate)


def _believed(
    reply: Reply, name: str, answer: dict[str, Any], least: int, most: int, estimate: int
) -> int:
    count = _usage(answer, name)
    if type(count) is int and least <= count <= most:
        return count
    what = "counts no tokens" if count is None else f"says {name}={shortened(as_text(count))[:40]}"
    range_ = "" if count is None else f", which cannot be true ({least} to {most} can)"
    reply.doubts[name] = f"{what}{range_}; taking four characters for one token"
    return estimate
