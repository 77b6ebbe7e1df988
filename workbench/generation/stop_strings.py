"""Stop strings: where a completion ends, and which rows of a batch are worth decoding to see it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch

from workbench.errors import ModelError
from workbench.models.token_ids import ids_of, require_text, special_ids
from workbench.models.tokenizer_state import tokenizer_digest

# A stop may begin inside the tokens before the last one and split over several.
_TAIL_TOKENS = 8


def cut(text: str, stops: tuple[str, ...]) -> str | None:
    """The text before its first stop string, None where there is none.

    White space that a completion begins with does not count: many models open with a newline.
    """
    lead = len(text) - len(text.lstrip())
    starts = [at for stop in stops if (at := text.find(stop, lead)) >= 0]
    return text[: min(starts)] if starts else None


def stop_tokens(tokenizer: Any, stops: tuple[str, ...]) -> frozenset[int]:
    """The special tokens among `stops`, which no completion's text holds: each ends one itself.

    Raises `ModelError` for a stop that holds such a token beside other text, `DatasetError` for one
    that holds half of a surrogate pair.
    """
    require_text(f"stop={stops!a}", *stops)
    added = tokenizer.get_added_vocab()
    # A tokenizer may be set to split the special tokens that a text spells.
    rows = [
        [added[stop]] if stop in added else row
        for stop, row in zip(stops, ids_of(tokenizer, stops), strict=True)
    ]
    special = special_ids(tokenizer, {token for row in rows for token in row})
    for stop, row in zip(stops, rows, strict=True):
        held = [special[token] for token in row if token in special]
        if held and len(row) > 1:
            raise ModelError(
                f"stop {stop!r} holds the special token {held[0]!r}, which no completion's text "
                "does: give the token by itself"
            )
    return frozenset(row[0] for row in rows if row and row[0] in special)


class StopWatch:
    """Tells which rows of a running batch have just completed a stop string.

    `tokens`: the stops that are special tokens.
    """

    def __init__(self, tokenizer: Any, stops: tuple[str, ...]) -> None:
        self.tokenizer = tokenizer
        self.stops = stops
        self.tokens = stop_tokens(tokenizer, stops)
        # Decoders and vocabularies are edited in place.
        self.may_end = may_end(tokenizer, stops, tokenizer_digest(tokenizer)) if stops else None
        # A character may take as many tokens as it has bytes.
        self.tail = _TAIL_TOKENS + max((len(s.encode()) for s in stops), default=0)

    def check(self, tokens: torch.Tensor, rows: Sequence[Sequence[int]]) -> list[int]:
        """Rows (places in `rows`, each the ids so far) that now hold a stop; `tokens` are the last.

        Only rows whose last token holds the last character of a stop are decoded.
        """
        if self.may_end is None:
            return []
        # Models have more tokens than their tokenizers know.
        last = tokens.cpu().clamp(max=len(self.may_end) - 1)
        near = self.may_end[last].nonzero().flatten().tolist()
        tails = self._texts([rows[i][-self.tail :] for i in near])
        near = [i for i, t in zip(near, tails, strict=True) if any(s in t for s in self.stops)]
        texts = self._texts([rows[i] for i in near])
        return [i for i, t in zip(near, texts, strict=True) if cut(t, self.stops) is not None]

    def _texts(self, rows: list[Sequence[int]]) -> list[str]:
        # Of an empty list transformers makes one empty text.
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True) if rows else []


@lru_cache(maxsize=16)
def may_end(tokenizer: Any, stops: tuple[str, ...], state: str) -> torch.Tensor:
    """bool `[vocabulary]`: could this token complete one of the stops?"""
    ends = {stop[-1] for stop in stops}
    count = max(len(tokenizer), *tokenizer.get_vocab().values()) + 1
    if any(end.isspace() and end != "\n" for end in ends):
        return torch.ones(count, dtype=torch.bool)  # decoders drop the space a token begins with
    pieces = tokenizer.batch_decode([[i] for i in range(count - 1)])
    # A replacement character is part of a character that later tokens complete.
    flags = [any(end in piece for end in (*ends, "\ufffd")) for piece in pieces]
    return torch.tensor([*flags, True])
