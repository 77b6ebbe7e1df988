"""Activations of agreeing and of disagreeing with a statement, captured once for all subjects."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from workbench.activations.capture import Activations, capture
from workbench.data.inventories import Inventory
from workbench.errors import ModelError
from workbench.models.model import Model
from workbench.models.prompts import encode_all, last
from workbench.papers.pas.prompts import LETTERS, ORDERS, SYSTEM, chat, texts

AGREE, DISAGREE = 5, 1


@dataclass(frozen=True)
class AnswerContrast:
    """Activations at the answer letter: `acts` holds, for every train item, agreement then not.

    `acts`: site `"heads"`, prompts `2 * item (+ 1)`; option orders are averaged. `items`: their
    indices in the inventory, in the paper's order.
    """

    acts: Activations
    items: tuple[int, ...]

    @property
    def delta(self) -> torch.Tensor:
        """float32 `[item, L, H, d_head]`: agreement minus disagreement."""
        values = self.acts.values[:, 0].float()
        return values[0::2] - values[1::2]


def contrast_answers(
    model: Model,
    inventory: Inventory,
    *,
    items: Sequence[int] | None = None,
    wording: str = "second",
    orders: Sequence[str] = ("forward",),
) -> AnswerContrast:
    """Capture each answer to each train item: the reply is the letter alone, and read there (§2).

    Two forwards per item and option order.

    Raises `ModelError` where the tokenizer makes the same tokens of both answers to an item, or not
    exactly one of a letter. (What the chat template does with replies does not matter: see
    `prompts.encode_all`.)
    """
    items = list(inventory.split("train") if items is None else items)
    statements = texts(inventory, items, wording, lower=False)
    by_order = []
    for order in orders:
        letter = dict(zip(ORDERS[order], LETTERS, strict=True))
        chats = [
            chat(SYSTEM, text, letter[value], order)
            for text in statements
            for value in (AGREE, DISAGREE)
        ]
        _check(model, chats)
        acts = capture(model, chats, site="heads", positions=last(1))
        by_order.append(acts.values.float())
    return AnswerContrast(replace(acts, shards=(torch.stack(by_order).mean(0),)), tuple(items))


def _check(model: Model, chats: Sequence[list[dict[str, str]]]) -> None:
    """Refuse answers that are the same tokens, or more than one."""
    encoded = encode_all(model, chats)
    for a, e, messages in zip(encoded[0::2], encoded[1::2], chats[0::2], strict=True):
        if a.ids == e.ids:
            raise ModelError(
                f"{model.name}: both answers to {messages[1]['content'][:60]!r}… are the same "
                "tokens, so that there is no direction: the tokenizer does not tell them apart"
            )
        if len(a.ids) - a.start != 1 or len(e.ids) - e.start != 1:
            raise ModelError(
                f"{model.name}: an answer letter is not one token after the template (ids "
                f"{a.ids[a.start :]} and {e.ids[e.start :]}); the letter could not be read alone"
            )
