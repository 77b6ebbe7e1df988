"""What each preset means: model, problems, settings. The method is the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from workbench.data.problems import Problem, read_problems
from workbench.evaluation.answers import same
from workbench.generation.complete import Completer
from workbench.generation.endpoint import Endpoint
from workbench.models.loading import load
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.paper import Settings, preflight
from workbench.paths import EMBEDDED

TINY_PROBLEMS = 120
"""Problems a seed takes from the embedded sample, each seed others."""
AMBIGUOUS = "5"
"""Family of the sums whose wording has two readings: the negative control."""


def settings(preset: str, *, official: bool = False, **given: Any) -> Settings:
    """The preset's settings; those given pin a value, unless empty or below 0.

    `official` takes the released code's masks and extraction. Raises `ValueError` for a value out
    of range.
    """
    chosen = Settings() if preset == "paper" else Settings().tiny()
    chosen = chosen.official() if official else chosen
    unset = {k for k, v in given.items() if v == "" or (not isinstance(v, str) and v < 0)}
    return replace(chosen, **{k: v for k, v in given.items() if k not in unset})


def model(preset: str, model_id: str, served_model: str = "") -> Completer:
    """A local model, or a server where `model_id` is its address.

    Raises as `preflight`, `models.load` and `Endpoint.check`.
    """
    preflight(preset, {"model_id": model_id})
    if model_id.startswith(("http://", "https://")):
        server = Endpoint(model_id, served_model)
        server.check([])
        return server
    if model_id in ("", *EMBEDDED):
        # So small a model gains nothing from a second thread, and loses much on a busy machine.
        torch.set_num_threads(1)
    return load(model_id or "sums")


def name_of(model: Completer) -> str:
    """What tables call it."""
    return model.name if isinstance(model, Endpoint) else str(getattr(model, "name", model))


def device_of(model: Completer) -> str:
    """Where it computes."""
    return model.url if isinstance(model, Endpoint) else str(model.input_device)


def problems(
    preset: str, dataset: str, data_path: str | Path, limit: int, seeds: Sequence[int]
) -> dict[int, list[Problem]]:
    """seed → its problems: other ones each at tiny scale, the same for all seeds elsewhere.

    Raises as `problems.read_problems`.
    """
    name = dataset or ("gsm8k" if preset == "paper" else "sums")
    found = read_problems(name, data_path or "auto")
    if name != "sums":
        return dict.fromkeys(seeds, found[: limit or 200])
    usual = [p for p in found if not p.id.startswith(f"{AMBIGUOUS}-")]
    return _shared_out(usual, seeds, limit or TINY_PROBLEMS)


def ambiguous(seeds: Sequence[int], limit: int = 60) -> dict[int, list[Problem]]:
    """seed → problems of the negative control."""
    found = [p for p in read_problems("sums") if p.id.startswith(f"{AMBIGUOUS}-")]
    return _shared_out(found, seeds, limit)


def right_readings(found: Sequence[Verified]) -> list[float]:
    """0/1 for every ambiguous question that had both readings' answers among its candidates.

    "A has 12. B has 30. C has 5 more." counts as right with 30 + 5; the other reading is 12 + 5.
    """
    out = []
    for one in found:
        if not one.hits or len(one.conditions) != 3:
            continue
        first, second, more = (int(c.value) for c in one.conditions)
        answers = [str(second + more), str(first + more)]
        if all(any(same(c, a) for c in one.candidates) for a in answers):
            out.append(float(one.correct))
    return out


def _shared_out(
    found: Sequence[Problem], seeds: Sequence[int], limit: int
) -> dict[int, list[Problem]]:
    """Consecutive slices; more seeds than the sample holds begin again at its start."""
    slices = max(1, len(found) // limit)
    return {seed: list(found[(seed % slices) * limit :][:limit]) for seed in seeds}
