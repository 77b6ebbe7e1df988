"""Settings, model and problems of a preset. The method is the same in all of them."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from workbench.arguments import whole
from workbench.data.problems import Problem, read_problems
from workbench.generation.complete import backend
from workbench.generation.endpoint import Endpoint
from workbench.generation.local import LocalBackend
from workbench.generation.requests import Backend
from workbench.models.loading import load
from workbench.papers import parameters
from workbench.papers.self_verification.paper import (
    MODELS,
    SERVERS,
    TWO_READINGS,
    Settings,
    check_model,
    problems_of,
)
from workbench.papers.self_verification.paper import settings as settings

log = logging.getLogger(__name__)

TINY_PROBLEMS, SMALL_PROBLEMS = 120, 13
"""Problems a seed takes of the sums, and of any at small preset; each seed others."""
STAGE_PROBLEMS, CONTROL_PROBLEMS = 40, 60
"""Problems a seed, at most, for the other stages of training and for the negative control."""
CONTROL = "sums-late, two readings"
"""Title of the negative control among the stages."""

Problems = dict[int, list[Problem]]
"""seed → its problems."""


def model(preset: str, model_id: str = "", served_model: str = "") -> Backend:
    """A local model, or a server where `model_id` is its address.

    Raises as `check_model`, `models.load` and `Endpoint.check`.
    """
    check_model(preset, model_id, served_model)
    if model_id.startswith(SERVERS):
        server = Endpoint(model_id, served_model)
        server.check([])
        return server
    name = model_id or MODELS[preset]
    parameters.one_thread_if_embedded([name])
    return backend(load(name))


def fitting(settings: Settings, model: Backend, chat: str | bool = "") -> Settings:
    """The settings, asked in plain text where a loaded model has no chat template; says so.

    Only where `chat` was left to the preset.
    """
    local = isinstance(model, LocalBackend)
    if not (settings.chat and chat == "" and local and not model.model.tokenizer.chat_template):
        return settings
    log.warning("%s has no chat template: it is asked in plain text", model.name)
    return replace(settings, chat=False)


def problems(
    preset: str, dataset: str, data_path: str | Path, limit: int, seeds: Sequence[int]
) -> Problems:
    """Other problems for each seed of the sums and at small preset, else the same for all seeds.

    Raises as `problems_of`, and `ValueError` for more problems than there are.
    """
    rows = problems_of(preset, dataset, os.fspath(data_path))
    whole("limit", limit, 0, len(rows))
    if preset == "small":
        return _shared_out(rows, seeds, limit or SMALL_PROBLEMS)
    if rows[0].dataset == "sums":
        return _shared_out(rows, seeds, limit or TINY_PROBLEMS)
    return dict.fromkeys(seeds, rows[: limit or 200])


def stages(
    preset: str, model_id: str, problems: Mapping[int, Sequence[Problem]]
) -> dict[str, tuple[Backend, Problems]]:
    """Title → model and problems: the sums model at three stages of training, then the control.

    Nothing for a model or problems that are not the preset's own.
    """
    names = {p.dataset for rows in problems.values() for p in rows}
    if preset != "tiny" or model_id or names != {"sums"}:
        return {}
    fewer = {seed: list(rows[:STAGE_PROBLEMS]) for seed, rows in problems.items()}
    out = {name: (model(preset, name), fewer) for name in ("sums-early", "sums", "sums-late")}
    limit = min(CONTROL_PROBLEMS, *map(len, problems.values()))
    rows = [p for p in read_problems("sums") if p.id.startswith(TWO_READINGS)]
    out[CONTROL] = (out["sums-late"][0], _shared_out(rows, list(problems), limit))
    return out


def _shared_out(rows: Sequence[Problem], seeds: Sequence[int], limit: int) -> Problems:
    """Consecutive slices; more seeds than the sample holds begin again at its start."""
    slices = max(1, len(rows) // limit)
    return {seed: list(rows[(seed % slices) * limit :][:limit]) for seed in seeds}
