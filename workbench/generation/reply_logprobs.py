"""Log-probabilities of replies that are there: one forward of each, logits of a few tokens held."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from workbench.arguments import listed, truth
from workbench.errors import DatasetError
from workbench.generation.batch_forward import BatchForward
from workbench.generation.scoring import score
from workbench.generation.trials import plain
from workbench.models.head import Head
from workbench.models.model import Model
from workbench.models.prompts import Encoded, Prompt, encode_all
from workbench.models.token_ids import around

log = logging.getLogger(__name__)

_CHUNK = 256
"""Tokens whose logits are held at once."""
_IMPOSSIBLE = -1e4
"""A log-probability whose probability float32 rounds to 0, and whose square it holds."""


@dataclass(frozen=True, eq=False)
class ReplyLogprobs:
    """The T tokens of a reply, `ids` int64 `[T]`, and their `logprobs` float32 `[T]`, nats.

    With moments, `mean` and `variance` float32 `[T]`: of log p(v) for a token v that the model
    itself draws in that place.
    """

    ids: torch.Tensor
    logprobs: torch.Tensor
    mean: torch.Tensor | None = None
    variance: torch.Tensor | None = None


def reply_logprobs(
    model: Model,
    chats: Sequence[Prompt],
    *,
    moments: bool = False,
    batch_size: int | None = None,
) -> list[ReplyLogprobs]:
    """The log-probability of each token of every reply, in the order of `chats`.

    A chat ends in an assistant message, whose own tokens are scored (`prompts.encode_all`): not the
    end-of-turn token, which trainings count (SimPO's `logps` too) and a cut reply does not have. Of
    a plain string every token is scored but the first, which nothing precedes: the tokenizer's
    begin token, where it writes one. Inside `steer` the model is steered, per chat where alphas
    are, and the scored tokens are the generated ones.

    Softmax in float32 of 256 tokens at a time. Beginnings that chats share are computed once.
    `batch_size` caps rows per batch. `moments`: also μ = Σ p log p and σ² = Σ p (log p)² − μ² over
    the vocabulary; Fast-DetectGPT's curvature is (Σ log p(x) − Σ μ) / √Σ σ² (Bao et al. 2024,
    eq. 3, the model in both parts).

    Raises, before any forward, `DatasetError` for a chat that ends in no reply or an empty one and
    for what is no chat, of which `ContextLengthError` for one that is too long; `ModelError` for
    one that cannot be encoded; `ValueError` for one string in place of a list, or a batch size
    below 1. Then `GenerationError`, naming the chat, for log-probabilities that are not finite, and
    `MemoryError` for a chat that does not fit by itself.

    >>> (reply,) = wb.reply_logprobs(model, [[*question, {"role": "assistant", "content": "No."}]])
    >>> reply.logprobs.sum()  # nats
    """
    chats = listed("chats", chats, empty=True)
    truth("moments", moments)
    texts = [_begun(model, i, encoded, isinstance(chats[i], str))
             for i, encoded in enumerate(encode_all(model, chats))]  # fmt: skip
    counts = [len(text.ids) - text.start for text in texts]
    names = [f"chat {i}" for i in range(len(chats))]
    ends = logprobs_of_ends(model, texts, counts, names, moments=moments, batch_size=batch_size)
    return [
        ReplyLogprobs(torch.tensor(text.ids[text.start :]), *end.unbind(1))
        for text, end in zip(texts, ends, strict=True)
    ]


def _begun(model: Model, i: int, text: Encoded, unasked: bool) -> Encoded:
    """A text whose tokens from `start` on, one at least, are to be scored."""
    if unasked:
        before = around(model.tokenizer)[0]
        text = replace(text, start=max(1, len(before) * (text.ids[: len(before)] == before)))
    if text.start >= len(text.ids):
        lack = (
            "nothing precedes its only token" if unasked else "its last message is no assistant's"
        )
        raise DatasetError(
            f"chat {i} has nothing to score: {'its reply has no tokens' if text.replies else lack}"
        )
    return text


def logprobs_of_ends(
    model: Model,
    texts: Sequence[Encoded],
    counts: Sequence[int],
    names: Sequence[str],
    *,
    moments: bool = False,
    batch_size: int | None = None,
) -> list[torch.Tensor]:
    """float32 `[token, 1]`: log-probabilities of each text's last `counts` tokens, in nats.

    `[token, 3]` with `moments`: also mean and variance. `names`: what errors call the texts. Raises
    as `reply_logprobs` once it has encoded.
    """
    # From the token on that the first scored one follows, nothing is shared: each has its own.
    planned = [replace(text, ids=[*text.ids[: -count - 1], *[-1 - i] * (count + 1)])
               for i, (text, count) in enumerate(zip(texts, counts, strict=True))]  # fmt: skip

    def scores(batch: _Ends, rows: Sequence[int], logits: torch.Tensor) -> Sequence[torch.Tensor]:
        sizes = [counts[i] for i in rows]
        ids = torch.tensor([t for i, size in zip(rows, sizes, strict=True)
                            for t in texts[i].ids[-size:]])  # fmt: skip
        measured, at = [], 0
        for piece in batch.pieces(rows, sizes, logits):
            measured.append(_measured(piece, ids[at : at + len(piece)], moments))
            at += len(piece)
        return torch.cat(measured).split(sizes)

    return score(model, texts, names, scores, forward=_Ends, planned=planned, batch_size=batch_size)


class _Ends(BatchForward):
    """A forward that keeps the hidden states of a batch's rows, whose ends are then read."""

    def pieces(
        self, rows: Sequence[int], sizes: Sequence[int], logits: torch.Tensor
    ) -> Iterator[torch.Tensor]:
        """Yield logits `[n, vocab]`, in all those before the last `sizes` tokens of each row.

        `rows`: which texts they are. `logits`: what the model's own head has made.
        """
        if self.head.agrees(logits[:1], -2):
            ends = [states[-size - 1 : -1]
                    for states, size in zip(self.head.hidden, sizes, strict=True)]  # fmt: skip
            yield from map(self.head.logits, torch.cat(ends).split(_CHUNK))
            return
        log.warning(
            "%s: its logits are made of more than one hidden state each; those of a whole text are "
            "held, slowly", self.model.name,
        )  # fmt: skip
        for i, size in zip(rows, sizes, strict=True):
            ids, start = self.encoded[i].ids, self.encoded[i].start
            yield plain(self.model, i, start, ids[:-size], ids[-size:], self.total)[:-1]

    def _logits(self, *args: Any) -> torch.Tensor:
        self.head = Head(self.model)
        with self.head.set_apart(-2):
            return super()._logits(*args)


def _measured(logits: torch.Tensor, ids: torch.Tensor, moments: bool) -> torch.Tensor:
    """float32 `[n, 1 or 3]`, on the CPU: of `ids` `[n]`, from `logits` `[n, vocab]`."""
    logprobs = logits.float().log_softmax(-1)
    of_ids = logprobs.gather(1, ids[:, None].to(logits.device))
    if not moments:
        return of_ids.cpu()
    # Where a family rules a token out, 0 · −∞ would be NaN.
    logprobs = logprobs.clamp_(min=_IMPOSSIBLE)
    probabilities = logprobs.exp()
    mean = (probabilities * logprobs).sum(1, keepdim=True)
    variance = (probabilities * (logprobs - mean).square_()).sum(1, keepdim=True)
    return torch.cat([of_ids, mean, variance], 1).cpu()
