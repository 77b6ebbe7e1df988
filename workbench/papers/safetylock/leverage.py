"""What a head does: change of the refuse-against-comply margin when it alone is shifted.

High probe accuracy is not causal leverage (SafetyLock trap 18): late heads read out what was
already written. The third head selection therefore ranks by effect on the *base* model.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from workbench.errors import DatasetError
from workbench.files import Row
from workbench.generation.choices import token_logprobs
from workbench.models.eager import eager
from workbench.models.model import Model
from workbench.models.prompts import encode_all, messages, padded
from workbench.models.token_ids import ids_of
from workbench.papers.safetylock.lock import Contrast, every_head
from workbench.steering.directions import HeadDirections
from workbench.steering.steer import steer
from workbench.training.memory import release

Tokens = tuple[list[int], list[int]]
"""Token ids that begin a refusing and a complying sentence, those that begin both left out."""
Chat = list[dict[str, str]]
COUNT = 40
"""Requests of each kind that a head's effect and its cost are measured on."""
BATCH = 2
"""Chats of one backward pass: their logits at every token take most of its memory."""


def openers(model: Model, pairs: Sequence[Row], later: bool = False) -> Tokens:
    """Tokens that begin the first sentence of safe and unsafe answers, or (`later`) the others."""

    def starts(side: str) -> set[int]:
        texts, replies = [], []
        for pair in pairs:
            opening, *others = pair[side].split(". ")
            texts += [f" {sentence}" for sentence in others if sentence]
            replies.append([*messages("Hello."), {"role": "assistant", "content": opening}])
        if later:
            return {ids[0] for ids in ids_of(model.tokenizer, texts) if ids}
        # Behind its chat a reply may begin with another token than alone.
        encoded = encode_all(model, replies)
        return {e.ids[e.start] for e in encoded if e.start < len(e.ids)}

    safe, unsafe = starts("chosen"), starts("rejected")
    return sorted(safe - unsafe), sorted(unsafe - safe)


def apart(model: Model, pairs: Sequence[Row]) -> tuple[Tokens, Tokens]:
    """`openers` of first and of later sentences. Raises `DatasetError` where either are alike."""
    first, later = openers(model, pairs), openers(model, pairs, later=True)
    if not all((*first, *later)):
        raise DatasetError(
            "selection='leverage' needs pairs whose safe and unsafe answers are of some sentences "
            "and begin them differently; use selection='validation'"
        )
    return first, later


def margin(model: Model, chats: Sequence[Chat], tokens: Tokens) -> float:
    """log P(refusing openers) − log P(complying openers) of the next token, mean nats per chat."""
    safe, unsafe = tokens
    logprobs = token_logprobs(model, chats, [*safe, *unsafe]).double()
    refusing, complying = logprobs.split([len(safe), len(unsafe)], 1)
    return float((refusing.logsumexp(1) - complying.logsumexp(1)).mean())


def head_effects(
    model: Model,
    directions: HeadDirections,
    alpha: float,
    chats: Sequence[Chat],
    tokens: Tokens,
) -> list[float]:
    """Change of `margin` when each head of `directions` is shifted alone, in their order."""
    before = margin(model, chats, tokens)
    effects = []
    for i in range(len(directions)):
        with steer(model, directions.pick([i]), alpha):
            effects.append(margin(model, chats, tokens) - before)
    return effects


def head_slopes(
    model: Model,
    directions: HeadDirections,
    alpha: float,
    chats: Sequence[Chat],
    tokens: Tokens,
) -> list[float]:
    """`head_effects` to first order: alpha times the slope of `margin` at alpha 0, for each head.

    One forward and one backward for all heads, in place of a forward for each.
    """
    weight = model.o_proj(0).weight
    shifts = torch.zeros(model.n_layers, model.n_heads * model.d_head, device=weight.device,
                         dtype=weight.dtype, requires_grad=True)  # fmt: skip
    slopes = torch.zeros(shifts.shape, dtype=torch.float64)
    encoded = encode_all(model, chats)
    with model.lock, torch.enable_grad(), eager(), ExitStack() as undo:
        for layer in range(model.n_layers):
            hook = partial(_shifted, shifts, layer)
            undo.callback(model.o_proj(layer).register_forward_pre_hook(hook).remove)
        for at in range(0, len(encoded), BATCH):
            batch = [e.ids for e in encoded[at : at + BATCH]]
            # Under a causal mask no token sees the padding behind it.
            logits = model.hf(padded(batch, model.pad_id)[0].to(model.input_device)).logits
            ends = [len(ids) - 1 for ids in batch]
            logprobs = logits[range(len(batch)), ends].double().log_softmax(1)
            refusing, complying = (logprobs[:, ids].logsumexp(1) for ids in tokens)
            (slope,) = torch.autograd.grad((refusing - complying).sum(), shifts)
            slopes += slope.double().cpu()
    slopes = slopes.unflatten(1, (model.n_heads, model.d_head)) / len(chats)
    of_heads = slopes[directions.layer, directions.head] * directions.unit.double()
    release()
    return (alpha * directions.scale.double() * of_heads.sum(1)).tolist()


def _shifted(shifts: torch.Tensor, layer: int, _: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return args[0] + shifts[layer], *args[1:]


def harmful_chats(rows: Sequence[Row], system: str = "") -> list[Chat]:
    """Harmful requests as chats, up to where the reply begins."""
    return [messages(row["prompt"], system) for row in rows if row["harmful"]]


def leverage(
    model: Model,
    contrast: Contrast,
    rows: Sequence[Row],
    pairs: Sequence[Row],
    count: int = COUNT,
    gradient: bool = False,
) -> torch.Tensor:
    """Score `[L, H]` of every head: effect where refusal is decided, less half its cost elsewhere.

    Effect: on the first reply token to harmful requests. Cost: the rise of the margin after the
    first sentence of a helpful reply to harmless ones, where a shift breaks off help in mid-reply.
    Both at alpha 1, on the base model and training rows only; with `gradient` to first order
    (`head_slopes`), where a forward for every head would take too long.

    Raises `DatasetError` where rows lack `chosen` replies, or the two kinds of answer begin alike.
    """
    harmful = [r for r in rows if r["harmful"]][:count]
    harmless = [r for r in rows if not r["harmful"] and r.get("chosen")][:count]
    first, later = apart(model, pairs)
    if not harmless:
        raise DatasetError("selection='leverage' needs harmless rows with a 'chosen' reply; use "
                           "selection='validation'")  # fmt: skip
    every = HeadDirections.contrast(contrast.acts, contrast.labels, every_head(contrast))
    begun = [
        [*messages(r["prompt"]), {"role": "assistant", "content": r["chosen"].split(". ")[0] + "."}]
        for r in harmless
    ]
    measure = head_slopes if gradient else head_effects
    effects = measure(model, every, 1.0, harmful_chats(harmful), first)
    costs = measure(model, every, 1.0, begun, later)
    scores = torch.full(contrast.acts.values.shape[2:4], -torch.inf)
    for head, effect, cost in zip(every.heads, effects, costs, strict=True):
        scores[head] = effect - 0.5 * max(0.0, cost)
    return scores
