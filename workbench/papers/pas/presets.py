"""Model, questionnaire, people and settings of each preset; the method is the same."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from workbench.data.inventories import read_inventory
from workbench.data.respondents import Respondents, read_respondents
from workbench.errors import DatasetError
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers import parameters
from workbench.papers.pas.paper import BASE, Settings, grid, preflight
from workbench.papers.pas.reference import errors, middle

MODEL = "survey"
TINY_SUBJECTS, PAPER_SUBJECTS = 10, 20
BLOCK = 32
"""People of the embedded sample that one seed may draw from, each seed others."""


def settings(preset: str, *, official: bool = False, alphas: str = "", **pinned: Any) -> Settings:
    """The preset's settings; those pinned replace them, unless empty or below 0.

    `alphas`: numbers separated by commas. Raises `ValueError` as `grid` and `Settings`.
    """
    chosen = Settings() if preset == "paper" else Settings().tiny()
    chosen = chosen.official() if official else chosen
    if alphas.strip():
        chosen = replace(chosen, alphas=grid(alphas))
    return replace(chosen, **parameters.given(pinned))


def people(
    preset: str, papi_path: str, answers_path: str, targets: str, keyed: str, model_id: str = ""
) -> Respondents:
    """The preset's questionnaire and everybody who answered it.

    `papi_path`: folder with the released files, or an inventory's .csv. `model_id`: the model that
    is going to be used, checked before anything is read. Raises as `preflight`, `read_inventory`
    and `read_respondents`.
    """
    preflight(preset, {"papi_path": papi_path, "model_id": model_id})
    inventory = read_inventory(papi_path or "auto")
    if papi_path and not answers_path and papi_path.endswith(".csv"):
        raise DatasetError(f"{papi_path} has no answers: give them with answers_path")
    return read_respondents(
        answers_path or papi_path or "auto",
        inventory,
        targets=targets or "raw",
        keyed=keyed or "auto",
    )


def draw(
    everybody: Respondents, preset: str, count: int, seeds: Sequence[int]
) -> dict[int, Respondents]:
    """seed → its subjects: a block of the embedded people, or a stratified draw of a larger set.

    Stratified: sorted by how far from the middle they answer, one at random from each of `count`
    equal parts.
    """
    if count < 0:
        raise ValueError(f"subjects={count}: 0 (the preset's own) or more")
    embedded = preset != "paper" and len(everybody) % BLOCK == 0
    count = count or (PAPER_SUBJECTS if preset == "paper" else TINY_SUBJECTS)
    out = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if embedded and count <= BLOCK:
            start = seed * BLOCK % len(everybody)
            places = start + np.sort(rng.permutation(BLOCK)[:count])
        else:
            order = np.argsort(errors(middle(everybody), everybody).sum(1), kind="stable")
            parts = np.array_split(order, min(count, len(order)))
            places = np.array([rng.choice(part) for part in parts])
        out[seed] = everybody.take(places.tolist())
    return out


def model(preset: str, model_id: str) -> Model:
    """The preset's model, or the one given. Raises as `load`."""
    name = model_id or (BASE if preset == "paper" else MODEL)
    parameters.one_thread_if_embedded([name])
    return load(name)
