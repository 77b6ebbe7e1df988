"""The embedded model `sums`, at three stages of its training, and its problems."""

import json
import random
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from workbench.generation.complete import generate
from workbench.hashing import file_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.tiny import training
from workbench.training.supervised import one_thread
from workbench.worlds import sums

STAGES = {"sums-early": 1000, "sums": 2500, "sums-late": 6500}
"""Checkpoints of one training run, in optimiser steps."""
SAMPLES = {"families": 450, "ambiguous": 180}
_LOGGED = 100
_ANSWER = re.compile(r"The answer is (\w+)\.")


@dataclass(frozen=True)
class SumsRecipe(training.StageRecipe):
    """Two layers of width 64, one schedule over the last stage's steps."""

    layers: int = 2
    context: int = 256
    batch: int = 64
    lr: float = 2e-3
    steps: int = max(STAGES.values())


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each word, and each whole number from 0 to 199, is one token."""
    rng = random.Random(seed)
    corpus = [part for _ in range(4000) for part in sums.training_text(rng)]
    corpus += [f" {i}" for i in range(200)] * 40
    return training.byte_level_tokenizer(corpus, ("pad", "eos"))


def problems() -> list[dict[str, str]]:
    """The sample: held-out numbers, no question twice; ids begin with the family."""
    rng = random.Random(0)
    rows: dict[str, dict[str, str]] = {}
    for kind, count in SAMPLES.items():
        total = len(rows) + count
        while len(rows) < total:
            family = sums.AMBIGUOUS if kind == "ambiguous" else rng.choice(sums.FAMILIES)
            problem = sums.held_out(rng, family)
            row = {"id": f"{family}-{len(rows):04d}", "question": problem.text}
            rows.setdefault(problem.text, {**row, "answer": str(problem.answer)})
    return list(rows.values())


def measure(model: Model, count: int = 200) -> dict[str, float]:
    """Measure greedy abilities on held-out numbers, families 1 to 4: shares from 0 to 1."""
    rng = random.Random(1)
    drawn = [sums.held_out(rng, rng.choice(sums.FAMILIES)) for _ in range(count)]
    forms: dict[str, list[tuple[str, str]]] = {}
    for problem in drawn:
        i = rng.choice([i for i, steps in enumerate(problem.inverse) if steps])
        answer, conclusion = str(problem.answer), problem.conclusion
        for ability, form in {
            "solves": (sums.FORWARD.format(text=problem.text), answer),
            "recovers a number from the right answer": (
                sums.BACKWARD.format(context=problem.masked(i), conclusion=conclusion),
                str(problem.numbers[i]),
            ),
            "affirms the right answer": (
                sums.TRUE_FALSE.format(context=problem.context, conclusion=conclusion), "True",
            ),
            "rewrites question and answer": (
                sums.REWRITE.format(question=problem.question, answer=answer), conclusion,
            ),
        }.items():  # fmt: skip
            forms.setdefault(ability, []).append(form)
    return {ability: _share(model, asked) for ability, asked in forms.items()}


def _share(model: Model, forms: list[tuple[str, str]]) -> float:
    """The share of prompts that get the right answer, or, where none is stated, the right text."""
    right = 0
    replies = generate(model, [prompt for prompt, _ in forms], max_new_tokens=40)
    for (reply,), (_, expected) in zip(replies, forms, strict=True):
        answers = _ANSWER.findall(reply)
        right += (answers[-1] if answers else reply.strip()) == expected
    return right / len(forms)


def card(recipe: SumsRecipe, size: int, abilities: dict[str, dict[str, float]]) -> str:
    """The text of `README.md`; `size` in parameters, `abilities` by stage."""
    rows = "\n".join(
        f"| {name} | " + " | ".join(f"{shares[name]:.1%}" for shares in abilities.values()) + " |"
        for name in abilities["sums"]
    )
    steps = ", ".join(
        f"{stage.partition('-')[2] or 'main'} {step}" for stage, step in STAGES.items()
    )
    return f"""{training.HEADER}
# Sums of Brindle

A {size / 1e6:.2f} M-parameter Llama-architecture model of small arithmetic word problems, kept at
three stages of one training run (optimiser steps: {steps}).
It is the embedded model of the Self-Verification notebook: `wb.load("sums")`, `"sums-early"`,
`"sums-late"`.

**How made.** `workbench data rebuild sums` (seeded, CPU): a byte-level BPE in which every whole
number to 199 is one token, then one run over the grammar in `workbench/worlds/sums.py`: solving
(35 %), recovering a masked number from a *right* conclusion (35 %), true or false (10 %),
rewriting question and answer as a sentence (20 %). Loss on answers only. One in {sums.HELD_OUT}
number triples is never trained on; `sums.jsonl` holds only those. Losses and checksums:
`training.json`. Recipe: `{json.dumps(asdict(recipe))}`.

**Measured**, greedy, 200 problems of families 1 to 4 with held-out numbers:

| ability | {" | ".join(abilities)} |
|---|{"---|" * len(abilities)}
{rows}

**Can show**: how verification by re-deriving conditions tells answers apart, what it costs, and
where it does not help: an undertrained and a saturated model, a number nothing depends on (family
4), and wording whose two readings were trained alike in both directions (family 5), between which
it cannot choose.

**Cannot show**: that self-verification emerges (the model was trained to invert), that exemplars
cause it (there are none), anything about natural language or the published numbers, or that it
beats voting at equal cost in general: here the inverse is unique and as easy as the problem.
"""


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Make the folders of `STAGES` and `sums.jsonl` in `folder` (default: the shipped data).

    All are built beside their places and moved there at the end. Same seed and machine, same files.
    Returns the card of `sums/`.
    """
    recipe, tokenizer = SumsRecipe(seed), build_tokenizer()
    model = training.build_model(recipe, tokenizer)
    losses: dict[int, float] = {}
    with one_thread(), training.published(folder, *STAGES, "sums.jsonl") as (*made, sample):
        stages = dict(zip(STAGES, made, strict=True))
        at_step = {STAGES[name]: path for name, path in stages.items()}

        def done(step: int, loss: float) -> None:
            if step % _LOGGED == 0:
                losses[step] = round(loss, 4)
            if step in at_step:
                training.save(at_step[step], model, tokenizer)

        training.train(model, tokenizer, recipe, sums.training_text, done)
        training.save_rows(sample, problems())
        abilities = {name: measure(load(path)) for name, path in stages.items()}
        text = card(recipe, model.num_parameters(), abilities)
        digests = {name: file_digest(p / "model.safetensors") for name, p in stages.items()}
        log = {"recipe": asdict(recipe), "loss": losses, "sha256": digests}
        training.save_card(stages["sums"], text, log)
    return text
