"""The population: answers as likely as stated, traits read back from answers."""

import numpy as np
from scipy.stats import norm

from workbench.data.inventories import TRAITS, read_inventory
from workbench.worlds.population import NOISE, YEA, Population, trait_means

INVENTORY = read_inventory()
POPULATION = Population(INVENTORY)


def test_answers_follow_their_odds():
    people = POPULATION.draw(np.random.default_rng(0), 4000)
    assert people.answers.min() == 1
    assert people.answers.max() == 5
    np.testing.assert_allclose(people.odds.sum(-1), 1)
    for value in range(1, 6):
        share = (people.answers == value).mean(0)
        np.testing.assert_allclose(share, people.odds[..., value - 1].mean(0), atol=0.03)
    # The odds of the middle are the mass between its two rounding borders.
    level, load = POPULATION._items
    item = 7
    exact = level[item] + INVENTORY.sign[item] * load[item] * people.traits[:, TRAITS.index("A")]
    rest = np.hypot(YEA, NOISE)
    expect = norm.cdf((3.5 - exact) / rest) - norm.cdf((2.5 - exact) / rest)
    assert np.corrcoef(expect, people.odds[:, item, 2])[0, 1] > 0.8


def test_items_follow_the_populations_seed_and_people_the_generator():
    draw = [Population(INVENTORY, seed).draw(np.random.default_rng(1), 5) for seed in (0, 0, 1)]
    for name in ("answers", "odds", "traits"):
        np.testing.assert_array_equal(getattr(draw[0], name), getattr(draw[1], name))
    np.testing.assert_array_equal(draw[0].traits, draw[2].traits)
    assert (draw[0].odds != draw[2].odds).any()


def test_trait_means_are_reverse_scored_and_follow_the_traits():
    agrees = np.where(INVENTORY.sign > 0, 5, 2)
    own = np.array([item.trait == "E" for item in INVENTORY.items])
    # Elsewhere the middle; agreement on both kinds of item would cancel out.
    means = trait_means(INVENTORY, np.where(own, agrees, 3))
    reverse = np.mean(INVENTORY.sign[own] < 0)
    np.testing.assert_allclose(means, [3, 3, 5 * (1 - reverse) + 4 * reverse, 3, 3])
    people = POPULATION.draw(np.random.default_rng(2), 300)
    means = np.array([trait_means(INVENTORY, answers) for answers in people.answers])
    for t in range(5):
        assert np.corrcoef(means[:, t], people.traits[:, t])[0, 1] > 0.9
