"""Settings, model and the people drawn, of each preset; the method is the same."""

from collections.abc import Sequence

import numpy as np

from workbench.arguments import whole
from workbench.data.respondents import Respondents
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers import parameters
from workbench.papers.pas.paper import BASE, MODEL, SUBJECTS
from workbench.papers.pas.paper import settings as settings
from workbench.papers.pas.reference import errors, middle

BLOCK = 32
"""People of the embedded sample that one seed may draw from, each seed others."""


def draw(
    everybody: Respondents, preset: str, count: int, seeds: Sequence[int]
) -> dict[int, Respondents]:
    """seed → its subjects: a block of the embedded people, or a stratified draw of a larger set.

    Stratified: sorted by how far from the middle they answer, one at random from each of `count`
    equal parts, in no order, so that the first ones, whom DPO tunes, are like the others. Raises
    `ValueError` for a count below 0, or above that of the people there are.
    """
    whole("subjects", count, 0, len(everybody))
    embedded = preset != "paper" and len(everybody) % BLOCK == 0
    count = count or SUBJECTS[preset]
    out = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if embedded and count <= BLOCK:
            start = seed * BLOCK % len(everybody)
            places = start + np.sort(rng.permutation(BLOCK)[:count])
        else:
            order = np.argsort(errors(middle(everybody), everybody).sum(1), kind="stable")
            parts = np.array_split(order, min(count, len(order)))
            places = rng.permutation([rng.choice(part) for part in parts])
        out[seed] = everybody.take(places.tolist())
    return out


def model(preset: str, model_id: str) -> Model:
    """The preset's model, or the one given. Raises as `load`."""
    name = model_id or (BASE if preset == "paper" else MODEL)
    parameters.one_thread_if_embedded([name])
    return load(name)
