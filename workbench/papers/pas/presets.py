"""What each preset means: model, questionnaire, people, settings. The method is the same."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from workbench.data.inventories import read_inventory
from workbench.data.respondents import Respondents, read_respondents
from workbench.errors import DatasetError
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.pas.paper import BASE, Settings, preflight
from workbench.papers.pas.reference import errors
from workbench.paths import EMBEDDED
from workbench.steering.shifts import check_alpha

log = logging.getLogger(__name__)

MODEL = "survey"
TINY_SUBJECTS, PAPER_SUBJECTS = 10, 20
BLOCK = 32
"""People of the embedded sample that one seed may draw from, each seed others."""


def settings(preset: str, *, official: bool = False, alphas: str = "", **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or below 0.

    `alphas`: numbers separated by commas. Raises `ValueError` for one that is no number, negative
    or not finite, and as `Settings`.
    """
    chosen = Settings() if preset == "paper" else Settings().tiny()
    chosen = chosen.official() if official else chosen
    if alphas.strip():
        try:
            grid = tuple(float(a) for a in alphas.split(","))
        except ValueError as error:
            raise ValueError(f"alphas={alphas!r}: give numbers separated by commas") from error
        for alpha in grid:
            check_alpha(alpha)
        chosen = replace(chosen, alphas=tuple(sorted({0.0, *grid})))
    unset = {k for k, v in given.items() if v == "" or (not isinstance(v, str) and v < 0)}
    return replace(chosen, **{k: v for k, v in given.items() if k not in unset})


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
    embedded = preset != "paper" and len(everybody) % BLOCK == 0
    count = count or (PAPER_SUBJECTS if preset == "paper" else TINY_SUBJECTS)
    out = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        if embedded and count <= BLOCK:
            start = seed * BLOCK % len(everybody)
            places = start + np.sort(rng.permutation(BLOCK)[:count])
        else:
            middle = np.full((len(everybody), len(everybody.inventory.split("test"))), 3.0)
            order = np.argsort(errors(middle, everybody).sum(1), kind="stable")
            parts = np.array_split(order, min(count, len(order)))
            places = np.array([rng.choice(part) for part in parts])
        out[seed] = everybody.take(places.tolist())
    return out


def model(preset: str, model_id: str) -> Model:
    """The preset's model, or the one given. Raises as `models.load`."""
    name = model_id or (BASE if preset == "paper" else MODEL)
    if name in EMBEDDED:
        # So small a model gains nothing from a second thread, and loses much on a busy machine.
        torch.set_num_threads(1)
    return load(name)
