"""Settings, model and the people drawn, of each preset; the method is the same."""

from collections.abc import Sequence

import numpy as np

from workbench.arguments import whole
from workbench.data.respondents import Respondents
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers import parameters
from workbench.papers.pas.paper import MODELS, SUBJECTS
from workbench.papers.pas.paper import settings as settings
from workbench.papers.pas.reference import errors, middle

BLOCKS = {"tiny": 32, "small": 8}
"""People of the shipped sample that one seed may draw from, each seed others."""


def draw(
    everybody: Respondents, preset: str, count: int, seeds: Sequence[int]
) -> dict[int, Respondents]:
    """seed → its subjects: a block of the shipped people, or a stratified draw of a larger set.

    Stratified: sorted by how far from the middle they answer, one at random from each of `count`
    equal parts, in no order, so that the first ones, whom DPO tunes, are like the others. Raises
    `ValueError` for a count below 0, or above that of the people there are.
    """
    whole("subjects", count, 0, len(everybody))
    block = BLOCKS.get(preset, 0)
    shipped = block and len(everybody) % block == 0
    count = count or SUBJECTS[preset]
    out = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if shipped and count <= block:
            start = seed * block % len(everybody)
            places = start + np.sort(rng.permutation(block)[:count])
        else:
            order = np.argsort(errors(middle(everybody), everybody).sum(1), kind="stable")
            parts = np.array_split(order, min(count, len(order)))
            places = rng.permutation([rng.choice(part) for part in parts])
        out[seed] = everybody.take(places.tolist())
    return out


def model(preset: str, model_id: str) -> Model:
    """The preset's model, or the one given, with a template (`with_template`). Raises as `load`."""
    name = model_id or MODELS[preset]
    parameters.one_thread_if_embedded([name])
    return parameters.with_template(load(name))
