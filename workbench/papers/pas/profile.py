"""Trait levels or a few answers of one person to a respondent, and back to trait levels."""

from collections.abc import Mapping, Sequence

import numpy as np

from workbench.data.inventories import Inventory
from workbench.data.keying import Keying, reverse
from workbench.data.respondents import Respondents
from workbench.errors import DatasetError


def answers_of(levels: Mapping[str, float], inventory: Inventory) -> np.ndarray:
    """int8 `[item]`, raw agreement 1..5 of somebody at these trait levels (1 to 5).

    An item's answer is the level, turned for items of sign −1; between two whole numbers answers
    alternate so that every trait's mean comes as near to its level as whole answers can. Raises
    `DatasetError` for a level outside 1..5, a trait that is missing or one the items do not have.
    """
    if unknown := [t for t in levels if t not in inventory.traits]:
        raise DatasetError(f"trait {unknown[0]} is none of {', '.join(inventory.traits)}")
    out = np.zeros(len(inventory.items), np.int8)
    for trait in inventory.traits:
        level = levels.get(trait, 0.0)
        if not 1 <= level <= 5:
            raise DatasetError(f"trait {trait}: level {level:g}; levels go from 1 to 5")
        for split in ("train", "test"):
            owed = 0.0
            for place in inventory.split(split):
                item = inventory.items[place]
                if item.trait == trait:
                    owed += level
                    value = min(max(round(owed), 1), 5)
                    owed -= value
                    out[place] = value if item.sign > 0 else 6 - value
    return out


def person(values: np.ndarray, inventory: Inventory, name: str = "you") -> Respondents:
    """A single respondent of raw agreement `[item]`, 0 where an item was not answered."""
    keying = Keying("raw", 0.0, 0.0, 0, stated=True)
    return Respondents(inventory, values[None].astype(np.int8), (name,), "raw", keying)


def questionnaire(inventory: Inventory, per_trait: int = 4) -> list[int]:
    """Places of a short form: train items, `per_trait` of each trait, both signs by turns."""
    chosen = []
    for trait in inventory.traits:
        items = [p for p in inventory.split("train") if inventory.items[p].trait == trait]
        sides = [[p for p in items if inventory.items[p].sign == s] for s in (1, -1)]
        turns = [p for pair in zip(*sides, strict=False) for p in pair]
        rest = [p for p in items if p not in turns]
        chosen += (turns + rest)[:per_trait]
    return chosen


def trait_means(
    values: np.ndarray, places: Sequence[int], inventory: Inventory, targets: str = "raw"
) -> dict[str, float]:
    """Trait → mean of answers `[place]` to items `places`, so that more is more of it; 0 is unread.

    `targets`: whether values are raw agreement. Traits without an answer are left out.
    """
    sign = inventory.sign[list(places)]
    turned = (sign < 0) & (targets == "raw")
    keyed = np.where(turned & (values > 0), 6 - values, values)
    trait = inventory.trait_of(places)
    means = {}
    for k, name in enumerate(inventory.traits):
        mine = keyed[(trait == k) & (values > 0)]
        if len(mine):
            means[name] = float(mine.mean())
    return means


def facet_means(respondents: Respondents, subject: int) -> dict[str, float]:
    """`trait: facet` → mean of all the subject's answers, 1 to 5, so that more is more of it."""
    values, inventory = respondents.values[subject], respondents.inventory
    keyed = reverse(values[None], inventory)[0] if respondents.targets == "raw" else values
    by_facet: dict[str, list[int]] = {}
    for item, value in zip(inventory.items, keyed.tolist(), strict=True):
        if value:
            by_facet.setdefault(f"{item.trait}: {item.facet}", []).append(value)
    return {name: float(np.mean(v)) for name, v in sorted(by_facet.items())}
