"""Teaching a model to refuse, where it has no refusals of its own that a lock could restore."""

import random
from collections.abc import Sequence

from workbench.files import Row
from workbench.models.model import Model
from workbench.papers.safetylock.recipe import Recipe
from workbench.papers.safetylock.rows import require_answers
from workbench.papers.safetylock.tune import Tuned, tuned

HARMFUL, HARMLESS = 4, 4
"""Rows of either kind in a step."""


def taught(base: Model, rows: Sequence[Row], recipe: Recipe, seed: int = 0) -> Tuned:
    """A copy of `base` trained on the `chosen` answers: refusals to harmful rows, help to others.

    Raises `DatasetError` where no row of a kind has such an answer.
    """
    require_answers(rows)
    pools = [
        [row for row in rows if bool(row["harmful"]) == harmful and row.get("chosen")]
        for harmful in (True, False)
    ]
    rng = random.Random(seed)
    return tuned(
        base,
        f"{base.name}+refusals",
        lambda: [
            row
            for pool, count in zip(pools, (HARMFUL, HARMLESS), strict=True)
            for row in rng.sample(pool, min(count, len(pool)))
        ],
        lambda row: row["chosen"],
        recipe,
    )
