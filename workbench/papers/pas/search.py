"""How strongly to steer for one person: alpha by the held-out train items, or by the test's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from workbench.arguments import one_of
from workbench.data.inventories import Inventory
from workbench.data.respondents import MAX_MISSING, Respondents
from workbench.errors import DatasetError
from workbench.generation.complete import generate
from workbench.models.model import Model
from workbench.papers.pas.answer import answers
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.paper import MODES, Settings
from workbench.papers.pas.personas import Personas, personas, probes
from workbench.papers.pas.prompts import SYSTEM, fewshot, portrait_request, texts
from workbench.papers.pas.reference import errors
from workbench.steering.directions import HeadDirections

FIFTHS = 5
RULES = ("validated", "one alpha", "oracle", "alpha 0")
"""How alpha is chosen: per subject on held-out train items; one for all subjects of a seed, on
theirs; per subject on the test items, as the paper does; not steered at all."""


@dataclass
class Searched:
    """One subject, one mode. `answers` `[alpha][test item]`, 1..5; errors are sums over traits.

    `validation` and `test`: error at each alpha. `heads`: the K (layer, head) of the final
    direction. `share`: its mean common part, "print A". `prompts`: forwards spent on validation.
    Seconds: `seconds_fit` probes and directions, `seconds_search` validation, `seconds_test`.
    """

    id: str
    mode: str
    alphas: list[float]
    answers: list[list[int]]
    validation: list[float]
    test: list[float]
    heads: list[tuple[int, int]]
    share: float
    prompts: int
    seconds_fit: float
    seconds_search: float
    seconds_test: float


@dataclass(frozen=True)
class Fold:
    """Everybody's directions without the `held` places of the train split (none: on all items)."""

    held: np.ndarray
    personas: Personas


def folds(inventory: Inventory, count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` of five parts of the train items (places in the train split), even over facets."""
    train = inventory.split("train")
    facets: dict[tuple[str, str], list[int]] = {}
    for place in np.random.default_rng(seed).permutation(len(train)):
        item = inventory.items[train[place]]
        facets.setdefault((item.trait, item.facet), []).append(int(place))
    dealt = [place for members in facets.values() for place in members]
    return [np.array(sorted(dealt[k::FIFTHS])) for k in range(count)]


def prompts_per_subject(inventory: Inventory, settings: Settings) -> int:
    """Prompts that one subject's search asks: test and held-out items, all alphas and orders."""
    train, test = inventory.split("train"), inventory.split("test")
    asked = len(test) + len(train) * settings.folds / FIFTHS
    return round(asked * len(settings.alphas) * len(settings.orders))


def shuffled(respondents: Respondents, seed: int) -> Respondents:
    """The control: each subject's train answers dealt to other items, the test answers as given."""
    rng = np.random.default_rng(seed)
    train = respondents.inventory.split("train")
    mixed = respondents.values.copy()
    for row in mixed:
        row[train] = rng.permutation(row[train])
    return replace(respondents, values=mixed)


def directions_by_fold(
    contrast: AnswerContrast, respondents: Respondents, settings: Settings, seed: int = 0
) -> list[Fold]:
    """All subjects' directions once per fold, and last on all train items.

    Raises as `personas`, and `DatasetError` for a subject who answered nothing that is held out.
    """
    train = respondents.values[:, respondents.inventory.split("train")]
    parts = folds(respondents.inventory, settings.folds, seed)
    silent = np.flatnonzero(~train[:, np.concatenate(parts)].any(1))
    if len(silent):
        raise DatasetError(
            f"subject {respondents.ids[silent[0]]} answered none of the train items that are held "
            f"out: no alpha can be told from another. Hold out more than folds={settings.folds}"
        )
    out = []
    for held in [*parts, np.array([], int)]:
        shown = train.copy()
        shown[:, held] = 0
        out.append(Fold(held, personas(contrast, shown, settings.direction)))
    return out


def system_prompts(
    model: Model,
    mode: str,
    respondents: Respondents,
    parts: Sequence[np.ndarray],
    settings: Settings,
) -> list[list[str]]:
    """`[subject][part]`: what stands in the system prompt, answers of the part left out.

    `parts`: places in the train split, as `Fold.held`. P²'s descriptions are written by the model
    itself from the few-shot prompt (a larger model's in the paper), greedily, all in one batch.

    Raises `ValueError` for an unknown mode.
    """
    one_of("mode", mode, MODES)
    inventory, people = respondents.inventory, range(len(respondents))
    if mode == "pas":
        return [[SYSTEM] * len(parts) for _ in people]
    train = np.array(inventory.split("train"))
    shown = [np.delete(train, part) for part in parts]
    told = [
        [
            fewshot(inventory, items, respondents.values[s, items], settings.wording)
            for items in shown
        ]
        for s in people
    ]
    if mode == "fewshot+pas":
        return told
    requests = [portrait_request(system) for row in told for system in row]
    replies = generate(model, requests, max_new_tokens=settings.portrait_tokens)
    portraits = [reply for (reply,) in replies]
    return [portraits[s * len(parts) : (s + 1) * len(parts)] for s in people]


def search(
    model: Model,
    contrast: AnswerContrast,
    respondents: Respondents,
    subject: int,
    by_fold: Sequence[Fold],
    systems: Sequence[str],
    settings: Settings,
    mode: str = "pas",
    seed: int = 0,
) -> Searched:
    """One subject's errors at every alpha: on held-out train items, then on the test items.

    `by_fold`: from `directions_by_fold`; `systems`: the subject's row of `system_prompts`.

    Heads, direction and context of a fold know nothing of its held-out items. The test items are
    answered at every alpha so that choosing on them, as the paper does, can be shown beside.
    """
    inventory, person = respondents.inventory, respondents.take([subject])
    train, test = (np.array(inventory.split(s)) for s in ("train", "test"))
    own, alphas = person.values[0, train], list(settings.alphas)
    seconds = {"fit": 0.0, "validation": 0.0, "test": 0.0}
    held_out = np.zeros((len(alphas), len(train)), int)
    asked = replace(person, values=np.zeros_like(person.values))
    for fold, system in zip(by_fold, systems, strict=True):
        final = fold is by_fold[-1]
        started = time.perf_counter()
        told = own.copy()
        told[fold.held] = 0
        heads = probes(contrast, told, seed).top(settings.heads, settings.selection)
        direction = fold.personas.direction(subject, heads, contrast)
        seconds["fit"] += time.perf_counter() - started
        started = time.perf_counter()
        items = test if final else train[fold.held]
        answered = answers(
            model,
            system,
            texts(inventory, items, settings.wording, lower=True),
            settings,
            direction=direction,
            alphas=alphas,
            # A long system prompt is worth computing once for each alpha.
            together=mode == "pas",
        )
        seconds["test" if final else "validation"] += time.perf_counter() - started
        if not final:
            held_out[:, fold.held] = answered
            asked.values[0, items] = own[fold.held]
    return Searched(
        id=respondents.ids[subject],
        mode=mode,
        alphas=alphas,
        answers=answered.tolist(),
        # A trait of which nothing was held out has no error.
        validation=np.nansum(errors(held_out, asked, split="train"), -1).tolist(),
        test=errors(answered, person).sum(-1).tolist(),
        heads=heads,
        share=float(direction.provenance["share_common"]),
        prompts=sum(len(f.held) for f in by_fold) * len(alphas) * len(settings.orders),
        seconds_fit=seconds["fit"],
        seconds_search=seconds["validation"],
        seconds_test=seconds["test"],
    )


def chosen(searched: Sequence[Searched], rule: str) -> list[int]:
    """Place in the grid of each subject's alpha by one of `RULES`; ties go to the smaller one."""
    if rule == "alpha 0":
        return [s.alphas.index(0.0) for s in searched]
    if rule == "one alpha":
        total = np.sum([s.validation for s in searched], 0)
        return [int(total.argmin())] * len(searched)
    column = {"validated": "validation", "oracle": "test"}[rule]
    return [int(np.argmin(getattr(s, column))) for s in searched]


@dataclass(frozen=True)
class Alignment:
    """One person's direction and validated alpha.

    `searched`: None where alpha was not searched.
    """

    direction: HeadDirections
    alpha: float
    searched: Searched | None


def align(
    model: Model, contrast: AnswerContrast, person: Respondents, settings: Settings, seed: int = 0
) -> Alignment:
    """Direction and alpha of a single respondent, no persona in the system prompt.

    Where more than a fifth of the train items is not answered (a short form) too little is left to
    hold out: alpha is 1. Raises as `personas` and `probes`.
    """
    own = person.values[0, person.inventory.split("train")]
    if (own > 0).mean() < 1 - MAX_MISSING:
        heads = probes(contrast, own, seed).top(settings.heads, settings.selection)
        direction = personas(contrast, own[None], settings.direction).direction(0, heads, contrast)
        return Alignment(direction, 1.0, None)
    by_fold = directions_by_fold(contrast, person, settings, seed)
    searched = search(
        model, contrast, person, 0, by_fold, [SYSTEM] * len(by_fold), settings, seed=seed
    )
    (place,) = chosen([searched], "validated")
    direction = by_fold[-1].personas.direction(0, searched.heads, contrast)
    return Alignment(direction, searched.alphas[place], searched)
