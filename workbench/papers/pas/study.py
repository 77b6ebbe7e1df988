"""The study: everybody's search in every mode, controls, DPO beside it; kept subject by subject."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from workbench.data.respondents import Respondents
from workbench.errors import DatasetError
from workbench.hashing import digest
from workbench.models.model import Model
from workbench.papers.pas.answer import distribution, values
from workbench.papers.pas.contrast import AnswerContrast, contrast_answers
from workbench.papers.pas.paper import DIRECTIONS, Settings
from workbench.papers.pas.personas import personas, probes, stability
from workbench.papers.pas.prompts import SYSTEM, preference_pairs, texts
from workbench.papers.pas.search import MODES, everyone, search, system_prompts
from workbench.training.adapter import dpo_adapter

log = logging.getLogger(__name__)

Plain = dict[str, Any]
Keep = Callable[[str, Plain, Callable[[], Any]], Any]
"""(name, what it depends on, compute) → the result, from a cache or computed."""


@dataclass(frozen=True)
class Study:
    """One seed's subjects. `searched`: condition → one `Searched` (plain) per subject; conditions
    are the modes, `pas centered`, `pas weighted` and `pas shuffled`. `tuned`: DPO, per subject."""

    respondents: Respondents
    seed: int
    searched: dict[str, list[Plain]]
    tuned: list[Plain]
    seconds_extract: float


def run(
    model: Model,
    respondents: Respondents,
    settings: Settings,
    seed: int,
    keep: Keep,
    modes: Sequence[str] = MODES,
    controls: bool = True,
) -> Study:
    """Extraction, all directions, then subject by subject; what `keep` has is not done again.

    `pas centered` is left out, with a warning, where somebody's answers are all on one side.
    """
    started = time.perf_counter()
    contrast = captured(model, respondents, settings)
    seconds = time.perf_counter() - started
    conditions = {mode: (respondents, settings, mode) for mode in modes}
    if controls:
        for kind in DIRECTIONS:
            if kind != settings.direction:
                conditions[f"pas {kind}"] = (respondents, replace(settings, direction=kind), "pas")
        conditions["pas shuffled"] = (shuffled(respondents, seed), settings, "pas")
    items = digest(repr(respondents.inventory.items))
    key = {"weights": model.fingerprint(), "seed": seed, "items": items}
    searched: dict[str, list[Plain]] = {}
    for name, (people, chosen, mode) in conditions.items():
        try:
            found, held = everyone(contrast, people, chosen, seed)
        except DatasetError as error:
            if name != "pas centered":
                raise
            log.warning("%s is left out: %s", name, error)
            continue
        systems = system_prompts(model, mode, people, held, chosen)
        searched[name] = [
            keep(
                f"{name.replace(' ', '_')}-{seed}-{people.ids[s]}",
                {
                    **key,
                    "mode": mode,
                    "settings": asdict(chosen),
                    "train": people.values[s].tolist(),
                },
                partial(
                    search, model, contrast, people, s, found, held, systems[s], chosen, mode, seed
                ),
            )
            for s in tqdm(range(len(people)), desc=f"{name}, seed {seed}", delay=5)
        ]
    tuned = [
        keep(
            f"dpo-{seed}-{respondents.ids[s]}",
            {**key, "settings": asdict(settings), "train": respondents.values[s].tolist()},
            partial(tune, model, respondents, s, settings, seed),
        )
        for s in tqdm(
            range(min(settings.dpo_subjects, len(respondents))), desc=f"DPO, seed {seed}", delay=5
        )
    ]
    return Study(respondents, seed, searched, tuned, seconds)


def captured(model: Model, respondents: Respondents, settings: Settings) -> AnswerContrast:
    """The one extraction that serves everybody."""
    return contrast_answers(
        model, respondents.inventory, wording=settings.wording, orders=settings.orders
    )


def shuffled(respondents: Respondents, seed: int) -> Respondents:
    """The control: each subject's train answers dealt to other items, the test answers as given."""
    rng = np.random.default_rng(seed)
    train = respondents.inventory.split("train")
    mixed = respondents.values.copy()
    for row in mixed:
        row[train] = rng.permutation(row[train])
    return replace(respondents, values=mixed)


def tune(
    model: Model, respondents: Respondents, subject: int, settings: Settings, seed: int
) -> Plain:
    """DPO on one subject's train answers, then the test items without a persona prompt."""
    inventory = respondents.inventory
    train, test = inventory.split("train"), inventory.split("test")
    pairs = preference_pairs(
        inventory, train, respondents.values[subject, train],
        wording=settings.wording, orders=settings.orders,
    )  # fmt: skip
    with dpo_adapter(model, pairs, steps=settings.dpo_steps, seed=seed) as tuned:
        statements = texts(inventory, test, settings.wording, lower=True)
        said = values(distribution(model, SYSTEM, statements, settings.orders))[0]
    return {
        "id": respondents.ids[subject], "subject": subject, "answers": said.tolist(),
        "steps": tuned.steps, "pairs": len(pairs), "seconds": tuned.seconds,
        "losses": list(tuned.losses), "margins": list(tuned.margins),
    }  # fmt: skip


def geometry(
    contrast: AnswerContrast, respondents: Respondents, settings: Settings, splits: int = 10
) -> list[Plain]:
    """Per subject: yea-saying, how much of the direction is "print A", how stable the head choice.

    `share`: mean over the K heads chosen by the first split; `jaccard`: mean overlap of the K heads
    over `splits` splits of the rows.
    """
    train = respondents.values[:, respondents.inventory.split("train")]
    found = personas(contrast, train, settings.direction)
    rows = []
    for s, name in enumerate(respondents.ids):
        fitted = [probes(contrast, train[s], seed) for seed in range(splits)]
        heads = fitted[0].top(settings.heads, settings.selection)
        direction = found.direction(s, heads, contrast)
        rows.append(
            {
                "subject": name, "lean": float(found.lean[s]),
                "share": direction.provenance["share_common"],
                "jaccard": stability(fitted, settings.heads, settings.selection),
            }
        )  # fmt: skip
    return rows


def cost(model: Model, respondents: Respondents, settings: Settings, modes: Sequence[str]) -> Plain:
    """What a run will take: forwards, and seconds at the rate of one small batch, measured now.

    `forwards`: prompts scored; `released`: answers the released code would generate, 15 tokens
    each, for the same subjects.
    """
    inventory = respondents.inventory
    train, test = inventory.split("train"), inventory.split("test")
    asked = len(test) + len(train) * settings.folds / 5
    per_mode = len(respondents) * len(settings.alphas) * asked * len(settings.orders)
    extraction = 2 * len(train) * len(settings.orders)
    seconds = 0.0
    statements = texts(inventory, test[:16], settings.wording, lower=True)
    for mode in modes:
        system = system_prompts(model, mode, respondents.take([0]), [], settings)[0][0]
        distribution(model, system, statements, settings.orders[:1])
        started = time.perf_counter()
        distribution(model, system, statements, settings.orders[:1])
        seconds += per_mode * (time.perf_counter() - started) / len(statements)
    return {
        "forwards": int(per_mode * len(modes) + extraction),
        "released": len(respondents) * len(settings.alphas) * len(test),
        "seconds": seconds,
    }
