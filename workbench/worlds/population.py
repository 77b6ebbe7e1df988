"""A population of Brindle: traits, and how its people answer a questionnaire.

An answer is round(level of the item + yea-saying of the person + sign · load · trait + noise),
clipped to 1..5: traits are standard normal, yea-saying has a standard deviation of 0.3, noise 0.4.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from workbench.data.inventories import Inventory

YEA, NOISE = 0.3, 0.4
"""Standard deviations of yea-saying and of the noise."""


@dataclass(frozen=True)
class People:
    """People and what they answer.

    `answers` int8 `[person, item]`, 1 to 5; `odds` float64 `[person, item, 5]` of each answer given
    who they are; `traits` float64 `[person, 5]`, in the inventory's order.
    """

    answers: np.ndarray
    odds: np.ndarray
    traits: np.ndarray


@dataclass(frozen=True)
class Population:
    """Items' levels and loads, drawn once by `seed`; `draw` gives people and their answers."""

    inventory: Inventory
    seed: int = 0

    @cached_property
    def _items(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(self.seed)
        n = len(self.inventory.items)
        return 3.2 + rng.uniform(-0.4, 0.4, n), rng.uniform(0.7, 1.1, n)

    def draw(self, rng: np.random.Generator, count: int) -> People:
        """Draw new people, their answers raw agreement."""
        level, load = self._items
        trait = self.inventory.trait_of(range(len(level)))
        traits, yea = rng.normal(size=(count, 5)), YEA * rng.normal(size=(count, 1))
        exact = level + yea + self.inventory.sign * load * traits[:, trait]
        answers = np.rint(exact + NOISE * rng.normal(size=exact.shape)).clip(1, 5)
        below = ndtr((np.array([1.5, 2.5, 3.5, 4.5]) - exact[..., None]) / NOISE)
        odds = np.diff(below, axis=-1, prepend=0, append=1)
        return People(answers.astype(np.int8), odds, traits)


def trait_means(inventory: Inventory, answers: np.ndarray) -> np.ndarray:
    """Reverse-scored mean (1 to 5) of one person's `answers` `[item]` per trait: float64 `[5]`."""
    keyed = np.where(inventory.sign < 0, 6 - answers, answers)
    trait = inventory.trait_of(range(len(answers)))
    return np.array([keyed[trait == t].mean() for t in range(len(inventory.traits))])
