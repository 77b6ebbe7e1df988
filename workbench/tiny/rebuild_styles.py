"""rebuild_styles(): make the model of styles, its dictionary and its pairs; write their card."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import torch

from workbench.paths import data_folder
from workbench.tiny import styles, train_styles

COUNTS = {"train": 2000, "test": 400}


def rebuild_styles(folder: Path | None = None, seed: int = 0) -> str:
    """Train both on one thread, write `folder/styles` and `folder/style_pairs.jsonl`.

    Built beside its place and moved there at the end. Returns the card. Same seed and machine, same
    files.
    """
    folder = folder or data_folder()
    work = folder / "styles.partial"
    shutil.rmtree(work, ignore_errors=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    recipe, tokenizer = train_styles.recipe(seed), train_styles.build_tokenizer(seed)
    model = train_styles.train_model(recipe, tokenizer)
    sae = train_styles.train_dictionary(model, tokenizer, seed)
    fresh = train_styles.activations(model, tokenizer, 500, seed + 2)
    torch.set_num_threads(threads)
    model.save_pretrained(work)
    tokenizer.save_pretrained(work)
    sae.save_model(work / "sae")
    with torch.no_grad():
        codes = sae.encode(fresh)
        left = ((sae.decode(codes) - fresh) ** 2).sum() / ((fresh - fresh.mean(0)) ** 2).sum()
    measured = {
        "parameters": model.num_parameters(),
        "fraction of variance unexplained": round(left.item(), 4),
        "dead features": int((codes > 0).any(0).logical_not().sum()),
    }
    files = {name: work / name for name in ("model.safetensors", "sae/sae_weights.safetensors")}
    used = {k: v for k, v in asdict(recipe).items() if "steps" not in k and "safety" not in k}
    log = {
        "recipe": used | {"steps": train_styles.STEPS, "sae_steps": train_styles.SAE_STEPS},
        "measured": measured,
        "sha256": {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in files.items()},
    }
    (work / "training.json").write_text(json.dumps(log, indent=1), encoding="utf-8")
    card = _card(measured)
    (work / "README.md").write_text(card, encoding="utf-8")
    rows = styles.preference_pairs(COUNTS, seed)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "style_pairs.jsonl").write_text(lines, encoding="utf-8")
    target = folder / "styles"
    shutil.rmtree(target, ignore_errors=True)
    work.replace(target)
    return card


def _card(measured: dict[str, float]) -> str:
    return f"""---
license: mit
library_name: transformers
---
# Styles

A {measured["parameters"] / 1e6:.2f} M-parameter Llama-architecture model of short lists about a
topic, and a TopK dictionary of {train_styles.FEATURES} features ({train_styles.ACTIVE} active) at
`{train_styles.HOOK}` in `sae/` (SAELens). They are the embedded scale of the FPO notebook:
`wb.load("styles")`.

**How made.** `workbench data rebuild styles` (seeded, CPU, about a minute): supervised training for
{train_styles.STEPS} steps on the grammar in `workbench/tiny/styles.py`, in which a response is
polite or rude and bulleted or plain, evenly; then the dictionary on the activations at response
tokens of {train_styles.TEXTS} texts. `style_pairs.jsonl`: {COUNTS["train"]} training and
{COUNTS["test"]} test preference pairs, chosen polite and bulleted, rejected rude and plain; a
clause shows the other manner with probability {styles.MIXED}, and {styles.NOISE:.0%} of the pairs
are labelled the wrong way round. Checksums: `training.json`.

**Measured** on fresh texts: fraction of variance unexplained
{measured["fraction of variance unexplained"]}, {measured["dead features"]} features never active.

**Can show**: that features of rejected answers are held by the constraint, and what that does to
KL; that planted styles are found again by preference effect; what each loss costs.

**Cannot show**: win rates, superiority of one loss over another, diversity, control of behaviour by
chosen features, or anything about natural language.
"""
