"""The embedded model of questionnaires, `survey`, and its people: from recipe to card."""

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import LlamaForCausalLM

from workbench.data.inventories import TRAITS, read_inventory
from workbench.hashing import file_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.pas.answer import distribution, values
from workbench.papers.pas.prompts import ORDERS, SYSTEM, fewshot, texts
from workbench.tiny import training
from workbench.tiny.survey_texts import QUESTIONS, Mixture, Writer, batch, build_tokenizer
from workbench.training.supervised import IGNORED, one_thread
from workbench.worlds.population import Population

PEOPLE = 128
"""Shipped, in blocks of 32: a seed takes subjects from a block of its own."""
PEOPLE_SEED = 20_000
_SIDES = 5
"""Train answers that a shipped person has at least on either side of the middle."""
_LOGGED = 50


@dataclass(frozen=True)
class Stage:
    """Optimiser steps on one mixture of texts; the rate goes linearly from `lr` to `end`."""

    steps: int
    mixture: Mixture
    lr: float = 3e-3
    end: float = 3e-3


STAGES = (
    Stage(350, Mixture(shares=(1, 0, 0), turned=0)),
    Stage(350, Mixture(shares=(0.1, 0.9, 0), turned=0, counts=(40,))),
    Stage(300, Mixture((0.05, 0.05, 0.9), turned=0, focus=1, counts=(40,), turns=(1,))),
    Stage(650, Mixture((0.1, 0.3, 0.6)), end=0),
)
"""Described persons; answers told; one answer given in a chat; all of it, options turned."""


@dataclass(frozen=True)
class SurveyRecipe(training.Recipe):
    """Stages of `texts` per step, and the `spread` of initial weights.

    What is hard about a questionnaire is a product: a statement's sign and trait, times a person's
    trait, times the order of the options. Learned all at once nothing happens for long; a stage
    that adds one factor at a time takes minutes.
    """

    heads: int = 8
    texts: int = 48
    spread: float = 0.1
    stages: tuple[Stage, ...] = STAGES


def train(
    model: LlamaForCausalLM,
    writer: Writer,
    population: Population,
    recipe: SurveyRecipe,
    done: Callable[[int, float], None] = lambda step, excess: None,
) -> None:
    """Train in place, AdamW over all stages; `done(step, excess)` after each step.

    The loss on a letter is the cross-entropy with its exact probabilities; `excess`, nats above
    their entropy, is 0 for a model that knew the person fully.
    """
    rng = np.random.default_rng(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0, weight_decay=0.01, betas=(0.9, 0.98))
    letters = torch.tensor(writer.letter)
    step = 0
    model.train()
    progress = tqdm(total=sum(s.steps for s in recipe.stages), desc="survey", mininterval=5)
    for stage in recipe.stages:
        for i in range(stage.steps):
            rate = stage.lr + (stage.end - stage.lr) * i / stage.steps
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 100)
            arrays = batch(writer, population, rng, recipe.texts, stage.mixture)
            loss, excess = _loss(model, arrays, letters)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step += 1
            progress.update()
            progress.set_postfix(excess=f"{excess:.3f}", refresh=False)
            done(step, excess)
    progress.close()
    model.eval()


def _loss(
    model: LlamaForCausalLM, arrays: dict[str, np.ndarray], letters: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """(what is minimised, `excess`) of one batch of `survey_texts.batch`."""
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    hidden_from = torch.zeros(arrays["visible"].shape).masked_fill(~tensors["visible"], -1e9)
    hidden = model.model(
        tensors["input_ids"],
        attention_mask=hidden_from[:, None],
        position_ids=tensors["position_ids"],
        use_cache=False,
    ).last_hidden_state
    row, place = tensors["at"].unbind(1)
    odds = tensors["odds"]
    logps = model.lm_head(hidden[row, place]).log_softmax(-1)[:, letters]
    entropy = -(odds * odds.clamp_min(1e-9).log()).sum(-1).mean()
    letter = -(odds * logps).sum(-1).mean()
    row, place = (tensors["labels"] != IGNORED).nonzero().unbind(1)
    fixed = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[row, place - 1]), tensors["labels"][row, place]
    )
    return letter + 0.5 * fixed, (letter - entropy).item()


def write_people(population: Population, path: Path) -> None:
    """Write the sample as .csv: raw answers and, in `true_…`, traits.

    Left out are people who hardly take a side, or one side only (see `_SIDES`).
    """
    drawn = population.draw(np.random.default_rng(PEOPLE_SEED), 2 * PEOPLE)
    answers = drawn.answers[:, population.inventory.split("train")]
    sides = np.minimum((answers > 3).sum(1), (answers < 3).sum(1))
    people = np.flatnonzero(sides >= _SIDES)[:PEOPLE]
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, lineterminator="\n")
        ids = [i.id for i in population.inventory.items]
        lines.writerow(["id", *ids, *(f"true_{t}" for t in TRAITS)])
        for n, person in enumerate(people):
            traits = (f"{t:.4f}" for t in drawn.traits[person])
            lines.writerow([f"p{n:03d}", *drawn.answers[person].tolist(), *traits])


def measure(model: Model, population: Population, count: int = 60) -> dict[str, float]:
    """Measure the Score (0 to 20) on the test statements of new people, by what is told of them."""
    inventory = population.inventory
    answers = population.draw(np.random.default_rng(PEOPLE_SEED + 1), count).answers
    train, test = inventory.split("train"), inventory.split("test")
    trait = inventory.trait_of(test)
    statements = texts(inventory, test, "second", lower=True)

    def score(predicted: np.ndarray, person: int) -> float:
        wrong = np.abs(predicted - answers[person, test])
        return sum(float(wrong[trait == t].mean()) for t in range(len(inventory.traits)))

    def asked(system: str) -> np.ndarray:
        return values(distribution(model, system, statements, tuple(ORDERS)))[0]

    def told(person: int, items: list[int]) -> str:
        return fewshot(inventory, items, answers[person, items], "second")

    neutral, untold = np.full(len(test), 3), asked(SYSTEM)
    predictions = {
        "always neutral (no model)": lambda _: neutral,
        "nothing about the person": lambda _: untold,
        "12 answers in the system prompt": lambda person: asked(told(person, train[::3][:12])),
        "all 40 train answers in the system prompt": lambda person: asked(told(person, train)),
    }
    return {
        name: float(np.mean([score(predict(person), person) for person in range(count)]))
        for name, predict in predictions.items()
    }


def card(recipe: SurveyRecipe, size: int, scores: dict[str, float]) -> str:
    """The text of `README.md`; `size` in parameters."""
    rows = "\n".join(f"| {name} | {value:.2f} |" for name, value in scores.items())
    steps = " + ".join(str(s.steps) for s in recipe.stages)
    return f"""{training.HEADER}
# The questionnaires of Brindle

A {size / 1e6:.2f} M-parameter Llama-architecture model that has read how an invented population
answers 80 statements about itself (`survey.csv`). It is the embedded model of the PAS notebook:
`wb.load("survey")`; `survey_answers.csv` holds {PEOPLE} people it has never seen and their traits.

**How made.** `workbench data rebuild survey` (seeded, CPU, {steps} steps): a byte-level tokenizer
in which every phrase of the questionnaire is one token, then texts in which a person is described,
or their answers are told or given in turns of a chat, followed by {QUESTIONS}
questions; the loss on a letter is taken against its exact probabilities. Options come in both
orders. Losses, recipe and checksum: `training.json`. The population:
`workbench/worlds/population.py`.

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


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Make `survey/` and `survey_answers.csv` in `folder` (default: the shipped data).

    The questionnaire itself, `survey.csv`, is written by hand and read here. Both are built beside
    their places and moved there at the end. Same seed and machine, same files. Returns the card.
    """
    inventory = read_inventory()
    population = Population(inventory)
    recipe, tokenizer = SurveyRecipe(seed), build_tokenizer(inventory)
    model = training.build_model(recipe, tokenizer, recipe.spread)
    excess: list[float] = []
    names = "survey", "survey_answers.csv"
    with one_thread(), training.published(folder, *names) as (made, people):
        train(model, Writer(inventory, tokenizer), population, recipe,
              lambda step, value: excess.append(value))  # fmt: skip
        training.save(made, model, tokenizer)
        write_people(population, people)
        text = card(recipe, model.num_parameters(), measure(load(made), population))
        blocks = {i + _LOGGED: excess[i : i + _LOGGED] for i in range(0, len(excess), _LOGGED)}
        log = {
            "recipe": asdict(recipe), "sha256": file_digest(made / "model.safetensors"),
            "excess": {step: round(float(np.mean(block)), 4) for step, block in blocks.items()},
        }  # fmt: skip
        training.save_card(made, text, log)
    return text
