"""The study: everybody's search in every mode, controls, DPO beside it; kept subject by subject."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from workbench.data.respondents import Respondents
from workbench.errors import DatasetError
from workbench.hashing import digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.parameters import one_thread_if_embedded
from workbench.papers.pas.contrast import AnswerContrast, contrast_answers
from workbench.papers.pas.dpo import Tuned, tune
from workbench.papers.pas.paper import DIRECTIONS, Settings
from workbench.papers.pas.personas import personas, probes, stability
from workbench.papers.pas.search import (
    Searched,
    directions_by_fold,
    search,
    shuffled,
    system_prompts,
)
from workbench.papers.workers import Job, Keep, as_loaded, worker_pool

log = logging.getLogger(__name__)

DPO = "dpo"
_APART = ("modes", "controls", "items")
"""Settings that say what is searched; what one search finds does not depend on them."""
Bench = tuple[Model, AnswerContrast]
"""What every job works with."""


@dataclass(frozen=True)
class Group:
    """One seed's subjects. `searched`: condition → one search per subject; conditions are the
    modes, `pas centered`, `pas weighted` and `pas shuffled`. `tuned`: DPO of the first subjects."""

    seed: int
    respondents: Respondents
    searched: dict[str, list[Searched]]
    tuned: list[Tuned]


@dataclass(frozen=True)
class Study:
    """Everything measured: a group per seed. `seconds_extract`: the extraction that serves all."""

    model: str
    settings: Settings
    groups: tuple[Group, ...]
    seconds_extract: float


@dataclass(frozen=True)
class Geometry:
    """What directions look like before anything is steered.

    `subjects`, per subject: `lean` (yea-saying), `share` (how much of the direction is "print A",
    mean over the K heads that the first split chooses), `jaccard` (overlap of the K heads over
    splits). `cosines` `[subject][subject]` of the first ones' `ids`: raw differences of all heads
    as one vector. `shape`: (items, layers, heads, d_head) of the extraction.
    """

    subjects: list[dict[str, Any]]
    cosines: list[list[float]]
    ids: list[str]
    shape: tuple[int, ...]


def run(
    model: Model,
    people: Mapping[int, Respondents],
    settings: Settings,
    keep: Keep,
    workers: int = 1,
) -> Study:
    """Extraction once for all, then seed by seed and subject by subject: searches, controls, DPO.

    `people`: seed → its subjects. What `keep` has is not done again. `workers`: processes that
    share the subjects, see `worker_count`; results do not depend on it, and an edited model
    has one. `pas centered` is left out, with a warning, where somebody's answers are all on one
    side. Raises as `contrast_answers`, `personas` and `search`.

    >>> people = presets.draw(everybody, "tiny", 10, [0, 1, 2])
    >>> study = run(model, people, settings, partial(cached, "runs/cache"))
    """
    started = time.perf_counter()
    first = next(iter(people.values()))
    contrast = _extract(model, first, settings)
    seconds = time.perf_counter() - started
    groups = []
    workers = workers if workers == 1 or as_loaded(model) else 1
    pool = worker_pool(workers, (model, contrast), _set_up, model.name, first, settings)
    with pool as results_of:
        for seed, respondents in people.items():
            jobs = _searches(model, contrast, respondents, settings, seed)
            jobs[DPO] = _tunings(model, respondents, settings, seed)
            every = [job for each in jobs.values() for job in each]
            results = iter(results_of(every, keep, f"seed {seed}"))
            done = {name: [next(results) for _ in each] for name, each in jobs.items()}
            tuned = [Tuned(**plain) for plain in done.pop(DPO)]
            searched = {name: [Searched(**plain) for plain in each] for name, each in done.items()}
            groups.append(Group(seed, respondents, searched, tuned))
    return Study(model.name, settings, tuple(groups), seconds)


def _set_up(name: str, respondents: Respondents, settings: Settings) -> Bench:
    """A worker's own copy of the embedded model."""
    one_thread_if_embedded([name])
    model = load(name)
    return model, _extract(model, respondents, settings)


def _extract(model: Model, respondents: Respondents, settings: Settings) -> AnswerContrast:
    return contrast_answers(
        model, respondents.inventory, wording=settings.wording, orders=settings.orders
    )


def _searches(
    model: Model,
    contrast: AnswerContrast,
    respondents: Respondents,
    settings: Settings,
    seed: int,
) -> dict[str, list[Job]]:
    """Condition → a search per subject."""
    conditions = {mode: (respondents, settings, mode) for mode in settings.modes}
    if settings.controls:
        for kind in DIRECTIONS:
            if kind != settings.direction:
                conditions[f"pas {kind}"] = (respondents, replace(settings, direction=kind), "pas")
        conditions["pas shuffled"] = (shuffled(respondents, seed), settings, "pas")
    jobs: dict[str, list[Job]] = {}
    identity = model.identity()
    for name, (people, variant, mode) in conditions.items():
        try:
            by_fold = directions_by_fold(contrast, people, variant, seed)
        except DatasetError as error:
            if name != "pas centered":
                raise
            log.warning("%s is left out: %s", name, error)
            continue
        systems = system_prompts(model, mode, people, [f.held for f in by_fold], variant)
        jobs[name] = [
            Job(
                f"{name.replace(' ', '_')}-{seed}-{people.ids[s]}",
                {**_key(identity, people, s, variant, seed), "mode": mode},
                _searched,
                (people, s, by_fold, systems[s], variant, mode, seed),
            )
            for s in range(len(people))
        ]
    return jobs


def _tunings(model: Model, respondents: Respondents, settings: Settings, seed: int) -> list[Job]:
    """DPO of the first subjects."""
    identity = model.identity()
    return [
        Job(
            f"{DPO}-{seed}-{respondents.ids[s]}",
            _key(identity, respondents, s, settings, seed),
            _tuned,
            (respondents, s, settings, seed),
        )
        for s in range(min(settings.dpo_subjects, len(respondents)))
    ]


def _key(
    identity: dict[str, str],
    respondents: Respondents,
    subject: int,
    settings: Settings,
    seed: int,
) -> dict[str, Any]:
    """What one subject's results depend on; `identity`: of the model."""
    return {
        **identity,
        "seed": seed,
        "items": digest(repr(respondents.inventory.items)),
        "settings": {k: v for k, v in asdict(settings).items() if k not in _APART},
        "train": respondents.values[subject].tolist(),
    }


def _searched(bench: Bench, *arguments: Any) -> dict[str, Any]:
    return asdict(search(*bench, *arguments))


def _tuned(bench: Bench, *arguments: Any) -> dict[str, Any]:
    return asdict(tune(bench[0], *arguments))


def geometry(
    model: Model, respondents: Respondents, settings: Settings, splits: int = 10, compared: int = 10
) -> Geometry:
    """Extract, and look at every subject's direction; cosines of the first `compared` subjects."""
    contrast = _extract(model, respondents, settings)
    train = respondents.values[:, respondents.inventory.split("train")]
    everybody = personas(contrast, train, settings.direction)
    subjects = []
    for s, name in enumerate(respondents.ids):
        by_split = [probes(contrast, train[s], seed) for seed in range(splits)]
        heads = by_split[0].top(settings.heads, settings.selection)
        direction = everybody.direction(s, heads, contrast)
        subjects.append(
            {
                "subject": name, "lean": float(everybody.lean[s]),
                "share": direction.provenance["share_common"],
                "jaccard": stability(by_split, settings.heads, settings.selection)
            }
        )  # fmt: skip
    flat = torch.nn.functional.normalize(everybody.raw[:compared].flatten(1), dim=1)
    cosines = (flat @ flat.T).tolist()
    return Geometry(
        subjects, cosines, list(respondents.ids[:compared]), tuple(contrast.delta.shape)
    )
