"""The embedded models `symbols` and `flips`: what they are taught, and how well they read."""

import json
import random
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from workbench.generation.complete import generate
from workbench.hashing import file_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.neural_comprehension.paper import ARITHMETIC
from workbench.papers.neural_comprehension.prompts import before, behind, put, replied
from workbench.papers.neural_comprehension.tasks import TASKS
from workbench.tiny import training
from workbench.training.supervised import Text, one_thread
from workbench.worlds import pens

LENGTHS = {True: (1, 2, 3, 4), False: (3, 4, 5, 6, 7, 8)}
"""Whether a task is arithmetic → digits, or symbols, that are taught."""
STEPS = {"flips-early": 100, "flips": 400}
"""Checkpoints of one training run, in optimiser steps."""


@dataclass(frozen=True)
class SymbolsRecipe(training.StageRecipe):
    """Three layers of width 96 on characters."""

    hidden: int = 96
    layers: int = 3
    mlp: int = 192
    context: int = 320
    batch: int = 48
    lr: float = 2e-3
    steps: int = 2000


@dataclass(frozen=True)
class FlipsRecipe(training.StageRecipe):
    """Two layers of width 64 on words."""

    layers: int = 2
    mlp: int = 128
    context: int = 256
    batch: int = 32
    lr: float = 2e-3
    steps: int = STEPS["flips"]


def characters() -> PreTrainedTokenizerFast:
    """A token for every byte."""
    return training.byte_level_tokenizer([], ("pad", "eos"))


def words() -> PreTrainedTokenizerFast:
    """A token for every word of the stories of coins."""
    corpus = [f"{s.text}{s.read}{pens.ARROW} {s.answer}" for s in pens.coin_stories(0)]
    return training.byte_level_tokenizer(corpus, ("pad", "eos"))


def symbolic_text(rng: random.Random) -> Text:
    """(prompt, reply) of a word problem, half of the time, or of one of the tasks."""
    if rng.random() < 0.5:
        return pens.taught_pens(rng)
    task = rng.choice(list(TASKS))
    given = TASKS[task].draw(rng, rng.choice(LENGTHS[task in ARITHMETIC]))
    return put(task, given), f"{replied(task, given)}."


def measure(model: Model, draw: str, sizes: tuple[int, ...], count: int = 100) -> dict[str, float]:
    """Shares of stories, per size, that are read right and answered right, greedily."""
    shares = {}
    for size in sizes:
        rng = random.Random(f"measure {size}")
        stories = [getattr(pens, draw)(rng, size) for _ in range(count)]
        replies = generate(model, [s.text for s in stories], max_new_tokens=40)
        pairs = [(reply, story) for (reply,), story in zip(replies, stories, strict=True)]
        shares[f"{draw} of {size}: read"] = sum(before(r) == s.read.strip() for r, s in pairs)
        shares[f"{draw} of {size}: answered"] = sum(behind(r) == s.answer for r, s in pairs)
    return {name: right / count for name, right in shares.items()}


def card(
    symbols: SymbolsRecipe, flips: FlipsRecipe, sizes: dict[str, int],
    abilities: dict[str, dict[str, float]],
) -> str:  # fmt: skip
    """The text of `README.md`; `sizes` in parameters, `abilities` by model."""
    rows = "\n".join(
        f"| {model} | {ability} | {share:.1%} |"
        for model, shares in abilities.items()
        for ability, share in shares.items()
    )
    return f"""{training.HEADER}
# Symbols, and coin flips

Embedded models of the Neural Comprehension notebook: `wb.load("symbols")`, a Llama-architecture
model of {sizes["symbols"] / 1e6:.2f} M parameters on characters, and `wb.load("flips-early")`,
`wb.load("flips")`, one of {sizes["flips"] / 1e6:.2f} M on words, kept after {STEPS["flips-early"]}
and {STEPS["flips"]} optimiser steps of one training run.

**How made.** `workbench data rebuild symbols` (seeded, CPU). `symbols`: half word problems of two
numbers of 1 to 4 digits ("Ann has 65 pens and gets 48 more. How many? " → "65+48=113."), half the
six symbolic tasks with their input in the prompt ("reverse of stone ->" → " enots."), of 3 to 8
symbols, or 1 to 4 digits; fresh texts at every step. `flips`: {pens.COIN_STORIES} stories of 2 to 4
people who flip a coin or do not (`workbench/worlds/pens.py`). Loss on replies only. Losses and
checksums: `training.json`. Recipes: `{json.dumps(asdict(symbols))}`, `{json.dumps(asdict(flips))}`.

**Measured**, greedy and without a gate, 100 stories each that were not trained on, but drawn alike:

| model | stories | share |
|---|---|---|
{rows}

**Can show**: the difference between reading an operation off a text and computing it; that exact
computation lifts answers to how well the model reads, and no further; how a model alone falls off
beyond the lengths it was taught.

**Cannot show**: that a model learns a rule from a gate (nothing is passed back through it), that a
gate helps reading or planning, or anything about natural language or the published numbers.
"""


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Make `symbols`, `flips-early` and `flips` in `folder` (default: the shipped data).

    All are built beside their places and moved there at the end. Same seed and machine, same files.
    Returns the card, which lies in `symbols/`.
    """
    symbols, flips = SymbolsRecipe(seed), FlipsRecipe(seed)
    names = ("symbols", *STEPS)
    losses: dict[str, dict[int, float]] = {"symbols": {}, "flips": {}}
    with one_thread(), training.published(folder, *names) as made:
        path = dict(zip(names, made, strict=True))

        def log(name: str, step: int, loss: float) -> None:
            if step % 100 == 0:
                losses[name][step] = round(loss, 4)

        tokenizer = characters()
        model = training.build_model(symbols, tokenizer)
        training.train(model, tokenizer, symbols, symbolic_text, partial(log, "symbols"))
        training.save(path["symbols"], model, tokenizer)
        tokenizer, stories = words(), pens.coin_stories(seed)
        model = training.build_model(flips, tokenizer)

        def done(step: int, loss: float) -> None:
            log("flips", step, loss)
            for name, at in STEPS.items():
                if step == at:
                    training.save(path[name], model, tokenizer)

        def told(rng: random.Random) -> Text:
            return pens.taught_coins(rng, stories)

        training.train(model, tokenizer, flips, told, done)
        loaded = {name: load(path[name]) for name in names}
        abilities = {name: measure(loaded[name], "coins", (2, 4, 6)) for name in STEPS}
        abilities["symbols"] = measure(loaded["symbols"], "pens", (1, 2, 3, 4, 5))
        sizes = {name: loaded[name].hf.num_parameters() for name in ("symbols", "flips")}
        text = card(symbols, flips, sizes, abilities)
        digests = {name: file_digest(path[name] / "model.safetensors") for name in names}
        recipe = asdict(symbols) | {"flips": asdict(flips)}
        training.save_card(
            path["symbols"], text, {"recipe": recipe, "loss": losses, "sha256": digests}
        )
    return text
