"""Prompts and chats to token ids, padded rows of them, and which of those tokens to read."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from workbench.errors import ContextLengthError, DatasetError, ModelError
from workbench.models.model import Model
from workbench.models.templates import render

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
    """The last `k` tokens: of the reply where the chat ends in one, else of the prompt.

    >>> acts = wb.capture(model, chats, "heads", wb.last(5))
    >>> acts.values.shape  # [prompt, position, layer, head, d_head]

    Raises `ValueError` for a `k` below 1.
    """
    if k < 1:
        raise ValueError(f"last({k}): k must be at least 1")
    return Positions("last", k)


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

    A chat that ends in an assistant message becomes template(all before, generation prompt on)
    followed by the reply's own tokens, with nothing of the template after them.

    Raises `ModelError` where the tokenizer has no chat template, or the template rejects a role,
    fails or does not end, and for a token that the model has no embedding of;
    `DatasetError`, with the prompt's number, for an empty string, anything that is neither a string
    nor messages; `ContextLengthError`, which is one, for a prompt longer than the model's context.
    """
    heads: list[str] = []
    replies: dict[int, str] = {}
    for i, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            if not prompt:
                raise DatasetError(f"prompt {i} is an empty string")
            heads.append(prompt)
            continue
        chat = as_messages(i, prompt)
        if chat[-1]["role"] == "assistant":
            replies[i] = chat.pop()["content"]
        heads.append(render(model.tokenizer, chat, model.name))
    # A chat template writes its own special tokens; a plain string gets the tokenizer's.
    chats = [i for i, prompt in enumerate(prompts) if not isinstance(prompt, str)]
    texts = [i for i, prompt in enumerate(prompts) if isinstance(prompt, str)]
    head_ids = _tokenised(model, {i: heads[i] for i in texts}, special=True)
    head_ids |= _tokenised(model, {i: heads[i] for i in chats}, special=False)
    reply_ids = _tokenised(model, replies, special=False)
    embedding = model.hf.get_input_embeddings()
    known = getattr(embedding, "num_embeddings", None) or len(embedding.weight)
    encoded = []
    for i in range(len(prompts)):
        ids = head_ids[i] + reply_ids.get(i, [])
        if not ids:
            raise DatasetError(f"prompt {i} has no tokens")
        if max(ids) >= known:
            beyond = sorted({token for token in ids if token >= known})
            raise ModelError(
                f"prompt {i} has the tokens {beyond}, but {model.name} embeds only {known}: after "
                "add_tokens, resize the model's embedding before it is loaded here"
            )
        if model.context_length and len(ids) > model.context_length:
            raise ContextLengthError(
                f"prompt {i} has {len(ids)} tokens, more than the {model.context_length} of "
                f"{model.name}'s context; shorten or drop it",
                len(ids), model.context_length, i,
            )  # fmt: skip
        encoded.append(Encoded(ids, len(head_ids[i])))
    return encoded


def _tokenised(model: Model, texts: dict[int, str], special: bool) -> dict[int, list[int]]:
    if not texts:
        return {}
    rows = model.tokenizer(list(texts.values()), add_special_tokens=special)["input_ids"]
    return dict(zip(texts, rows, strict=True))


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
