"""Settings, model and problems of a preset. The method is the same in all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from workbench.data.problems import Problem, read_problems
from workbench.generation.complete import backend
from workbench.generation.endpoint import Endpoint
from workbench.generation.requests import Backend
from workbench.models.loading import load
from workbench.papers import parameters
from workbench.papers.self_verification.paper import Settings, preflight

TINY_PROBLEMS = 120
"""Problems a seed takes from the embedded sample, each seed others."""
STAGE_PROBLEMS, CONTROL_PROBLEMS = 40, 60
"""Problems a seed, at most, for the other stages of training and for the negative control."""
TWO_READINGS = "5"
"""Family of the sums whose wording has two readings: the negative control."""
CONTROL = "sums-late, two readings"
"""Title of the negative control among the stages."""

Problems = dict[int, list[Problem]]
"""seed → its problems."""


def settings(preset: str, *, official: bool = False, **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or below 0.

    `official` takes the released code's masks and extraction. Raises `ValueError` for a value out
    of range.
    """
    chosen = Settings() if preset == "paper" else Settings().tiny()
    chosen = chosen.official() if official else chosen
    return replace(chosen, **parameters.given(given))


def model(preset: str, model_id: str = "", served_model: str = "") -> Backend:
    """A local model, or a server where `model_id` is its address.

    Raises as `preflight`, `models.load` and `Endpoint.check`.
    """
    preflight(preset, {"model_id": model_id})
    if model_id.startswith(("http://", "https://")):
        server = Endpoint(model_id, served_model)
        server.check([])
        return server
    name = model_id or "sums"
    parameters.one_thread_if_embedded([name])
    return backend(load(name))


def problems(
    preset: str, dataset: str, data_path: str | Path, limit: int, seeds: Sequence[int]
) -> Problems:
    """Other problems for each seed at tiny preset, the same for all seeds elsewhere.

    Raises as `read_problems`.
    """
    if limit < 0:
        raise ValueError(f"limit={limit}: 0 (the preset's own) or more")
    name = dataset or ("gsm8k" if preset == "paper" else "sums")
    rows = read_problems(name, data_path or "auto")
    if name != "sums":
        return dict.fromkeys(seeds, rows[: limit or 200])
    plain = [p for p in rows if not p.id.startswith(f"{TWO_READINGS}-")]
    return _shared_out(plain, seeds, limit or TINY_PROBLEMS)


def two_readings(seeds: Sequence[int], limit: int = CONTROL_PROBLEMS) -> Problems:
    """Problems of the negative control."""
    rows = [p for p in read_problems("sums") if p.id.startswith(f"{TWO_READINGS}-")]
    return _shared_out(rows, seeds, limit)


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
    out[CONTROL] = (out["sums-late"][0], two_readings(list(problems), limit))
    return out


def _shared_out(rows: Sequence[Problem], seeds: Sequence[int], limit: int) -> Problems:
    """Consecutive slices; more seeds than the sample holds begin again at its start."""
    slices = max(1, len(rows) // limit)
    return {seed: list(rows[(seed % slices) * limit :][:limit]) for seed in seeds}
