"""Make the embedded model of styles, its SAE and its pairs again."""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.models.hooks import find_hook, reading
from workbench.paths import data_folder
from workbench.sae.training import train_topk
from workbench.tiny.training import Recipe, build_model, byte_level_bpe
from workbench.training.supervised import collate, one_thread, train_stage
from workbench.worlds import styles

COUNTS = {"train": 2000, "test": 400}
_LOGGED = 50
_TEXTS = 10_000
"""On which the loss is measured: its sampling error is then about 0.001 nats a token."""
_UNHASHED = ("README.md", "training.json")


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Train both on one thread, write `folder/styles` and `folder/style_pairs.jsonl`.

    All is first built beside its place and moved there at the end. Returns the card. Same seed and
    machine, same files.
    """
    folder = folder or data_folder()
    work = folder / "styles.partial"
    shutil.rmtree(work, ignore_errors=True)
    made, pairs = work / "styles", work / "style_pairs.jsonl"
    recipe, tokenizer = styles_recipe(seed), build_tokenizer(seed)
    losses: dict[int, float] = {}

    def done(step: int, loss: float) -> None:
        if step % _LOGGED == 0:
            losses[step] = round(loss, 4)

    with one_thread():
        model = train_model(recipe, tokenizer, done=done)
        sae = train_dictionary(model, tokenizer, seed)
        measured = measure(model, tokenizer, sae, seed)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    sae.save_model(made / "sae")
    rows = styles.preference_pairs(COUNTS, seed)
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    used = {k: v for k, v in asdict(recipe).items() if "steps" not in k and "safety" not in k}
    more = {"spread": SPREAD, "steps": STEPS, **OPTIMISER}
    log = {
        "recipe": used | more | {"sae_steps": SAE_STEPS},
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
    fresh = activations(model, tokenizer, 500, seed + 2)
    with torch.no_grad():
        codes = sae.encode(fresh)
        left = ((sae.decode(codes) - fresh) ** 2).sum() / ((fresh - fresh.mean(0)) ** 2).sum()
    return {
        "parameters": model.num_parameters(),
        "loss": round(styles_loss(model, tokenizer, _TEXTS, seed + 3), 4),
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
topic, and a TopK dictionary of {FEATURES} features ({ACTIVE} active) at
`{HOOK}` in `sae/` (SAELens). They are the embedded scale of the FPO notebook:
`wb.load("styles")`, `wb.load_data("styles", "train")`.

**How made.** `workbench data rebuild styles` (seeded, CPU, about a minute): supervised training for
{STEPS} steps on the grammar in `workbench/worlds/styles.py`, in which a response is
polite or rude and bulleted or plain, evenly; then the dictionary on the activations at response
tokens of {TEXTS} texts. `style_pairs.jsonl`: {COUNTS["train"]} training and
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


HOOK = "blocks.1.hook_resid_post"
FEATURES, ACTIVE = 256, 6
STEPS = 500
OPTIMISER = {"beta2": 0.98, "warmup": 0.1}
"""What differs from `train_stage`'s defaults."""
SPREAD = 0.1
"""Of initial weights. At Llama's 0.02 so narrow a model learns words, topics and lengths in these
steps, and also in four times as many, but never what manner a response has: no feature of it."""
SAE_STEPS = 1500
TEXTS = 3000
"""Texts whose responses the dictionary is trained on."""


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the grammar: each word is one token, any other text works."""
    rng = random.Random(seed)
    corpus = [part.removeprefix("<bos>") for _ in range(4000) for part in styles.text(rng)]
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(corpus, ["<pad>", "<bos>", "<eos>"]),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def styles_recipe(seed: int = 0) -> Recipe:
    """Three layers of width 64, one schedule."""
    return Recipe(
        seed=seed, hidden=64, layers=3, heads=4, kv_heads=4, mlp=192, context=128, batch=48, lr=3e-3
    )  # fmt: skip


def train_model(
    chosen: Recipe,
    tokenizer: PreTrainedTokenizerFast,
    steps: int = STEPS,
    done: Callable[[int, float], None] = lambda step, loss: None,
) -> LlamaForCausalLM:
    """The supervised checkpoint that preference training starts from; `done(step, loss)`."""
    config = build_model(chosen, tokenizer).config
    config.initializer_range = SPREAD
    torch.manual_seed(chosen.seed)
    model = LlamaForCausalLM(config)
    train_stage(
        model, tokenizer, styles.text, steps, chosen.batch, chosen.lr, chosen.seed,
        done=done, **OPTIMISER,
    )  # fmt: skip
    return model


@torch.no_grad()
def styles_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> float:
    """Nats per response token, end mark included, on `count` fresh texts; see `styles.entropy`."""
    rng = random.Random(seed)
    nats = tokens = 0.0
    for _ in range(count // 50):
        inputs = collate(tokenizer, [styles.text(rng) for _ in range(50)])
        kept = (inputs["labels"][:, 1:] != -100).sum().item()
        nats += model(**inputs).loss.item() * kept
        tokens += kept
    return nats / tokens


@torch.no_grad()
def activations(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> torch.Tensor:
    """`[n, d]` at `HOOK`, where response tokens are predicted, of fresh texts."""
    rng = random.Random(seed)
    kept = []
    for _ in range(count // 50):
        inputs = collate(tokenizer, [styles.text(rng) for _ in range(50)])
        with reading(find_hook(model, HOOK)) as slot:
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        kept.append(slot.value[:, :-1][inputs["labels"][:, 1:] != -100])
    return torch.cat(kept)


def train_dictionary(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int
) -> torch.nn.Module:
    """The TopK dictionary at `HOOK`."""
    values = activations(model, tokenizer, TEXTS, seed + 1)
    return train_topk(
        values, FEATURES, ACTIVE, hook_name=HOOK, model_name="styles", steps=SAE_STEPS, seed=seed
    )
