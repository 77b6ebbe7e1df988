"""Log-probabilities of replies that are there: one forward of each, logits of a few tokens held."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from workbench.arguments import listed, truth
from workbench.errors import DatasetError, ModelError
from workbench.generation.scoring import score
from workbench.models.head import Head
from workbench.models.model import Model
from workbench.models.prompts import Encoded, Prompt, encode_all
from workbench.models.token_ids import around

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

    A chat ends in an assistant message, whose own tokens are scored (`prompts.encode_all`), not the
    end-of-turn token; of a plain string every token but those that the tokenizer begins a text
    with, or the first. Inside `steer` the model is steered, per chat where alphas are. Beginnings
    that chats share are computed once, logits of 256 tokens held. `batch_size` caps rows per batch.

    `moments`: also μ = Σ p log p and σ² = Σ p (log p)² − μ² over the vocabulary; Fast-DetectGPT's
    curvature is (Σ log p(x) − Σ μ) / √Σ σ² (Bao et al. 2024, eq. 3, the model in both parts).

    Raises, before any forward, `DatasetError` for a chat that ends in no reply or an empty one and
    for what is no chat, of which `ContextLengthError` for one that is too long; `ModelError` for
    one that cannot be encoded. Then `GenerationError`, naming the chat, for log-probabilities that
    are not finite, `ModelError` for a model whose logits hooks change, and `MemoryError` for a chat
    that does not fit by itself.

    >>> (reply,) = wb.reply_logprobs(model, [[*question, {"role": "assistant", "content": "No."}]])
    >>> reply.logprobs.sum()  # nats
    """
    chats = listed("chats", chats, empty=True)
    truth("moments", moments)
    texts = [
        replace(text, start=_start(model, i, chat, text))
        for i, (chat, text) in enumerate(zip(chats, encode_all(model, chats), strict=True))
    ]
    counts = [len(text.ids) - text.start for text in texts]
    names = [f"chat {i}" for i in range(len(chats))]
    ends = logprobs_of_ends(model, texts, counts, names, moments=moments, batch_size=batch_size)
    return [
        ReplyLogprobs(torch.tensor(text.ids[text.start :]), *end.unbind(1))
        for text, end in zip(texts, ends, strict=True)
    ]


def _start(model: Model, i: int, chat: Prompt, text: Encoded) -> int:
    """The first token to be scored; `DatasetError` where there is none."""
    start = max(1, len(around(model.tokenizer)[0])) if isinstance(chat, str) else text.start
    if start >= len(text.ids):
        raise DatasetError(
            f"chat {i} has nothing to score: end it in an assistant message with text; of a plain "
            "string a token that nothing precedes is not scored"
        )
    return start


def logprobs_of_ends(
    model: Model,
    texts: Sequence[Encoded],
    counts: Sequence[int],
    names: Sequence[str],
    *,
    moments: bool = False,
    best: bool = False,
    batch_size: int | None = None,
) -> list[torch.Tensor]:
    """float32 `[token, 1]`: log-probabilities of each text's last `counts` tokens, in nats.

    `moments`: two columns more, mean and variance; `best`: one more, the likeliest token's.
    `names`: what errors call the texts.
    """
    head = Head(model)
    # From the token on that the first scored one follows, nothing is shared: each has its own.
    planned = [replace(text, ids=[*text.ids[: -count - 1], *[-1 - i] * (count + 1)])
               for i, (text, count) in enumerate(zip(texts, counts, strict=True))]  # fmt: skip

    def scores(rows: Sequence[int], logits: torch.Tensor) -> Sequence[torch.Tensor]:
        if not head.agrees(logits[:1]):
            raise ModelError(
                f"{model.name}: its logits are not made of one hidden state each by the head of "
                "its class; remove the hooks that change them, or the forward that replaces its own"
            )
        sizes = [counts[i] for i in rows]
        states = [row[-size - 1 : -1] for row, size in zip(head.hidden, sizes, strict=True)]
        ids = torch.tensor([t for i in rows for t in texts[i].ids[-counts[i] :]])
        pieces = zip(torch.cat(states).split(_CHUNK), ids.split(_CHUNK), strict=True)
        measured = [_measured(head.logits(hidden), some, moments, best) for hidden, some in pieces]
        return torch.cat(measured).split(sizes)

    return score(
        model, texts, names, scores,
        within=head.set_apart, planned=planned, batch_size=batch_size,
    )  # fmt: skip


def _measured(logits: torch.Tensor, ids: torch.Tensor, moments: bool, best: bool) -> torch.Tensor:
    """float32 `[n, 1 to 4]`, on the CPU: of `ids` `[n]`, from `logits` `[n, vocab]`."""
    logprobs = logits.float().log_softmax(-1)
    of_ids = logprobs.gather(1, ids[:, None].to(logits.device))
    if best:
        of_ids = torch.cat([of_ids, logprobs.amax(1, keepdim=True)], 1)
    if not moments:
        return of_ids.cpu()
    # Where a family rules a token out, 0 · −∞ would be NaN.
    logprobs = logprobs.clamp_(min=_IMPOSSIBLE)
    probabilities = logprobs.exp()
    mean = (probabilities * logprobs).sum(1, keepdim=True)
    variance = (probabilities * (logprobs - mean).square_()).sum(1, keepdim=True)
    return torch.cat([of_ids, mean, variance], 1).cpu()
