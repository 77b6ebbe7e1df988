"""Make the embedded model of questionnaires and its people again."""

import csv
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.data.inventories import TRAITS, Inventory, read_inventory
from workbench.hashing import file_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.pas.answer import distribution, values
from workbench.papers.pas.prompts import ORDERS, SYSTEM, fewshot, texts
from workbench.paths import data_folder
from workbench.tiny import survey_texts
from workbench.tiny.survey_texts import NONE, Mixture, Writer, batch
from workbench.training.supervised import one_thread
from workbench.worlds.population import Population

PEOPLE = 128
"""Shipped, in blocks of 32: a seed takes subjects from a block of its own."""
PEOPLE_SEED = 20_000
_LOGGED = 50
_SIDES = 5
"""Train answers that a shipped person has at least on either side of the middle."""


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
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
    recipe, tokenizer = survey_recipe(seed), survey_texts.build_tokenizer(inventory)
    hf = build_model(recipe, tokenizer)
    excess: dict[int, list[float]] = {}
    with one_thread():
        train_survey(
            hf, survey_texts.Writer(inventory, tokenizer), population, recipe,
            lambda step, value: excess.setdefault(-(-step // _LOGGED) * _LOGGED, []).append(value),
        )  # fmt: skip
    hf.save_pretrained(work)
    tokenizer.save_pretrained(work)
    digest = file_digest(work / "model.safetensors")
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


def _card(size: int, recipe: "Recipe", scores: dict[str, float]) -> str:
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
or their answers are told or given in turns of a chat, followed by {survey_texts.QUESTIONS}
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


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stage:
    """Optimiser steps on one mixture of texts; the rate goes linearly from `lr` to `end`."""

    steps: int
    mixture: Mixture
    lr: float = 3e-3
    end: float = 3e-3


@dataclass(frozen=True)
class Recipe:
    """Everything the checkpoint depends on, beside the questionnaire.

    What is hard about a questionnaire is a product: a statement's sign and trait, times a person's
    trait, times the order of the options. Learned all at once nothing happens for long; a stage
    that adds one factor at a time takes minutes.
    """

    seed: int = 0
    hidden: int = 64
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    mlp: int = 256
    context: int = 512
    texts: int = 48
    spread: float = 0.1
    stages: tuple[Stage, ...] = ()


def survey_recipe(seed: int = 0) -> Recipe:
    """Described persons; answers told; one answer given in a chat; all of it, options turned."""
    stages = (
        Stage(350, Mixture(shares=(1, 0, 0), turned=0)),
        Stage(350, Mixture(shares=(0.1, 0.9, 0), turned=0, counts=(40,))),
        Stage(300, Mixture((0.05, 0.05, 0.9), turned=0, focus=1, counts=(40,), turns=(1,))),
        Stage(650, Mixture((0.1, 0.3, 0.6)), end=0),
    )
    return Recipe(seed=seed, stages=stages)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised Llama of the recipe's size."""
    torch.manual_seed(recipe.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=recipe.mlp,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            initializer_range=recipe.spread,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train_survey(
    model: LlamaForCausalLM,
    writer: Writer,
    population: Population,
    recipe: Recipe,
    done: Callable[[int, float], None] = lambda step, excess: None,
) -> None:
    """AdamW over all stages, in place; `done(step, excess)` after each step.

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
        for at in range(stage.steps):
            rate = stage.lr + (stage.end - stage.lr) * at / stage.steps
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1, (step + 1) / 100)
            made = batch(writer, population, rng, recipe.texts, stage.mixture)
            loss, excess = _loss(model, made, letters)
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
    model: LlamaForCausalLM, made: dict[str, np.ndarray], letters: torch.Tensor
) -> tuple[torch.Tensor, float]:
    tensors = {name: torch.from_numpy(value) for name, value in made.items()}
    hidden_from = torch.zeros(made["visible"].shape).masked_fill(~tensors["visible"], -1e9)
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
    row, place = (tensors["labels"] != NONE).nonzero().unbind(1)
    fixed = torch.nn.functional.cross_entropy(
        model.lm_head(hidden[row, place - 1]), tensors["labels"][row, place]
    )
    return letter + 0.5 * fixed, (letter - entropy).item()
