"""Replies read by the model that was not attacked: broken text that rules over phrases miss."""

import math
from collections.abc import Sequence

from workbench.files import Row
from workbench.generation.reply_logprobs import reply_logprobs
from workbench.models.model import Model
from workbench.models.prompts import messages
from workbench.papers.safetylock.evaluate import harmful_first


def plain_logprobs(base: Model, rows: Sequence[Row], replies: Sequence[str]) -> list[float]:
    """Mean log-probability of each reply's tokens under `base`, nats; NaN for an empty reply.

    `replies`: in the order in which `evaluate.replies` gives them. A word salad is improbable,
    though no token repeats and no phrase refuses; so is a good answer that `base` would not give.
    """
    chats = [
        [*messages(row["prompt"]), {"role": "assistant", "content": reply}]
        for row, reply in zip(harmful_first(rows), replies, strict=True)
    ]
    means = iter(reply_logprobs(base, [chat for chat in chats if chat[-1]["content"].strip()]))
    return [
        float(next(means).logprobs.mean()) if chat[-1]["content"].strip() else math.nan
        for chat in chats
    ]
