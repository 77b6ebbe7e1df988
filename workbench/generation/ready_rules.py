"""Ready rules: a text that is forced, no end too early, and processors of transformers."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from workbench.arguments import shown, whole
from workbench.errors import ModelError
from workbench.generation.decoding import end_tokens
from workbench.generation.rules import RowTokens, Rule
from workbench.generation.stop_strings import may_end
from workbench.hashing import canonical
from workbench.models.model import Model
from workbench.models.token_ids import PROBES, ids_of, require_text
from workbench.models.tokenizer_state import tokenizer_digest


@dataclass(frozen=True)
class ForcedText(Rule):
    """`text` comes next wherever a reply has just come to end with the text `after`; or once, where
    it has `after` new tokens (0: at once) and does not hold `text` yet.

    Special tokens are text here, `"</think>"` say. A token that goes on behind `after` ("=5" where
    it is "=") leaves no place. The ids are those the tokenizer gives `text` behind what precedes
    it; where it would then write that otherwise, those behind some letter or digit.

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
        if isinstance(after, int):
            object.__setattr__(self, "steps", range(after, after + 1))
        elif f"{after}{self.text}".endswith(after):
            raise ValueError(f"text={self.text!r} ends as after={after!r}: forced without end")

    def fingerprint(self) -> str:
        return canonical(["ForcedText", self.text, self.after])

    def triggers(self, model: Model) -> Collection[int] | None:
        """The tokens that can complete `after`.

        Raises `ModelError` for a text that the tokenizer writes otherwise.
        """
        tokenizer = model.tokenizer
        texts = [text for text in (self.text, self.after) if isinstance(text, str)]
        for text, ids in zip(texts, ids_of(tokenizer, texts), strict=True):
            written = _written(tokenizer, ids)
            if not ids or "".join(written.split()) != "".join(text.split()):
                raise ModelError(f"{model.name}'s tokenizer writes {text!r} as {written!r}")
        if not isinstance(self.after, str):
            return None
        table = may_end(tokenizer, (self.after,), tokenizer_digest(tokenizer))
        return None if table.all() else table[:-1][: model.n_tokens].nonzero()[:, 0].tolist()

    def forced(self, model: Model, rows: Sequence[RowTokens]) -> list[list[int]]:
        tokenizer, out = model.tokenizer, []
        for row in rows:
            new = tokenizer.decode(row.new)
            due = new.endswith(self.after) if isinstance(self.after, str) else self.text not in new
            before = [*row.prompt, *row.new]
            out.append(next(spellings(tokenizer, before, self.text)) if due else [])
        return out


def spellings(tokenizer: Any, before: Sequence[int], text: str) -> Iterator[list[int]]:
    """Ids of `text` behind the ids `before`, the likeliest first; not all need write it exactly."""
    # Alone, some tokenizers would put a space before it.
    for head in (_written(tokenizer, before), *PROBES):
        ids, longer = ids_of(tokenizer, [head, head + text])
        if longer[: len(ids)] == ids:
            yield longer[len(ids) :]
    yield ids_of(tokenizer, [text])[0]


def _written(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


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
        object.__setattr__(self, "steps", range(self.n))

    def fingerprint(self) -> str:
        return canonical(["NoEndBefore", self.n])

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        ends = [token for token in end_tokens(model) if token < logits.shape[1]]
        return logits.index_fill(1, torch.tensor(ends, device=logits.device).long(), -torch.inf)


class ProcessorRule(Rule):
    """A `LogitsProcessor` of transformers, or a `LogitsProcessorList`, on each row by itself.

    It is called as `processor(ids, logits)`, int64 `[1, length]` with the prompt's and float32
    `[1, vocabulary]`: without pads, and in no order of rows, so that it can keep no state.
    `fingerprint` says in a store what it is and how it is set.

    Raises `ValueError` for anything else.
    """

    def __init__(self, processor: Any, fingerprint: str | None = None) -> None:
        if not isinstance(processor, LogitsProcessor | LogitsProcessorList):
            raise ValueError(f"processor={shown(processor)}: a LogitsProcessor or a list of them")
        self.processor, self.mark = processor, fingerprint

    def fingerprint(self) -> str | None:
        return self.mark

    def logits(self, model: Model, rows: Sequence[RowTokens], logits: torch.Tensor) -> torch.Tensor:
        ids = [torch.tensor([[*row.prompt, *row.new]], device=logits.device) for row in rows]
        pairs = zip(ids, logits.split(1), strict=True)
        return torch.cat([self.processor(row, scores) for row, scores in pairs])
