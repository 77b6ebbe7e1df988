"""Answers of a population to the embedded questionnaire, and files of them."""

import json

import numpy as np

from tests.helpers.rows import written
from workbench.data.inventories import read_inventory

SURVEY = read_inventory()
IDS = [i.id for i in SURVEY.items]


def people(count=40, seed=0):
    """Raw answers of a one-factor-per-trait population, independent of the embedded one."""
    rng = np.random.default_rng(seed)
    trait = rng.normal(size=(count, 5))[:, SURVEY.trait_of(range(80))]
    return (
        np.rint(3 + SURVEY.sign * trait + 0.5 * rng.normal(size=trait.shape)).clip(1, 5).astype(int)
    )


def rows_of(values, **more):
    return [{"case": n, **more, **dict(zip(IDS, v, strict=True))}
            for n, v in enumerate(values.tolist())]  # fmt: skip


def stored(folder, rows):
    return written(folder, json.dumps(rows), "answers.json")
