"""Prompts and chats to token ids, padded rows of them, and which of those tokens to read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workbench.arguments import whole
from workbench.errors import ContextLengthError, DatasetError, ModelError
from workbench.models.model import Model
from workbench.models.templates import render, written
from workbench.models.token_ids import (
    around,
    ids_of,
    reply_ids,
    require_text,
    warn_of_losses,
    warn_of_tokens_typed,
)

log = logging.getLogger(__name__)

Prompt = str | Sequence[dict[str, str]]


@dataclass(frozen=True)
class Encoded:
    """Token ids of one prompt; ids from `start` on are its response (none where there is none).

    `replies`: whether it is a chat that ends in a reply, which may be empty. `text`: what the ids
    are the tokens of, less a plain text's special tokens. `gap`: the white space that the chat
    template writes between this and a reply, where it does.
    """

    ids: list[int]
    start: int
    replies: bool = False
    text: str = ""
    gap: str = ""


@dataclass(frozen=True)
class Positions:
    """Which tokens to read: `last(k)`, `response()` or `all_tokens()`."""

    kind: str
    k: int = 0

    def pick(self, encoded: Encoded) -> range:
        """Indices into the ids; fewer than `k` where the text is shorter.

        The last tokens of a chat that ends in a reply are the last tokens *of the reply*: they
        never reach back into the chat template; of an empty reply there are none.
        """
        end = len(encoded.ids)
        if self.kind == "all":
            return range(end)
        floor = encoded.start if encoded.replies else 0
        if self.kind == "response":
            return range(encoded.start, end)
        return range(max(floor, end - self.k), end)


def last(k: int = 1) -> Positions:
    """The last `k` tokens: of the reply where the chat ends in one, else of the prompt.

    A reply's last token is the last of its text, not the end-of-turn token that the template writes
    behind it; a prompt's is the last of the chat template's generation prompt, or of a plain text.

    >>> acts = wb.capture(model, chats, "heads", wb.last(5))
    >>> acts.values.shape  # [prompt, position, layer, head, d_head]

    Raises `ValueError` for a `k` below 1.
    """
    return Positions("last", whole("k", k, 1))


def response() -> Positions:
    """Every token of the reply that ends the chat, its end-of-turn token excluded.

    >>> acts = wb.capture(model, chats, "resid", wb.response())
    >>> acts.lengths  # tokens of each reply
    """
    return Positions("response")


def all_tokens() -> Positions:
    """Every token, those of the chat template included.

    >>> acts = wb.capture(model, ["Mend the gate."], "resid", wb.all_tokens())
    >>> rows, prompt = acts.rows(layer=2)
    """
    return Positions("all")


def messages(prompt: str, system: str = "") -> list[dict[str, str]]:
    """Chat messages of one user turn, after a system turn where `system` is not empty."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": prompt}]


def padded(
    rows: Sequence[Sequence[int]], pad: int, side: str = "right"
) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids, attention) of rows of token ids: int64 `[row, longest]` each, padded on `side`."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        columns = slice(width - len(row), width) if side == "left" else slice(len(row))
        ids[i, columns] = torch.tensor(row, dtype=torch.long)
        attention[i, columns] = 1
    return ids, attention


def encode(model: Model, prompt: Prompt) -> Encoded:
    """Token ids of one prompt: `encode_all` for a list of one."""
    return encode_all(model, [prompt])[0]


def encode_all(model: Model, prompts: Sequence[Prompt]) -> list[Encoded]:
    """Token ids of plain strings (as they are) and of chat messages (through the chat template).

    A plain string gets the special tokens that the tokenizer puts before a text, once; none behind
    it. A chat that ends in an assistant message becomes template(all before, generation prompt on)
    followed by the reply's own tokens, with nothing of the template after them.

    Special tokens that a text spells are read as the tokens; that, in a message, and characters
    that the tokenizer has no token for are told in a warning.

    Raises `ModelError` where the tokenizer has no chat template, or the template rejects a role,
    leaves out a message, fails or does not end, and for a token that the model has no embedding of;
    `DatasetError`, with the prompt's number, for an empty string, one without a token of its own,
    half of a surrogate pair, anything that is neither a string nor messages; `ContextLengthError`,
    which is one, for a prompt longer than the model's context.
    """
    tokenizer = model.tokenizer
    heads, replies, gap = _texts(model, prompts)
    chats = [i for i, prompt in enumerate(prompts) if not isinstance(prompt, str)]
    # A chat template writes its own special tokens; a plain string gets the tokenizer's.
    first = around(tokenizer)[0] if len(chats) < len(prompts) else []
    head_ids = ids_of(tokenizer, heads)
    # A reply that begins with white space has its own.
    spaced = {i: ("" if r[:1].isspace() else gap) + r for i, r in replies.items() if r}
    of_replies = reply_ids(tokenizer, heads, head_ids, spaced)
    encoded = []
    for i, ids in enumerate(head_ids):
        if not ids:
            raise DatasetError(f"prompt {i} has no tokens")
        plain = isinstance(prompts[i], str)
        head = first + ids if plain and ids[: len(first)] != first else ids
        ids = head + of_replies.get(i, [])
        require_fit(model, ids, f"prompt {i}", i)
        text, rest = heads[i] + spaced.get(i, ""), "" if plain or i in spaced else gap
        encoded.append(Encoded(ids, len(head), i in replies, text, rest))
    own_ids = [ids + of_replies.get(i, []) for i, ids in enumerate(head_ids)]
    warn_of_losses(tokenizer, [e.text for e in encoded], own_ids)
    warn_of_tokens_typed(tokenizer, {i: [m["content"] for m in prompts[i]] for i in chats})
    return encoded


def require_fit(model: Model, ids: Sequence[int], what: str, i: int) -> None:
    """Raise `ModelError` for a token that is not embedded, `ContextLengthError` for too many.

    `what` these ids are: prompt `i`, or made of it.
    """
    known, limit = model.n_tokens, model.context_length
    if max(ids) >= known:
        beyond = sorted({token for token in ids if token >= known})
        raise ModelError(
            f"{what} has the tokens {beyond}, but {model.name} embeds only {known}: after "
            "add_tokens, resize the model's embedding before it is loaded here"
        )
    if limit and len(ids) > limit:
        raise ContextLengthError(
            f"{what} has {len(ids)} tokens, more than the {limit} of {model.name}'s context; "
            "shorten or drop it", len(ids), limit, i,
        )  # fmt: skip


def _texts(model: Model, prompts: Sequence[Prompt]) -> tuple[list[str], dict[int, str], str]:
    """Every prompt as text, less the replies that chats end in; these; what is between the two."""
    heads: list[str] = []
    replies: dict[int, str] = {}
    gap: str | None = None
    for i, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            if not prompt:
                raise DatasetError(f"prompt {i} is an empty string")
            require_text(f"prompt {i}", prompt)
            heads.append(prompt)
            continue
        chat = as_messages(i, prompt)
        require_text(f"prompt {i}", *(m[part] for m in chat for part in ("role", "content")))
        if chat[-1]["role"] == "assistant":
            replies[i] = chat.pop()["content"]
            if not chat:
                raise DatasetError(f"prompt {i} is a reply alone, to no message")
        heads.append(render(model.tokenizer, chat, model.name))
        if gap is None:
            gap = _before_reply(model, chat, heads[-1])
    return heads, replies, gap or ""


def _before_reply(model: Model, chat: list[dict[str, str]], text: str) -> str:
    """The white space that the template writes between generation prompt and reply, if any.

    `text`: the chat without a reply, rendered. Some templates end in `[/INST]` and write a space
    before each reply, which belongs to its first token. Other text there is told in a warning where
    the template knows no generation prompt: without it the model may go on in the user's name.
    """
    reply = {"role": "assistant", "content": "Sure"}
    try:
        replied = written(model.tokenizer, [*chat, reply], model.name, False)
        gap = replied[len(text) :].partition("Sure")[0] if replied.startswith(text) else ""
        if gap.strip() and written(model.tokenizer, chat, model.name, False) == text:
            log.warning(
                "%s: the chat template has no generation prompt, and writes %r before a reply: "
                "prompts end before that", model.name, gap[:80],
            )  # fmt: skip
    except ModelError:
        return ""
    return gap if gap.isspace() else ""


def as_messages(i: int, prompt: object) -> list[dict[str, str]]:
    """A copy of chat messages; `DatasetError`, numbered `i`, for anything else."""
    valid = isinstance(prompt, Sequence) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str)
        for m in prompt
    )
    if not valid or not prompt:
        raise DatasetError(
            f"prompt {i} is neither a string nor a chat; a chat is a list of {{'role', 'content'}} "
            f"messages; got {prompt!r:.200}"
        )
    return [dict(m) for m in prompt]
