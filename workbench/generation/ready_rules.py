"""Ready rules: a text that is forced, no end too early, and processors of transformers."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessorList

from workbench.arguments import shown, whole
from workbench.errors import ModelError
from workbench.generation.decoding import end_tokens
from workbench.generation.rules import RowTokens, Rule
from workbench.generation.stop_strings import may_end
from workbench.hashing import canonical
from workbench.models.model import Model
from workbench.models.token_ids import PROBES, ids_of, require_text
from workbench.models.tokenizer_state import tokenizer_digest

# Bytes of a character, so many tokens at most.
_CHARACTER = 4
_UNFINISHED = "\ufffd"


@dataclass(frozen=True)
class ForcedText(Rule):
    """`text` comes next wherever a reply has just come to end with the text `after`; or once, where
    it has `after` new tokens (0: at once) and does not hold `text` yet.

    Special tokens are text here, `"</think>"` say. A token that goes on behind `after` ("=5" where
    it is "=") leaves no place; a character that `after` tokens leave unfinished is finished first.
    The ids are those the tokenizer gives `text` in one text with all that precedes it; where it
    would then write that otherwise, those behind some letter or digit.

    Raises `ValueError` for no text, and one behind which it would be forced again, without end.

    >>> rule = wb.ForcedText("</think>", after=400)  # so many tokens of reasoning at most
    >>> wb.complete(model, requests, store="samples.sqlite", rule=rule)
    """

    text: str
    after: str | int

    def __post_init__(self) -> None:
        after = self.after if isinstance(self.after, str) else whole("after", self.after, 0)
        object.__setattr__(self, "after", after)
        if not isinstance(self.text, str) or "" in (self.text, after):
            raise ValueError(f"text={shown(self.text)}, after={shown(after)}: a text is not empty")
        require_text("a ForcedText", self.text, str(after))
        if isinstance(after, str) and f"{after}{self.text}".endswith(after):
            raise ValueError(f"text={self.text!r} ends as after={after!r}: forced without end")

    def fingerprint(self) -> str:
        return canonical(["ForcedText", self.text, self.after])

    def steps(self) -> range | None:
        return None if isinstance(self.after, str) else range(self.after, self.after + _CHARACTER)

    def triggers(self, model: Model) -> Collection[int] | None:
        """The tokens that can complete `after`.

        Raises `ModelError` for a text that the tokenizer writes otherwise.
        """
        tokenizer = model.tokenizer
        for text in [self.text, *([self.after] if isinstance(self.after, str) else [])]:
            (ids,) = ids_of(tokenizer, [text])
            written = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            if not ids or "".join(written.split()) != "".join(text.split()):
                raise ModelError(f"{model.name}'s tokenizer writes {text!r} as {written!r}")
        if not isinstance(self.after, str):
            return None
        table = may_end(tokenizer, (self.after,), tokenizer_digest(tokenizer))
        return None if table.all() else table[:-1][: model.n_tokens].nonzero()[:, 0].tolist()

    def forced(self, model: Model, rows: Sequence[RowTokens]) -> list[list[int]]:
        tokenizer = model.tokenizer
        return [
            self._ids(tokenizer, [*row.prompt, *row.new])
            if self._comes_next(tokenizer.decode, row.new)
            else []
            for row in rows
        ]

    def _ids(self, tokenizer: Any, before: list[int]) -> list[int]:
        """Those of `text` behind these."""
        head = tokenizer.decode(before, clean_up_tokenization_spaces=False)
        alone, whole = ids_of(tokenizer, [self.text, head + self.text])
        if whole[: len(before)] == before:
            return whole[len(before) :]
        # Alone, some tokenizers would put a space before it.
        for sign in PROBES:
            start, whole = ids_of(tokenizer, [sign, sign + self.text])
            if whole[: len(start)] == start:
                return whole[len(start) :]
        return alone

    def _comes_next(self, decode: Callable[..., str], new: Sequence[int]) -> bool:
        if isinstance(self.after, str):
            # At most a token a byte, and some for a first one that is cut.
            return decode(new[-len(self.after.encode()) - 2 * _CHARACTER :]).endswith(self.after)
        texts = [decode(new[:length]) for length in range(self.after, len(new) + 1)]
        unfinished = [text.endswith(_UNFINISHED) for text in texts]
        ready = not unfinished[-1] or len(texts) == _CHARACTER
        return ready and all(unfinished[:-1]) and self.text not in texts[-1]


@dataclass(frozen=True)
class NoEndBefore(Rule):
    """No end token among the first `n` new tokens; stop strings end a reply as ever.

    Raises `ValueError` for an `n` below 1.

    >>> rule = wb.NoEndBefore(20)
    >>> wb.generate(model, prompts, max_new_tokens=64, rule=rule)
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", whole("n", self.n, 1))

    def fingerprint(self) -> str:
        return canonical(["NoEndBefore", self.n])

    def steps(self) -> range:
        return range(self.n)

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        ends = [token for token in end_tokens(model) if token < logits.shape[1]]
        return logits.index_fill(1, torch.tensor(ends, device=logits.device).long(), -torch.inf)


class ProcessorRule(Rule):
    """A `LogitsProcessor` of transformers, or a list of them, on each row by itself.

    It is called as `processor(ids, logits)`, int64 `[1, length]` with the prompt's and float32
    `[1, vocabulary]`: without pads, and in no order of rows, so that it can keep no state.
    `fingerprint` says in a store what it is and how it is set.

    Raises `ValueError` for what cannot be called.
    """

    def __init__(self, processor: Any, fingerprint: str | None = None) -> None:
        self.processors = processor if isinstance(processor, list) else [processor]
        if not self.processors or not all(map(callable, self.processors)):
            raise ValueError(f"processor={shown(processor)}: it must be one or a list of them")
        self.mark = fingerprint
        self.name = "+".join(type(each).__name__ for each in self.processors)

    def fingerprint(self) -> str | None:
        return self.mark

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        processors = LogitsProcessorList(self.processors)
        ids = [torch.tensor([[*row.prompt, *row.new]], device=logits.device) for row in rows]
        pairs = zip(ids, logits.split(1), strict=True)
        return torch.cat([processors(row, scores) for row, scores in pairs])
