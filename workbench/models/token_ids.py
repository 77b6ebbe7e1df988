"""Texts to token ids: what a tokenizer puts around a text, a reply behind its chat, what is lost.

Every text is tokenised without special tokens; those that belong before a plain text are put there.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from workbench.errors import DatasetError, ModelError

log = logging.getLogger(__name__)

# A letter that hardly any vocabulary has.
_RARE = "\U00013080"
PROBES = ("a", "0", ".", "A", "的")
"""Of these one at least is a token of its own in any vocabulary."""


def require_text(what: str, *texts: str) -> None:
    """Raise `DatasetError` where a text holds half of a surrogate pair: no tokenizer takes it."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise DatasetError(
                f"{what} holds {text[error.start]!a}, half of a surrogate pair, which is no text: "
                "mend or leave it out"
            ) from None


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, special tokens only where the text spells them."""
    # Of an empty list transformers makes one empty text, or fails.
    return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []


def around(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer puts before a plain text, and those behind it.

    Those behind it (an end token, a separator) say that the text is over: they are never read, and
    nothing is generated behind them.

    Raises `ModelError` where they are not put before and behind.
    """
    for text, inner in zip(PROBES, ids_of(tokenizer, PROBES), strict=True):
        outer, n = tokenizer(text)["input_ids"], len(inner)
        starts = [k for k in range(len(outer) - n + 1) if outer[k : k + n] == inner]
        if n and len(starts) == 1:
            return outer[: starts[0]], outer[starts[0] + n :]
    raise ModelError(
        f"the tokenizer makes {outer} of {text!r} with special tokens and {inner} without: it is "
        "not known where a text ends. Set tokenizer.backend_tokenizer.post_processor"
    )


def special_ids(tokenizer: Any, among: Collection[int] | None = None) -> dict[int, str]:
    """Tokens that never show in a completion's text, by id: those that decoding leaves out.

    `among`: only of these.
    """
    added = {i: text for text, i in tokenizer.get_added_vocab().items()}
    return _hidden(tokenizer, {i: t for i, t in added.items() if among is None or i in among})


def _hidden(tokenizer: Any, added: dict[int, str]) -> dict[int, str]:
    rows = [[i] for i in added]
    shown = tokenizer.batch_decode(rows, skip_special_tokens=True) if rows else []
    return {i: added[i] for (i,), text in zip(rows, shown, strict=True) if added[i] and not text}


def end_token(tokenizer: Any) -> str:
    """The text of the end token. Raises `ModelError` where the tokenizer has none to train with."""
    if tokenizer.eos_token is None:
        raise ModelError(
            "the tokenizer has no end token, without which no reply is taught to end: set "
            "tokenizer.eos_token"
        )
    return tokenizer.eos_token


def require_pad(tokenizer: Any, n_tokens: int) -> None:
    """Raise `ModelError` unless a trainer can fill rows with the tokenizer's pad token.

    `n_tokens`: how many the model embeds.
    """
    pad = tokenizer.pad_token_id
    if pad not in range(n_tokens):
        raise ModelError(
            f"the tokenizer's pad token {tokenizer.pad_token!r} has the id {pad}, and the model "
            f"embeds {n_tokens} tokens: set tokenizer.pad_token to one of them, or resize the "
            "model's embedding"
        )


def reply_ids(
    tokenizer: Any, heads: Sequence[str], head_ids: Sequence[list[int]], replies: Mapping[int, str]
) -> dict[int, list[int]]:
    """Token ids of each reply, by its chat's place in `heads` (texts) and `head_ids`.

    As the tokens behind those of the chat in one text. Where a token would span the end of the chat
    the reply is tokenised apart, as the model would write it: it cannot take back a token.
    """
    added = {i: text for text, i in tokenizer.get_added_vocab().items()}
    marks, tails = {}, {}
    for i in replies:
        # Nothing before an added token changes what is behind it.
        mark = next((added[t] for t in reversed(head_ids[i]) if t in added), "")
        place = heads[i].rfind(mark) if mark else 0
        marks[i], tails[i] = mark, heads[i][max(place, 0) :]
    different = list(dict.fromkeys(tails.values()))
    ids_of_tail = dict(zip(different, ids_of(tokenizer, different), strict=True))
    wholes = ids_of(tokenizer, [tails[i] + reply for i, reply in replies.items()])
    out = {}
    for (i, reply), whole in zip(replies.items(), wholes, strict=True):
        tail = ids_of_tail[tails[i]]
        if head_ids[i][-len(tail) :] == tail == whole[: len(tail)]:
            out[i] = whole[len(tail) :]
        else:
            out[i] = _apart(tokenizer, marks[i] or next(iter(added.values()), ""), reply)
    return out


def _apart(tokenizer: Any, mark: str, reply: str) -> list[int]:
    """A reply behind an added token: alone, some tokenizers would put a space before it."""
    alone, marks, marked = ids_of(tokenizer, [reply, mark, mark + reply])
    return marked[len(marks) :] if len(marks) == 1 and marked[:1] == marks else alone


def warn_of_losses(tokenizer: Any, texts: Sequence[str], ids: Sequence[Sequence[int]]) -> None:
    """Log how many texts hold characters that the tokenizer has no token for, and the first."""
    if not texts:
        return
    unknown = tokenizer.unk_token_id
    lost = [
        i
        for i, (text, row) in enumerate(zip(texts, ids, strict=True))
        if unknown in row and str(tokenizer.unk_token) not in text
    ]
    dropping, plain = ids_of(tokenizer, [f"a{_RARE}", "a"])
    if not lost and dropping == plain:
        # White space is often left out on purpose.
        signs = sorted({c for text in texts for c in text if not c.isspace()})
        rows = ids_of(tokenizer, [f"a{c}" for c in signs])
        left_out = {c for c, row in zip(signs, rows, strict=True) if row == plain}
        lost = [i for i, text in enumerate(texts) if not left_out.isdisjoint(text)]
    if lost:
        log.warning(
            "%d of %d prompts hold characters that the tokenizer has no token for: it %s "
            "(the first is prompt %d)", len(lost), len(texts),
            f"reads {tokenizer.unk_token}" if unknown is not None else "leaves them out", lost[0],
        )  # fmt: skip


def warn_of_tokens_typed(tokenizer: Any, contents: Mapping[int, Sequence[str]]) -> None:
    """Log which special tokens are spelled in chats' messages: they are read as the tokens."""
    every = "\0".join(text for texts in contents.values() for text in texts)
    spelled = {i: text for text, i in tokenizer.get_added_vocab().items() if text in every}
    typed = list(_hidden(tokenizer, spelled).values())
    places = [i for i, texts in contents.items() if any(t in x for t in typed for x in texts)]
    if places:
        log.warning(
            "%d prompts spell %s in a message (the first is prompt %d): it is read as the special "
            "token, as where the template writes it", len(places), ", ".join(typed[:5]), places[0],
        )  # fmt: skip
