"""Every text a model is shown: questions, system prompts, DPO's preference pairs (§2, §4)."""

from collections.abc import Sequence

import numpy as np

from workbench.data.inventories import Inventory, worded
from workbench.errors import DatasetError
from workbench.training.adapter import Pair

SYSTEM = "You are a helpful, honest and concise assistant."
OPENING = "Here are some of your behaviors and your level of recognition towards them;"
ASKED = 'Given a statement of you: "You '
REQUEST = '." Choose the option that says how accurately this describes you.\nOptions:\n'
NEUTRAL = 3
LETTERS = ("A", "B", "C", "D", "E")
LABELS = (
    "Unknown",
    "Very Inaccurate",
    "Moderately Inaccurate",
    "Neither Accurate Nor Inaccurate",
    "Moderately Accurate",
    "Very Accurate",
)
"""By value: 0 is a missing answer, 5 the most agreement."""
ORDERS = {"forward": (5, 4, 3, 2, 1), "reversed": (1, 2, 3, 4, 5)}
"""The value that each letter stands for; the paper has only the first."""
DESCRIBE = (
    "Describe this person in the second person, as if to their face, in a short fluent text. Do "
    "not use the words accurate and inaccurate."
)
"""The request for P²'s text; the answers stand in the system prompt."""
PREFILL = "Option ("
"""The reply up to the letter. The released code pre-fills `Option` alone and generates."""


def question(text: str, order: str = "forward") -> str:
    """The user's turn for one statement, worded for after "You", with five lines of options."""
    options = (f"({a}). {LABELS[v]}" for a, v in zip(LETTERS, ORDERS[order], strict=True))
    return ASKED + text + REQUEST + "\n".join(options)


def chat(system: str, text: str, reply: str, order: str = "forward") -> list[dict[str, str]]:
    """Messages that end in the (pre-filled) reply."""
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": question(text, order)},
        {"role": "assistant", "content": reply},
    ]


def texts(inventory: Inventory, items: Sequence[int], wording: str, lower: bool) -> list[str]:
    """Statements as they stand in the question; the paper lower-cases them when it scores."""
    out = [worded(inventory.items[i], wording) for i in items]
    return [t.lower() for t in out] if lower else out


def fewshot(inventory: Inventory, items: Sequence[int], values: np.ndarray, wording: str) -> str:
    """The system prompt of the few-shot baseline: `item:label` joined by semicolons (§2).

    `values`: int `[len(items)]`, 0 (missing) becomes `Unknown`.
    """
    statements = texts(inventory, items, wording, lower=False)
    labelled = [f"{t}:{LABELS[v]}" for t, v in zip(statements, values.tolist(), strict=True)]
    return OPENING + ";".join(labelled)


def portrait_request(system: str) -> list[dict[str, str]]:
    """Messages that ask for P²'s description of the person whose answers `system` lists."""
    return [{"role": "system", "content": system}, {"role": "user", "content": DESCRIBE}]


def preference_pairs(
    inventory: Inventory,
    items: Sequence[int],
    values: np.ndarray,
    *,
    wording: str = "second",
    orders: Sequence[str] = ("forward",),
    lower: bool = True,
) -> list[Pair]:
    """DPO's pairs: the person's own option against the opposite extreme (§4).

    Neutral and missing answers make none.

    `values`: int `[len(items)]`, 0 for missing. `lower`: statements as they stand when answers are
    scored. Raises `DatasetError` for a value outside 0..5.
    """
    out = []
    statements = texts(inventory, items, wording, lower)
    for order in orders:
        reply = {v: f"{PREFILL}{a})" for v, a in zip(ORDERS[order], LETTERS, strict=True)}
        for item, text, value in zip(items, statements, np.asarray(values).tolist(), strict=True):
            if value in (0, NEUTRAL):
                continue
            if value not in reply:
                raise DatasetError(f"item {item}: the answer is {value!r}; answers are 0 to 5")
            *prompt, chosen = chat(SYSTEM, text, reply[value], order)
            rejected = {**chosen, "content": reply[1 if value > NEUTRAL else 5]}
            out.append({"prompt": prompt, "chosen": [chosen], "rejected": [rejected]})
    return out
