"""How a model answers statements: by the letters' log-probabilities, or by what it writes."""

import re
from collections.abc import Sequence

import numpy as np
import torch

from workbench.generation.choices import Questions, ask, entropy, normalised, scored
from workbench.generation.complete import generate
from workbench.models.model import Model
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.prompts import LETTERS, ORDERS, PREFILL, chat
from workbench.steering.directions import HeadDirections
from workbench.steering.steer import steer

UNREADABLE = 0
"""A reply without a letter; scored like a missing answer, and counted."""
MIN_ENTROPY = 0.2
MAX_UNREADABLE = 0.15
NEW_TOKENS = 15
_LETTER = re.compile(r"([a-eA-E])[^a-zA-Z]")
_WINDOW = 12


def answers(
    model: Model,
    system: str,
    statements: Sequence[str],
    settings: Settings,
    *,
    direction: HeadDirections | None = None,
    alphas: Sequence[float] = (0.0,),
    together: bool = True,
) -> np.ndarray:
    """int `[alpha, statement]`: answers 1..5 by the settings' decoding; 0 for an unreadable reply.

    Without a `direction` the model answers as it is, in one row. `together`: see `distribution`.
    """
    if settings.decode == "letters":
        probabilities = distribution(
            model, system, statements, settings.orders,
            direction=direction, alphas=alphas, together=together,
        )  # fmt: skip
        return values(probabilities)
    (order,) = settings.orders
    if direction is None:
        return written(model, system, statements, order)[None]
    rows = []
    for alpha in alphas:
        with steer(model, direction, alpha):
            rows.append(written(model, system, statements, order))
    return np.stack(rows)


def distribution(
    model: Model,
    system: str,
    statements: Sequence[str],
    orders: Sequence[str],
    *,
    direction: HeadDirections | None = None,
    alphas: Sequence[float] = (0.0,),
    together: bool = True,
) -> np.ndarray:
    """float64 `[alpha, statement, value]`: probabilities of the answers 1..5, orders averaged.

    One forward per alpha, statement and order. `together` puts all alphas into one batch with an
    alpha for each row; else every alpha is folded in turn, and what all prompts begin with is
    computed once for each, which pays where that is long.
    """
    chats = [chat(system, text, PREFILL, order) for order in orders for text in statements]
    questions = ask(model, chats, LETTERS)
    if direction is None:
        logps = [scored(model, questions)]
    elif together:
        rows = [alpha for alpha in alphas for _ in chats]
        with steer(model, direction, rows):
            n = len(alphas)
            every = Questions(questions.encoded * n, questions.options.repeat(n, 1))
            logps = scored(model, every).chunk(n)
    else:
        logps = []
        for alpha in alphas:
            with steer(model, direction, alpha):
                logps.append(scored(model, questions))
    shape = (len(logps), len(orders), len(statements), len(LETTERS))
    by_letter = normalised(torch.stack(list(logps)).double()).numpy().reshape(shape)
    by_value = [by_letter[:, i][..., np.argsort(ORDERS[order])] for i, order in enumerate(orders)]
    return np.mean(by_value, axis=0)


def values(probabilities: np.ndarray) -> np.ndarray:
    """int `[..., statement]`: the likeliest answer, 1..5."""
    return probabilities.argmax(-1) + 1


def written(
    model: Model, system: str, statements: Sequence[str], order: str = "forward"
) -> np.ndarray:
    """int `[statement]`: answers as released, 15 greedy tokens after `Option`; 0 where unreadable.

    The model answers as it is steered now.
    """
    chats = [chat(system, text, "Option", order) for text in statements]
    replies = generate(model, chats, max_new_tokens=NEW_TOKENS)
    return np.array([parse(reply, order) for (reply,) in replies])


def parse(reply: str, order: str = "forward") -> int:
    """The value of the first letter a to e, either case, before a non-letter in 12 characters (§2).

    As released: any word that ends so counts ("Sure," is an E). 0 where there is none.
    """
    match = _LETTER.search(reply[:_WINDOW])
    return ORDERS[order][LETTERS.index(match[1].upper())] if match else UNREADABLE


def collapsed(answered: np.ndarray) -> str:
    """In words, how answers say nothing: constant, or unreadable; empty where they do not.

    `answered`: int `[statement]`, or `[subject, statement]`, where everybody may have a constant
    of their own. Less than 0.2 bit of entropy in a row, on average, or more than 15 % unreadable.
    """
    counts = {int(v): int((answered == v).sum()) for v in np.unique(answered)}
    unreadable = counts.get(UNREADABLE, 0) / answered.size
    readable = [row[row != UNREADABLE].tolist() for row in np.atleast_2d(answered)]
    bits = float(np.mean([entropy(row) if row else 0.0 for row in readable]))
    if unreadable <= MAX_UNREADABLE and bits >= MIN_ENTROPY:
        return ""
    return (
        f"the answers have collapsed ({bits:.2f} bits, {unreadable:.0%} unreadable; how often each "
        f"value, 0 for unreadable: {counts})"
    )
