"""What a run asks of its model, counted: each kind of call, and the seconds that one may take."""

from collections.abc import Mapping

import numpy as np

from workbench.data.respondents import Respondents
from workbench.models.model import Model
from workbench.models.prompts import Prompt, encode_all
from workbench.papers.estimate import Part, pace
from workbench.papers.pas.answer import NEW_TOKENS
from workbench.papers.pas.paper import DIRECTIONS, Settings
from workbench.papers.pas.prompts import PREFILL, SYSTEM, chat, fewshot, portrait_request, texts
from workbench.papers.pas.search import prompts_per_subject

PAIRS = 16
"""Preference pairs in a step of DPO."""
LEFT_OUT = "probes and directions, about half a minute of loading, tables and figures"


def parts(
    model: Model, people: Mapping[int, Respondents], settings: Settings, workers: int = 1
) -> list[Part]:
    """The calls of a whole run, all seeds, controls and DPO, at the model's pace.

    `workers`: processes that share all but descriptions and captures. Raises
    `ContextLengthError` for a prompt that leaves no room for a description.
    """
    first = next(iter(people.values()))
    inventory = first.inventory
    train, test = (np.array(inventory.split(s)) for s in ("train", "test"))
    statements = texts(inventory, test, settings.wording, lower=True)
    told = fewshot(inventory, train, first.values[0, train], settings.wording)
    bare: list[Prompt] = [chat(SYSTEM, text, PREFILL) for text in statements]
    describes = "p2+pas" in settings.modes
    speed = pace(model, bare, settings.portrait_tokens if describes else NEW_TOKENS)
    own = _tokens(model, bare) / len(bare)
    shared = _tokens(model, [portrait_request(told)])
    subjects = sum(map(len, people.values()))
    asked = prompts_per_subject(inventory, settings)
    others = len(DIRECTIONS) if settings.controls else 0
    written = settings.decode == "written"
    scored = speed.replies(1, own, NEW_TOKENS) if written else speed.reads(asked * own) / asked
    contexts = settings.folds + 1
    out = [
        Part("answers captured", 2 * len(train) * len(settings.orders),
             speed.reads(64 * own) / 64),
        Part("prompts scored without a persona", subjects * asked, scored / workers),
        Part("prompts scored under control directions", subjects * asked * others,
             scored / workers),
    ]  # fmt: skip
    for mode in settings.modes:
        if mode != "pas":
            # What stands in front is computed once for each alpha and part.
            length = shared if mode == "fewshot+pas" else settings.portrait_tokens
            once = speed.reads(length) * contexts * len(settings.alphas) / asked
            out.append(Part(f"prompts scored, {mode}", subjects * asked, (scored + once) / workers))
    if describes:
        rows, most = subjects * contexts, settings.portrait_tokens
        seconds = speed.replies(rows, rows * shared, most) / rows
        out.append(Part(f"descriptions of {most} tokens at most", rows, seconds))
    tuned = sum(min(settings.dpo_subjects, len(group)) for group in people.values())
    step = speed.trains(2 * PAIRS * own) + speed.reads(2 * PAIRS * own)
    out.append(Part(f"DPO steps of {PAIRS} pairs", tuned * settings.dpo_steps, step / workers))
    return out


def _tokens(model: Model, prompts: list[Prompt]) -> int:
    return sum(len(encoded.ids) for encoded in encode_all(model, prompts))
