"""A person from sliders or a short form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.data.inventories import read_inventory
from workbench.data.keying import reverse
from workbench.errors import DatasetError
from workbench.papers.pas.profile import answers_of, person, questionnaire, trait_means

INVENTORY = read_inventory("auto")
LEVELS = st.fixed_dictionaries(
    {t: st.floats(1, 5, allow_nan=False).map(lambda x: round(x, 2)) for t in INVENTORY.traits}
)


@settings(max_examples=50, deadline=None)
@given(LEVELS)
def test_answers_are_whole_and_their_means_are_the_levels(levels):
    values = answers_of(levels, INVENTORY)
    assert set(values.tolist()) <= {1, 2, 3, 4, 5}
    keyed = reverse(values[None], INVENTORY)[0]
    for split in ("train", "test"):
        places = np.array(INVENTORY.split(split))
        trait = [INVENTORY.items[p].trait for p in places]
        for name, level in levels.items():
            mine = keyed[places[[t == name for t in trait]]]
            # Whole answers whose sum is the nearest to n · level.
            assert abs(mine.sum() - len(mine) * level) <= 0.5 + 1e-6
            assert mine.max() - mine.min() <= 1
        means = trait_means(values[places], places.tolist(), INVENTORY)
        for name in levels:
            mine = keyed[places[[t == name for t in trait]]]
            assert means[name] == pytest.approx(mine.mean())


def test_levels_outside_the_scale_or_missing_are_named():
    levels = dict.fromkeys(INVENTORY.traits, 3.0)
    with pytest.raises(DatasetError, match=r"trait A: level 5\.5"):
        answers_of({**levels, "A": 5.5}, INVENTORY)
    with pytest.raises(DatasetError, match="trait Openness is none of A, C, E, N, O"):
        answers_of({**levels, "Openness": 2}, INVENTORY)
    with pytest.raises(DatasetError, match="trait O"):
        answers_of({k: v for k, v in levels.items() if k != "O"}, INVENTORY)


def test_the_short_form_has_both_signs_of_every_trait_and_no_test_item():
    places = questionnaire(INVENTORY, 4)
    items = [INVENTORY.items[p] for p in places]
    assert len(set(places)) == len(places) == 4 * len(INVENTORY.traits)
    assert {i.split for i in items} == {"train"}
    for trait in INVENTORY.traits:
        assert sorted(i.sign for i in items if i.trait == trait) == [-1, -1, 1, 1]


def test_what_was_not_answered_counts_nowhere():
    values = np.zeros(len(INVENTORY.items), np.int8)
    place = questionnaire(INVENTORY)[1]
    values[place] = 1
    item = INVENTORY.items[place]
    assert item.sign == -1
    every = list(range(len(values)))
    assert trait_means(values, every, INVENTORY) == {item.trait: 5.0}
    assert trait_means(values, every, INVENTORY, "released") == {item.trait: 1.0}
    assert (person(values, INVENTORY).values[0] == values).all()
