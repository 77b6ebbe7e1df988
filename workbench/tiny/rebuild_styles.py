"""rebuild_styles(): make the model of styles, its dictionary and its pairs; write their card."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from workbench.paths import data_folder
from workbench.tiny import styles, train_styles
from workbench.tiny.train import one_thread

COUNTS = {"train": 2000, "test": 400}
_LOGGED = 50
_TEXTS = 10_000
"""On which the loss is measured: its sampling error is then about 0.001 nats a token."""
_UNHASHED = ("README.md", "training.json")


def rebuild_styles(folder: Path | None = None, seed: int = 0) -> str:
    """Train both on one thread, write `folder/styles` and `folder/style_pairs.jsonl`.

    All is first built beside its place and moved there at the end. Returns the card. Same seed and
    machine, same files.
    """
    folder = folder or data_folder()
    work = folder / "styles.partial"
    shutil.rmtree(work, ignore_errors=True)
    made, pairs = work / "styles", work / "style_pairs.jsonl"
    recipe, tokenizer = train_styles.recipe(seed), train_styles.build_tokenizer(seed)
    losses: dict[int, float] = {}

    def done(step: int, loss: float) -> None:
        if step % _LOGGED == 0:
            losses[step] = round(loss, 4)

    with one_thread():
        model = train_styles.train_model(recipe, tokenizer, done=done)
        sae = train_styles.train_dictionary(model, tokenizer, seed)
        measured = measure(model, tokenizer, sae, seed)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    sae.save_model(made / "sae")
    rows = styles.preference_pairs(COUNTS, seed)
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    used = {k: v for k, v in asdict(recipe).items() if "steps" not in k and "safety" not in k}
    more = {"spread": train_styles.SPREAD, "steps": train_styles.STEPS, **train_styles.OPTIMISER}
    log = {
        "recipe": used | more | {"sae_steps": train_styles.SAE_STEPS},
        "measured": measured,
        "loss": losses,
        "pairs": {
            **COUNTS, "noise": styles.NOISE, "mixed": styles.MIXED, "sha256": _digest(pairs)
        },
        "sha256": {
            path.relative_to(made).as_posix(): _digest(path)
            for path in sorted(made.rglob("*"))
            if path.is_file() and path.name not in _UNHASHED
        },
    }  # fmt: skip
    (made / "training.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    card = _card(measured)
    (made / "README.md").write_text(card, encoding="utf-8")
    target, old = folder / "styles", folder / "styles.old"
    if target.is_dir():
        target.rename(old)
    made.rename(target)
    pairs.replace(folder / "style_pairs.jsonl")
    shutil.rmtree(old, ignore_errors=True)
    work.rmdir()
    return card


def measure(model: Any, tokenizer: Any, sae: Any, seed: int = 0) -> dict[str, float]:
    """What model and dictionary know of fresh texts; losses in nats per response token."""
    fresh = train_styles.activations(model, tokenizer, 500, seed + 2)
    with torch.no_grad():
        codes = sae.encode(fresh)
        left = ((sae.decode(codes) - fresh) ** 2).sum() / ((fresh - fresh.mean(0)) ** 2).sum()
    return {
        "parameters": model.num_parameters(),
        "loss": round(train_styles.loss(model, tokenizer, _TEXTS, seed + 3), 4),
        "entropy": round(styles.entropy(), 4),
        "entropy without manners": round(styles.entropy(0.5), 4),
        "fraction of variance unexplained": round(left.item(), 4),
        "dead features": int((codes > 0).any(0).logical_not().sum()),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _card(measured: dict[str, float]) -> str:
    return f"""---
license: mit
library_name: transformers
---
# Styles

A {measured["parameters"] / 1e6:.2f} M-parameter Llama-architecture model of short lists about a
topic, and a TopK dictionary of {train_styles.FEATURES} features ({train_styles.ACTIVE} active) at
`{train_styles.HOOK}` in `sae/` (SAELens). They are the embedded scale of the FPO notebook:
`wb.load("styles")`, `wb.load_data("styles", "train")`.

**How made.** `workbench data rebuild styles` (seeded, CPU, about a minute): supervised training for
{train_styles.STEPS} steps on the grammar in `workbench/tiny/styles.py`, in which a response is
polite or rude and bulleted or plain, evenly; then the dictionary on the activations at response
tokens of {train_styles.TEXTS} texts. `style_pairs.jsonl`: {COUNTS["train"]} training and
{COUNTS["test"]} test preference pairs, chosen polite and bulleted, rejected rude and plain; a
clause shows the other manner with probability {styles.MIXED}, and {styles.NOISE:.0%} of the pairs
are labelled the wrong way round. Losses and checksums: `training.json`.

**Measured** on fresh texts, nats per response token: loss {measured["loss"]}, where the grammar's
exact entropy is {measured["entropy"]}, and {measured["entropy without manners"]} the best a model
reaches that infers neither manner nor form. Fraction of variance that the dictionary leaves
unexplained: {measured["fraction of variance unexplained"]}; {measured["dead features"]} features
never active.

**Can show**: that features of rejected answers are held by the constraint, and what that does to
KL; that planted styles are found again by preference effect; what each loss costs.

**Cannot show**: win rates, superiority of one loss over another, diversity, control of behaviour by
chosen features, or anything about natural language.
"""
