"""The model before anything is searched: whether it answers at all, or one letter throughout."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.data.inventories import Inventory
from workbench.generation.choices import entropy
from workbench.models.model import Model
from workbench.papers.pas.answer import answers, collapsed, distribution, values
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.prompts import LABELS, ORDERS, SYSTEM, texts

VALUES = np.arange(1, 6)


@dataclass(frozen=True)
class Unsteered:
    """The test statements answered without a persona.

    `answers` int `[statement]`: as the settings read them, 0 unreadable. `letters` float64
    `[order, statement, value]`: probabilities of the answers 1..5 under each of `ORDERS`.
    """

    answers: np.ndarray
    letters: np.ndarray

    def __str__(self) -> str:
        first, second = (self.letters @ VALUES).round(9)
        vary = np.ptp(first) > 0 and np.ptp(second) > 0
        alike = f"{np.corrcoef(first, second)[0, 1]:+.2f}" if vary else "not: one does not vary"
        held = (
            "mean answers by probability under the two option orders, correlated over statements: "
            f"{alike} (1: the statement decides; 0 or below: the letter)"
        )
        if not (how := collapsed(self.answers)):
            return (
                f"No persona, not steered: {entropy(self.answers):.2f} bits in the answers; {held}"
            )
        return (
            f"NOTE: no persona, not steered: {how}. Unless a persona or steering undoes that, what "
            "follows is a null result: it measures the letter, not the person. Take a better model "
            f"with -p model_id=HUB_ID_OR_FOLDER. What the letters' probabilities still hold: {held}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Per option order, and of both averaged, which the settings may read: how often each value
        is the likeliest, and its mean probability."""
        orders = [LABELS[by_letter[0]] for by_letter in ORDERS.values()]
        return [
            {
                "first option": name,
                **{f"answer {v}": float((p.argmax(1) == v - 1).mean()) for v in VALUES},
                **{f"p({v})": float(p[:, v - 1].mean()) for v in VALUES},
                "mean answer": float((p @ VALUES).mean()),
                "its spread": float((p @ VALUES).std()),
            }
            for name, p in zip(
                [*orders, "either, averaged"], [*self.letters, self.letters.mean(0)], strict=True
            )
        ]


def unsteered(model: Model, inventory: Inventory, settings: Settings) -> Unsteered:
    """Ask every test statement in both orders of the options; written replies as settings say."""
    statements = texts(inventory, inventory.split("test"), settings.wording, lower=True)
    letters = [distribution(model, SYSTEM, statements, (order,))[0] for order in ORDERS]
    by_order = dict(zip(ORDERS, letters, strict=True))
    if settings.decode == "letters":
        answered = values(np.mean([by_order[order] for order in settings.orders], 0))
    else:
        (answered,) = answers(model, SYSTEM, statements, settings)
    return Unsteered(answered, np.stack(letters))
