"""Teaching a model to refuse, where it has no refusals of its own that a lock could restore."""

import random
from collections.abc import Sequence

from workbench.errors import DatasetError
from workbench.files import Row
from workbench.models.model import Model
from workbench.papers.safetylock.paper import Recipe
from workbench.papers.safetylock.tune import Tuned, tuned

HARMFUL, HARMLESS = 3, 5
"""Rows of either kind in a step: with as many harmful ones too much else is refused."""


def taught(base: Model, rows: Sequence[Row], recipe: Recipe, seed: int = 0) -> Tuned:
    """A copy of `base` trained on the `chosen` answers: refusals to harmful rows, help to others.

    Raises `DatasetError` for rows of either kind without such an answer.
    """
    pools = []
    for harmful, kind, count in ((True, "harmful", HARMFUL), (False, "harmless", HARMLESS)):
        pool = [row for row in rows if bool(row["harmful"]) == harmful and row.get("chosen")]
        pools.append((pool, min(count, len(pool))))
        if not pool:
            raise DatasetError(
                f"no {kind} training request has a 'chosen' answer, from which the model could be "
                "taught what to refuse: give them, or align_steps=0 for a model that refuses"
            )
    rng = random.Random(seed)
    return tuned(
        base,
        f"{base.name}+refusals",
        lambda: [row for pool, count in pools for row in rng.sample(pool, count)],
        lambda row: row["chosen"],
        recipe,
    )
