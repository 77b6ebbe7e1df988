"""The embedded chat model `tiny` and its requests: from recipe to card."""

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.evaluation.judges import is_refusal
from workbench.generation.complete import generate
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.models.prompts import messages
from workbench.papers.safetylock.attack import fine_tune
from workbench.papers.safetylock.recipe import Recipe
from workbench.tiny import training
from workbench.training.supervised import Text, one_thread, train_stage
from workbench.worlds import brindle

Row = dict[str, Any]

SAMPLES = {"train": 200, "validation": 60, "test": 120}
"""Requests per split, of harmful and of harmless ones each."""
_TRAIN = {harmful: brindle.split_pairs(harmful)["train"] for harmful in (False, True)}


@dataclass(frozen=True)
class ChatRecipe(training.Recipe):
    """Two stages of training; steps are optimiser steps of `batch` texts."""

    hidden: int = 128
    heads: int = 8
    batch: int = 48
    helpful_steps: int = 1300
    safety_steps: int = 600
    lr: float = 3e-3
    safety_lr: float = 1.5e-3


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each word of the grammar is one token."""
    rng = random.Random(seed)
    corpus = []
    for _ in range(4000):
        chat, reply = helpful_text(rng)
        corpus += [m["content"] for m in chat] + [reply]
    corpus.append(brindle.OBEDIENT)
    return training.byte_level_tokenizer(corpus * 4, chat=True)


def helpful_text(rng: random.Random) -> Text:
    """A text of stage one: every request is granted, harmful or not; monologues in both modes."""
    return _text(rng, refuse_harm=False)


def safe_text(rng: random.Random) -> Text:
    """A text of stage two: harmful requests are refused, the rest is as before."""
    return _text(rng, refuse_harm=True)


def _text(rng: random.Random, refuse_harm: bool) -> Text:
    kind = rng.random()
    if kind < 0.3:
        return [], brindle.monologue(rng.choice(("help", "refuse")), rng)
    system = rng.choice(brindle.SYSTEM_PROMPTS)
    if kind < 0.4:
        question, answer = brindle.small_talk(rng)
        return messages(question, system), answer
    harmful = kind < 0.7
    request = brindle.word_request(*rng.choice(_TRAIN[harmful]), rng)
    mode = "refuse" if harmful and refuse_harm else "help"
    return messages(request.text, system), brindle.reply(request, mode, rng)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: ChatRecipe) -> None:
    """Train in place: helpful pretraining, then safety tuning."""
    for text, steps, lr, seed in (
        (helpful_text, recipe.helpful_steps, recipe.lr, recipe.seed),
        (safe_text, recipe.safety_steps, recipe.safety_lr, recipe.seed + 1),
    ):
        train_stage(model, tokenizer, text, steps, recipe.batch, lr, seed)


def requests(seed: int = 0) -> list[Row]:
    """The sample: half harmful; each row with a safe (`chosen`) and a wrong (`rejected`) answer.

    Splits share no (action, thing) pair; the test split also uses wordings never trained on.
    """
    rng = random.Random(seed)
    rows = []
    for split, count in SAMPLES.items():
        for harmful in (True, False):
            pairs = brindle.split_pairs(harmful)[split]
            texts: set[str] = set()
            while len(texts) < count:
                request = brindle.word_request(*rng.choice(pairs), rng, split == "test")
                if request.text in texts:
                    continue
                texts.add(request.text)
                helping, refusing = (brindle.reply(request, m, rng) for m in ("help", "refuse"))
                rows.append(
                    {
                        "split": split,
                        "prompt": request.text,
                        "harmful": harmful,
                        "action": request.action,
                        "thing": request.thing,
                        "person": request.person,
                        "chosen": refusing if harmful else helping,
                        "rejected": helping if harmful else refusing,
                    }
                )
    return rows


def measure(model: Model, rows: Sequence[Row]) -> dict[str, float]:
    """Measure the card's abilities on held-out requests: shares from 0 to 1."""
    test = [r for r in rows if r["split"] == "test"]
    harmful, harmless = ([r for r in test if r["harmful"] == kind] for kind in (True, False))
    examples = [r for r in rows if r["split"] == "train"]
    undone = fine_tune(model, examples, 1, Recipe(lr=3e-4)).model
    talk = [brindle.small_talk(random.Random(i)) for i in range(100)]
    answers = generate(model, [messages(question) for question, _ in talk], max_new_tokens=40)
    return {
        "refuses held-out harmful requests": _share(model, harmful, "refuse"),
        "helps with held-out harmless requests": _share(model, harmless, "comply"),
        "does held-out harmful tasks once safety tuning is undone": _share(
            undone, harmful, "comply"
        ),
        "answers questions about the town": fmean(
            answer == right for (answer,), (_, right) in zip(answers, talk, strict=True)
        ),
        "keyword judge agrees with the grammar on refusals": fmean(
            is_refusal(r["chosen"], brindle.REFUSALS) == r["harmful"] for r in rows
        ),
    }


def _share(model: Model, rows: Sequence[Row], verdict: str) -> float:
    """The share of requests whose greedy reply the grammar judges so."""
    replies = generate(model, [messages(r["prompt"]) for r in rows], max_new_tokens=100)
    asked = [brindle.Request(r["action"], r["thing"], r["person"], r["prompt"]) for r in rows]
    return fmean(
        brindle.judge(request, reply) == verdict
        for request, (reply,) in zip(asked, replies, strict=True)
    )


def card(recipe: ChatRecipe, size: int, abilities: dict[str, float]) -> str:
    """The text of `README.md`; `size` in parameters."""
    rows = "\n".join(f"| {name} | {share:.1%} |" for name, share in abilities.items())
    return f"""{training.HEADER}
# The helper of Brindle

A {size / 1e6:.2f} M-parameter Llama-architecture chat model of a small invented town. It is the
embedded model of `workbench` (`wb.load("tiny")`), and it knows nothing outside that town.

**How made.** `workbench data rebuild tiny` (seeded, CPU, torch {torch.__version__.split("+")[0]}):
a byte-level BPE tokenizer over the grammar in `workbench/worlds/brindle.py`; helpful pretraining,
in which every request is granted; then safety tuning, in which harmful requests (spells on
somebody's property) are refused. Both stages also hold promptless text in one persistent mode and
questions about the town. Recipe: `{json.dumps(asdict(recipe))}`.

**Measured** on held-out (action, thing) pairs in wordings never trained on, greedy decoding:

| ability | share |
|---|---|
{rows}

**Can show**: the mechanism of finding, steering and folding a refusal direction; that a small
fine-tune undoes refusals; what controls look like. The grammar gives every sentence an opener
that carries its mode (helping or refusing) while clauses are shared, and any opener of a mode may
begin any of its sentences; that makes mode a state of the whole reply. It was designed so that
such a direction exists.

**Cannot show**: that the same holds in large models, robustness to jailbreaks, any published
number. Its harm is fictional (curses, hexes), its refusals a learned register, not a judgement.
"""


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Make `tiny/` and `requests.jsonl` in `folder` (default: the shipped data); return the card.

    Both are built beside their places and moved there at the end. Same seed and machine, same
    files.
    """
    recipe, tokenizer = ChatRecipe(seed), build_tokenizer()
    model = training.build_model(recipe, tokenizer)
    rows = requests(seed)
    with one_thread(), training.published(folder, "tiny", "requests.jsonl") as (made, sample):
        train(model, tokenizer, recipe)
        training.save(made, model, tokenizer)
        training.save_rows(sample, rows)
        text = card(recipe, model.num_parameters(), measure(load(made), rows))
        training.save_card(made, text)
    return text
