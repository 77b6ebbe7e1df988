"""The model before anything is searched: whether it answers at all, or one letter throughout."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from workbench.data.inventories import Inventory
from workbench.generation.choices import entropy
from workbench.models.model import Model
from workbench.papers.pas.answer import answers, collapsed, distribution
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
            f"NOTE: no persona, not steered: {how}. Unless steering undoes that the run will fail "
            "at its end: it would measure the letter, not the person. Take a better model with "
            f"-p model_id=HUB_ID_OR_FOLDER. What the letters' probabilities still hold: {held}"
        )

    def rows(self) -> list[dict[str, Any]]:
        """Per option order: how often each value is the likeliest, and its mean probability."""
        return [
            {
                "first option": LABELS[by_letter[0]],
                **{f"answer {v}": float((p.argmax(1) == v - 1).mean()) for v in VALUES},
                **{f"p({v})": float(p[:, v - 1].mean()) for v in VALUES},
                "mean answer": float((p @ VALUES).mean()),
                "its spread": float((p @ VALUES).std()),
            }
            for by_letter, p in zip(ORDERS.values(), self.letters, strict=True)
        ]


def unsteered(model: Model, inventory: Inventory, settings: Settings) -> Unsteered:
    """Ask every test statement once, in both orders of the options, and as the settings do."""
    statements = texts(inventory, inventory.split("test"), settings.wording, lower=True)
    letters = [distribution(model, SYSTEM, statements, (order,))[0] for order in ORDERS]
    (answered,) = answers(model, SYSTEM, statements, settings)
    return Unsteered(answered, np.stack(letters))
