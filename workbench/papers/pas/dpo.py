"""The rival: DPO on one person's answers, an adapter per person (§4)."""

from dataclasses import dataclass

from workbench.data.respondents import Respondents
from workbench.models.model import Model
from workbench.papers.pas.answer import answers
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.prompts import SYSTEM, preference_pairs, texts
from workbench.training.adapter import dpo_adapter


@dataclass(frozen=True)
class Tuned:
    """One subject's model after DPO: `answers` to the test items, and what the training took.

    `losses` and `margins` per step, `pairs` of preference, `seconds` in all.
    """

    id: str
    answers: list[int]
    steps: int
    pairs: int
    seconds: float
    losses: list[float]
    margins: list[float]


def tune(
    model: Model, respondents: Respondents, subject: int, settings: Settings, seed: int
) -> Tuned:
    """DPO on one subject's train answers, then the test items without a persona prompt.

    Raises as `dpo_adapter`.
    """
    inventory = respondents.inventory
    train, test = inventory.split("train"), inventory.split("test")
    pairs = preference_pairs(
        inventory, train, respondents.values[subject, train],
        wording=settings.wording, orders=settings.orders,
    )  # fmt: skip
    statements = texts(inventory, test, settings.wording, lower=True)
    with dpo_adapter(model, pairs, steps=settings.dpo_steps, seed=seed) as training:
        (answered,) = answers(model, SYSTEM, statements, settings).tolist()
    return Tuned(
        id=respondents.ids[subject],
        answers=answered,
        steps=training.steps,
        pairs=len(pairs),
        seconds=training.seconds,
        losses=list(training.losses),
        margins=list(training.margins),
    )
