"""How strongly to steer for one person: alpha by the held-out train items, or by the test's."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from workbench.data.respondents import Respondents
from workbench.generation.complete import generate
from workbench.models.model import Model
from workbench.papers.pas.answer import distribution, values
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.personas import Personas, personas, probes
from workbench.papers.pas.prompts import SYSTEM, fewshot, portrait_request, texts
from workbench.papers.pas.reference import trait_errors

MODES = ("pas", "fewshot+pas", "p2+pas")
"""What stands in the system prompt while steering; `fewshot` and `p2` are these at alpha 0."""
FIFTHS = 5


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


def folds(respondents: Respondents, count: int, seed: int = 0) -> list[np.ndarray]:
    """`count` of five parts of the train items (places in the train split), even over facets."""
    inventory = respondents.inventory
    train = inventory.split("train")
    facets: dict[tuple[str, str], list[int]] = {}
    for place in np.random.default_rng(seed).permutation(len(train)):
        item = inventory.items[train[place]]
        facets.setdefault((item.trait, item.facet), []).append(int(place))
    dealt = [place for members in facets.values() for place in members]
    return [np.array(sorted(dealt[k::FIFTHS])) for k in range(count)]


def system_prompts(
    model: Model,
    mode: str,
    respondents: Respondents,
    held: Sequence[np.ndarray],
    settings: Settings,
) -> list[list[str]]:
    """`[subject][fold, and last on all train items]`: what stands in the system prompt.

    Only answers outside the fold are told. P²'s descriptions are written by the model itself from
    the few-shot prompt (a larger model's in the paper), greedily, all in one batch.

    Raises `ValueError` for an unknown mode.
    """
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}; use one of {', '.join(MODES)}")
    inventory, people = respondents.inventory, range(len(respondents))
    parts = [*held, np.array([], int)]
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
    asked = [portrait_request(system) for row in told for system in row]
    texts = [reply for (reply,) in generate(model, asked, max_new_tokens=settings.portrait_tokens)]
    return [texts[s * len(parts) : (s + 1) * len(parts)] for s in people]


def everyone(
    contrast: AnswerContrast, respondents: Respondents, settings: Settings, seed: int = 0
) -> tuple[list[Personas], list[np.ndarray]]:
    """All subjects' directions, once per fold (its items left out) and once on all train items.

    Returns (one `Personas` per fold and the final one last, the held-out places of each fold).
    """
    train = respondents.values[:, respondents.inventory.split("train")]
    held = folds(respondents, settings.folds, seed)
    out = []
    for places in [*held, np.array([], int)]:
        shown = train.copy()
        shown[:, places] = 0
        out.append(personas(contrast, shown, settings.direction))
    return out, held


def search(
    model: Model,
    contrast: AnswerContrast,
    respondents: Respondents,
    subject: int,
    found: list[Personas],
    held: list[np.ndarray],
    systems: list[str],
    settings: Settings,
    mode: str = "pas",
    seed: int = 0,
) -> dict[str, Any]:
    """One subject's errors at every alpha: on held-out train items, then on the test items.

    `found`, `held`: from `everyone`; `systems`: the subject's row of `system_prompts`.

    Heads, direction and context of a fold know nothing of its held-out items. The test items are
    answered at every alpha so that choosing on them, as the paper does, can be shown beside.
    Returns `Searched` as plain data.
    """
    inventory = respondents.inventory
    train, test = (np.array(inventory.split(s)) for s in ("train", "test"))
    answers = respondents.values[subject, train]
    alphas = list(settings.alphas)
    spent = {"fit": 0.0, "search": 0.0, "test": 0.0}
    wrong = np.full((len(alphas), len(train)), np.nan)
    prompts = 0
    for place, persona, system in zip([*held, None], found, systems, strict=True):
        started = time.perf_counter()
        shown = np.setdiff1d(np.arange(len(train)), [] if place is None else place)
        known = np.zeros_like(answers)
        known[shown] = answers[shown]
        heads = probes(contrast, known, seed).top(settings.heads, settings.selection)
        direction = persona.direction(subject, heads, contrast)
        spent["fit"] += time.perf_counter() - started
        started = time.perf_counter()
        asked = test if place is None else train[place]
        said = values(
            distribution(
                model,
                system,
                texts(inventory, asked, settings.wording, lower=True),
                settings.orders,
                direction=direction,
                alphas=alphas,
                # A long system prompt is worth computing once for each alpha.
                together=mode == "pas",
            )
        )
        spent["test" if place is None else "search"] += time.perf_counter() - started
        if place is None:
            break
        prompts += said.size * len(settings.orders)
        wrong[:, place] = np.where(answers[place] > 0, np.abs(said - answers[place]), np.nan)
    return asdict(
        Searched(
            id=respondents.ids[subject],
            mode=mode,
            alphas=alphas,
            answers=said.tolist(),
            validation=trait_errors(wrong, inventory, "train").sum(-1).tolist(),
            test=trait_errors(
                np.where(
                    respondents.values[subject, test] > 0,
                    np.abs(said - respondents.values[subject, test]),
                    np.nan,
                ),
                inventory,
                "test",
            )
            .sum(-1)
            .tolist(),
            heads=heads,
            share=float(direction.provenance["share_common"]),
            prompts=prompts,
            seconds_fit=spent["fit"],
            seconds_search=spent["search"],
            seconds_test=spent["test"],
        )
    )
