"""Make the embedded model of sums and its problems again."""

import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.generation.complete import generate
from workbench.hashing import file_digest
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.paths import data_folder
from workbench.tiny.training import Recipe, build_model, byte_level_bpe
from workbench.training.supervised import one_thread, train_stage
from workbench.worlds import sums

SAMPLES = {"families": 450, "ambiguous": 180}
_LOGGED = 100
_ANSWER = re.compile(r"The answer is (\w+)\.")


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Train once, save every stage to `folder/sums…`, write `folder/sums.jsonl`; returns the card.

    All is first built beside its place and moved there at the end. Same seed and machine, same
    files.
    """
    folder = folder or data_folder()
    work = folder / "sums.partial"
    shutil.rmtree(work, ignore_errors=True)
    recipe, tokenizer = sums_recipe(seed), build_sums_tokenizer()
    hf = build_model(recipe, tokenizer)
    names = {step: "sums" if stage == "main" else f"sums-{stage}"
             for stage, step in SUMS_STAGES.items()}  # fmt: skip
    losses: dict[int, float] = {}

    def done(step: int, loss: float) -> None:
        if step % _LOGGED == 0:
            losses[step] = round(loss, 4)
        if step in names:
            hf.save_pretrained(work / names[step])
            tokenizer.save_pretrained(work / names[step])

    train_sums(hf, tokenizer, recipe, done)
    rows = problems()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (work / "sums.jsonl").write_text(lines, encoding="utf-8")
    hashes = {name: file_digest(work / name / "model.safetensors") for name in names.values()}
    log = {"recipe": _stated(recipe), "loss": losses, "sha256": hashes}
    (work / "sums" / "training.json").write_text(json.dumps(log, indent=1), encoding="utf-8")
    card = _card(hf.num_parameters(), recipe, {n: measure(load(work / n)) for n in names.values()})
    (work / "sums" / "README.md").write_text(card, encoding="utf-8")
    for made in sorted(work.iterdir()):
        target, old = folder / made.name, folder / f"{made.name}.old"
        if target.is_dir():
            target.rename(old)
        made.replace(target)
        shutil.rmtree(old, ignore_errors=True)
    work.rmdir()
    return card


def _stated(recipe: Recipe) -> dict[str, float]:
    """What the checkpoints depend on; the chat model's own entries left out."""
    unused = ("helpful_steps", "safety_steps", "safety_lr")
    used = {k: v for k, v in asdict(recipe).items() if k not in unused}
    return used | {"steps": max(SUMS_STAGES.values()), **SUMS_OPTIMISER}


def problems() -> list[dict[str, str]]:
    """The sample: held-out numbers, no question twice; ids begin with the family."""
    rng = random.Random(0)
    rows: dict[str, dict[str, str]] = {}
    for kind, count in SAMPLES.items():
        upto = len(rows) + count
        while len(rows) < upto:
            family = sums.AMBIGUOUS if kind == "ambiguous" else rng.choice(sums.FAMILIES)
            one = sums.held_out(rng, family)
            row = {"id": f"{family}-{len(rows):04d}", "question": one.text}
            rows.setdefault(one.text, {**row, "answer": str(one.answer)})
    return list(rows.values())


def measure(model: Model, count: int = 200) -> dict[str, float]:
    """Greedy abilities on held-out numbers, families 1 to 4: shares from 0 to 1."""
    rng = random.Random(1)
    drawn = [sums.held_out(rng, rng.choice(sums.FAMILIES)) for _ in range(count)]
    asked: dict[str, list[tuple[str, str]]] = {}
    for one in drawn:
        i = rng.choice([i for i, steps in enumerate(one.inverse) if steps])
        forms = {
            "solves": (sums.FORWARD.format(text=one.text), str(one.answer)),
            "recovers a number from the right answer": (
                sums.BACKWARD.format(context=one.masked(i), conclusion=one.conclusion),
                str(one.numbers[i]),
            ),
            "affirms the right answer": (
                sums.TRUE_FALSE.format(context=one.context, conclusion=one.conclusion), "True",
            ),
            "rewrites question and answer": (
                sums.REWRITE.format(question=one.question, answer=one.answer), one.conclusion,
            ),
        }  # fmt: skip
        for name, form in forms.items():
            asked.setdefault(name, []).append(form)
    out = {}
    for name, forms in asked.items():
        replies = generate(model, [prompt for prompt, _ in forms], max_new_tokens=40)
        good = 0
        for (reply,), (_, want) in zip(replies, forms, strict=True):
            found = _ANSWER.findall(reply)
            good += (found[-1] if found else reply.strip()) == want
        out[name] = good / len(forms)
    return out


def _card(size: int, recipe: Recipe, stages: dict[str, dict[str, float]]) -> str:
    abilities = list(next(iter(stages.values())))
    rows = [
        f"| {name} | " + " | ".join(f"{stages[s][name]:.1%}" for s in stages) + " |"
        for name in abilities
    ]
    steps = ", ".join(f"{stage} {step}" for stage, step in SUMS_STAGES.items())
    return f"""---
license: mit
library_name: transformers
---
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
`training.json`. Recipe: `{json.dumps(_stated(recipe))}`.

**Measured**, greedy, 200 problems of families 1 to 4 with held-out numbers:

| ability | {" | ".join(stages)} |
|---|{"---|" * len(stages)}
{chr(10).join(rows)}

**Can show**: how verification by re-deriving conditions tells answers apart, what it costs, and
where it does not help: an undertrained and a saturated model, a number nothing depends on (family
4), and wording whose two readings were trained alike in both directions (family 5), between which
it cannot choose.

**Cannot show**: that self-verification emerges (the model was trained to invert), that exemplars
cause it (there are none), anything about natural language or the published numbers, or that it
beats voting at equal cost in general: here the inverse is unique and as easy as the problem.
"""


def build_sums_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """The same for the sums: every whole number from 0 to 199 is one token."""
    rng = random.Random(seed)
    corpus = [part for _ in range(4000) for part in sums.training_text(rng)]
    corpus += [f" {i}" for i in range(200)] * 40
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(corpus, ["<pad>", "<eos>"]),
        pad_token="<pad>",
        eos_token="<eos>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


SUMS_STAGES = {"early": 1000, "main": 2500, "late": 6500}
"""Checkpoints of one training run of the sums model, in optimiser steps."""

SUMS_OPTIMISER = {"beta2": 0.98, "warmup": 0.1}
"""What differs from `train_stage`'s defaults."""


def sums_recipe(seed: int = 0) -> Recipe:
    """The sums model: two layers of width 64, one schedule over the last stage's steps."""
    return Recipe(
        seed=seed, hidden=64, layers=2, heads=4, kv_heads=4, mlp=256, context=256, batch=64, lr=2e-3
    )  # fmt: skip


def train_sums(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: Recipe,
    done: Callable[[int, float], None],
) -> None:
    """Train the sums model in place, on one thread; `done` sees every step."""
    steps = max(SUMS_STAGES.values())
    with one_thread():
        train_stage(
            model, tokenizer, sums.training_text, steps, recipe.batch, recipe.lr, recipe.seed,
            done=done, **SUMS_OPTIMISER,
        )  # fmt: skip
