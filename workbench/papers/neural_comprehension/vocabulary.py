"""What a tokenizer's tokens write: triggers that are parts of tokens, and answers as exact ids."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from workbench.errors import ModelError
from workbench.generation.ready_rules import spellings
from workbench.models.token_ids import PROBES, ids_of, special_ids
from workbench.models.tokenizer_state import tokenizer_digest
from workbench.papers.neural_comprehension.rules import SPECIAL

_TAIL = 16
"""Tokens before an answer that its ids are tried behind."""


class Vocabulary:
    """A tokenizer's tokens as text. `pieces` `[id]`: what each writes behind another token;
    `points`: those of full stops and commas alone.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.special = frozenset(special_ids(tokenizer))
        before = next(ids[-1:] for ids in ids_of(tokenizer, PROBES) if ids)
        head = self._decoded(before)
        count = max(len(tokenizer), *(i + 1 for i in tokenizer.get_vocab().values()))
        texts = tokenizer.batch_decode(
            [[*before, i] for i in range(count)], clean_up_tokenization_spaces=False
        )
        self.pieces = [text.removeprefix(head) for text in texts]
        for i in self.special:
            self.pieces[i] = SPECIAL
        self.points = [i for i, piece in enumerate(self.pieces) if piece and not piece.strip(".,")]

    def read(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens, and those it does not know, are `SPECIAL`."""
        known = len(self.pieces)
        if self.special.isdisjoint(ids) and max(ids, default=0) < known:
            return self._decoded(ids)
        parts = []
        for special, group in groupby(ids, lambda i: i in self.special or i >= known):
            run = list(group)
            parts.append(SPECIAL * len(run) if special else self._decoded(run))
        return "".join(parts)

    @lru_cache(maxsize=8)  # noqa: B019 - with the vocabulary, few are made
    def completing(self, triggers: frozenset[str]) -> list[int]:
        """The tokens in which one of `triggers` can end; those of spaces alone, too.

        Raises `ModelError` for a trigger that no token ends.
        """
        pieces = list(enumerate(self.pieces))
        hits = {i for i, piece in pieces if piece and not piece.strip(" ")}
        for trigger in triggers:
            ends = (*(trigger[k:] for k in range(1, len(trigger))),
                    *([] if trigger.isascii() else ["\ufffd"]))  # fmt: skip
            ending = {i for i, piece in pieces if trigger in piece or piece.startswith(ends)}
            if not ending:
                raise ModelError(f"the tokenizer has no token that ends {trigger!r}")
            hits |= ending
        return sorted(hits)

    @lru_cache(maxsize=8)  # noqa: B019
    def beginning(self, signs: str) -> list[int]:
        """The tokens that begin with one of `signs`, or with points and then one."""
        ends = (piece[:1] + piece.lstrip(".,")[:1] for piece in self.pieces)
        return [i for i, signed in enumerate(ends) if not set(signed).isdisjoint(signs)]

    def spelled(self, before: Sequence[int], text: str) -> list[int] | None:
        """Ids behind those `before` that write exactly `text`; None where there are none."""
        tail = list(before[-_TAIL:])
        wanted = self.read(tail) + text
        for ids in spellings(self.tokenizer, tail, text):
            if self.read([*tail, *ids]) == wanted:
                return ids
        if len(text) < 2:
            return None
        first = self.spelled(tail, text[0])
        rest = first and self.spelled([*tail, *first], text[1:])
        return [*first, *rest] if first and rest else None

    def _decoded(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """The tokenizer's, made once for each state it is in.

    Raises `ModelError` for a tokenizer that does not decode.
    """
    if not callable(getattr(tokenizer, "decode", None)):
        raise ModelError(f"{type(tokenizer).__name__} has no decode: a gate reads rows as text")
    return _made(tokenizer, tokenizer_digest(tokenizer))


@lru_cache(maxsize=8)
def _made(tokenizer: Any, state: str) -> Vocabulary:
    return Vocabulary(tokenizer)
