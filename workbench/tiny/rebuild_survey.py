"""rebuild_survey(): make the questionnaire model and its people again; measure, write the card."""

import csv
import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from workbench.inventories import TRAITS, Inventory, read_inventory
from workbench.models import Model, load
from workbench.papers.pas.answer import distribution, values
from workbench.papers.pas.prompts import ORDERS, SYSTEM, fewshot, texts
from workbench.paths import data_folder
from workbench.tiny import survey, train_survey
from workbench.tiny.population import Population
from workbench.tiny.train import one_thread

PEOPLE = 128
"""Shipped, in blocks of 32: a seed takes subjects from a block of its own."""
PEOPLE_SEED = 20_000
_LOGGED = 50
_SIDES = 5
"""Train answers that a shipped person has at least on either side of the middle."""


def rebuild_survey(folder: Path | None = None, seed: int = 0) -> str:
    """Train, save to `folder/survey`, write `folder/survey_answers.csv`; returns the card's text.

    The questionnaire itself, `survey.csv`, is written by hand and read here. All is first built
    beside its place and moved there at the end. Same seed and machine, same files.
    """
    folder = folder or data_folder()
    inventory = read_inventory("auto")
    population = Population(inventory)
    work = folder / "survey.partial"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    recipe, tokenizer = train_survey.recipe(seed), survey.build_tokenizer(inventory)
    hf = train_survey.build_model(recipe, tokenizer)
    excess: dict[int, list[float]] = {}
    with one_thread():
        train_survey.train(
            hf, survey.Writer(inventory, tokenizer), population, recipe,
            lambda step, value: excess.setdefault(-(-step // _LOGGED) * _LOGGED, []).append(value),
        )  # fmt: skip
    hf.save_pretrained(work)
    tokenizer.save_pretrained(work)
    digest = hashlib.sha256((work / "model.safetensors").read_bytes()).hexdigest()
    log = {
        "recipe": asdict(recipe), "sha256": digest,
        "excess": {step: round(float(np.mean(v)), 4) for step, v in excess.items()},
    }  # fmt: skip
    (work / "training.json").write_text(json.dumps(log, indent=1), encoding="utf-8")
    card = _card(hf.num_parameters(), recipe, measure(load(work), population))
    (work / "README.md").write_text(card, encoding="utf-8")
    write_people(population, folder / "survey_answers.csv")
    shutil.rmtree(folder / "survey", ignore_errors=True)
    work.rename(folder / "survey")
    return card


def write_people(population: Population, path: Path) -> None:
    """The shipped respondents: raw answers and, in `true_…`, their traits.

    Left out are people who hardly take a side, or one side only (see `_SIDES`).
    """
    drawn = population.draw(np.random.default_rng(PEOPLE_SEED), 2 * PEOPLE)
    train = drawn.answers[:, population.inventory.split("train")]
    sides = np.minimum((train > 3).sum(1), (train < 3).sum(1))
    kept = np.flatnonzero(sides >= _SIDES)[:PEOPLE]
    answers, traits = drawn.answers[kept], drawn.traits[kept]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        ids = [i.id for i in population.inventory.items]
        lines.writerow(["id", *ids, *(f"true_{t}" for t in TRAITS)])
        for n, (given, true) in enumerate(zip(answers, traits, strict=True)):
            lines.writerow([f"p{n:03d}", *given.tolist(), *(f"{t:.4f}" for t in true)])


def measure(model: Model, population: Population, count: int = 60) -> dict[str, float]:
    """Score (0 to 20) on the test statements, for new people: what it knows, and how it is told."""
    inventory: Inventory = population.inventory
    people = population.draw(np.random.default_rng(PEOPLE_SEED + 1), count)
    train, test = inventory.split("train"), inventory.split("test")
    trait = inventory.trait_of(test)
    statements = texts(inventory, test, "second", lower=True)

    def score(said: np.ndarray, person: int) -> float:
        wrong = np.abs(said - people.answers[person, test])
        return sum(float(wrong[trait == t].mean()) for t in range(len(inventory.traits)))

    def told(person: int, items: list[int]) -> str:
        return fewshot(inventory, items, people.answers[person, items], "second")

    systems = {
        "nothing about the person": lambda _: SYSTEM,
        "12 answers in the system prompt": lambda s: told(s, train[::3][:12]),
        "all 40 train answers in the system prompt": lambda s: told(s, train),
    }
    out = {
        "always neutral (no model)": float(
            np.mean([score(np.full(len(test), 3), s) for s in range(count)])
        )
    }
    for name, system in systems.items():
        out[name] = float(
            np.mean(
                [score(values(distribution(model, system(s), statements, tuple(ORDERS)))[0], s)
                 for s in range(count)]
            )
        )  # fmt: skip
    return out


def _card(size: int, recipe: train_survey.Recipe, scores: dict[str, float]) -> str:
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items())
    steps = " + ".join(str(s.steps) for s in recipe.stages)
    return f"""---
license: mit
library_name: transformers
---
# The questionnaires of Brindle

A {size / 1e6:.2f} M-parameter Llama-architecture model that has read how an invented population
answers 80 statements about itself (`survey.csv`). It is the embedded model of the PAS notebook:
`wb.load("survey")`; `survey_answers.csv` holds {PEOPLE} people it has never seen and their traits.

**How made.** `workbench data rebuild survey` (seeded, CPU, {steps} steps): a byte-level tokenizer
in which every phrase of the questionnaire is one token, then texts in which a person is described,
or their answers are told or given in turns of a chat, followed by {survey.QUESTIONS} questions; the
loss on a letter is taken against its exact probabilities. Options come in both orders. Losses,
recipe and checksum: `training.json`. The population: `workbench/tiny/population.py`.

**Built so that a persona can be steered.** In nine texts of ten a question sees only the last token
of what precedes it. Without this the model selects evidence by attention, statement by statement,
which no shift that is the same for all statements can imitate.

**Measured** on {len(TRAITS)} traits, new people, Score 0 to 20 (lower is better):

| told | Score |
|---|---|
{rows}

**Can show**: directions from one person's answers, what of them is common to everybody, what
choosing alpha on the test invents, collapse at large alpha, cost against DPO.

**Cannot show**: the published numbers, how large models hold personas, anything about real people
or the validity of questionnaires.
"""
