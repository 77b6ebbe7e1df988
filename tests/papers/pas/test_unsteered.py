"""A model that answers one letter throughout is told before anything is searched."""

from dataclasses import replace

import numpy as np

from tests.helpers.pas import INVENTORY, TEST
from workbench.papers.pas.answer import distribution
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.prompts import SYSTEM, texts
from workbench.papers.pas.unsteered import Unsteered, unsteered


def letters(first, second):
    """Both orders' probabilities: of 5 with what is given, of 3 with nearly all the rest."""
    rows = np.full((2, len(first), 5), 0.01)
    rows[..., 4] = [first, second]
    rows[..., 2] = 1 - rows[..., [0, 1, 3, 4]].sum(-1)
    return rows


def test_a_collapse_is_told_with_what_the_probabilities_still_hold():
    rising = np.linspace(0.02, 0.2, 24)
    threes = np.full(24, 3)
    said = str(Unsteered(threes, letters(rising, 2 * rising)))
    assert "collapsed (0.00 bits" in said
    assert "{3: 24}" in said
    assert "-p model_id=" in said
    assert "+1.00 (1: the statement decides" in said
    assert "-1.00" in str(Unsteered(threes, letters(rising, rising[::-1])))
    assert "not: one does not vary" in str(Unsteered(threes, letters(rising, rising * 0 + 0.1)))
    forward, _, averaged = Unsteered(threes, letters(rising, rising[::-1])).rows()
    assert averaged["first option"] == "either, averaged"
    assert averaged["answer 3"] == 1
    assert abs(averaged["its spread"]) < 1e-12
    forward, *_ = Unsteered(threes, letters(rising, rising)).rows()
    assert forward["first option"] == "Very Accurate"
    assert forward["answer 3"] == 1
    assert np.isclose(forward["p(5)"], rising.mean())
    # Each hundredth of 5 that is taken from 3 moves the mean answer by two.
    assert np.isclose(forward["its spread"], 2 * rising.std())


def test_one_that_answers_is_not(model):
    settings = Settings().tiny()
    asked = unsteered(model, INVENTORY, settings)
    statements = texts(INVENTORY, TEST, settings.wording, lower=True)
    both = distribution(model, SYSTEM, statements, settings.orders)[0]
    assert np.allclose(asked.letters.mean(0), both, atol=1e-6)
    assert asked.answers.tolist() == (both.argmax(-1) + 1).tolist()
    one_order = unsteered(model, INVENTORY, replace(settings, orders=("reversed",)))
    assert one_order.answers.tolist() == (asked.letters[1].argmax(-1) + 1).tolist()
    assert one_order.answers.tolist() != (asked.letters[0].argmax(-1) + 1).tolist()
    mixed = Unsteered(np.arange(24) % 5 + 1, asked.letters)
    assert str(mixed).startswith("No persona, not steered: 2.32 bits in the answers; mean answers")
