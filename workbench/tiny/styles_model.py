"""The embedded models of styles, a language model and its SAE, and their pairs."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.hashing import file_digest
from workbench.models.hooks import find_hook, reading
from workbench.sae.training import train_topk
from workbench.tiny import training
from workbench.training.supervised import IGNORED, collate, one_thread
from workbench.worlds import styles

COUNTS = {"train": 2000, "test": 400}
"""Preference pairs per split."""
HOOK = "blocks.1.hook_resid_post"
FEATURES, ACTIVE = 256, 6
SAE_TEXTS = 3000
"""Texts whose responses the SAE is trained on."""
LOSS_TEXTS = 10_000
"""Texts on which the loss is measured: its sampling error is then about 0.001 nats per token."""
_LOGGED = 50
_UNHASHED = ("README.md", "training.json")


@dataclass(frozen=True)
class StylesRecipe(training.StageRecipe):
    """Three layers of width 64, one schedule; then the SAE.

    `spread`, of initial weights: at Llama's 0.02 so narrow a model learns words, topics and lengths
    in these steps, and also in four times as many, but never what manner a response has: no feature
    of it.
    """

    layers: int = 3
    mlp: int = 192
    context: int = 128
    spread: float = 0.1
    sae_steps: int = 1500


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level BPE in which each word of the grammar is one token."""
    rng = random.Random(seed)
    corpus = [part.removeprefix("<bos>") for _ in range(4000) for part in styles.text(rng)]
    return training.byte_level_tokenizer(corpus, side="right")


def train_sae(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: StylesRecipe
) -> Any:
    """The TopK SAE at `HOOK`, as `load_sae` gives it."""
    values = activations(model, tokenizer, SAE_TEXTS, recipe.seed + 1)
    return train_topk(
        values, FEATURES, ACTIVE,
        hook_name=HOOK, model_name="styles", steps=recipe.sae_steps, seed=recipe.seed,
    )  # fmt: skip


@torch.no_grad()
def activations(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> torch.Tensor:
    """`[token, d_model]` at `HOOK`, where response tokens are predicted, of `count` fresh texts."""
    values = []
    for inputs, response in _batches(tokenizer, count, seed):
        with reading(find_hook(model, HOOK)) as slot:
            model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        values.append(slot.value[:, :-1][response])
    return torch.cat(values)


@torch.no_grad()
def response_loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, seed: int
) -> float:
    """Nats per response token, end mark included, on `count` fresh texts; see `styles.entropy`."""
    nats = tokens = 0.0
    for inputs, response in _batches(tokenizer, count, seed):
        nats += model(**inputs).loss.item() * response.sum().item()
        tokens += response.sum().item()
    return nats / tokens


def _batches(
    tokenizer: PreTrainedTokenizerFast, count: int, seed: int, size: int = 50
) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
    """(inputs, which of their tokens but the last predict one of the response) of fresh texts."""
    rng = random.Random(seed)
    for _ in range(count // size):
        inputs = collate(tokenizer, [styles.text(rng) for _ in range(size)])
        yield inputs, inputs["labels"][:, 1:] != IGNORED


def measure(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, sae: Any, seed: int = 0
) -> dict[str, float]:
    """Measure on fresh texts what model and SAE know; losses in nats per response token."""
    values = activations(model, tokenizer, 500, seed + 2)
    with torch.no_grad():
        features = sae.encode(values)
        error = ((sae.decode(features) - values) ** 2).sum()
    return {
        "parameters": model.num_parameters(),
        "loss": round(response_loss(model, tokenizer, LOSS_TEXTS, seed + 3), 4),
        "entropy": round(styles.entropy(), 4),
        "entropy without manners": round(styles.entropy(0.5), 4),
        "fraction of variance unexplained": round(
            (error / ((values - values.mean(0)) ** 2).sum()).item(), 4
        ),
        "dead features": int((features > 0).any(0).logical_not().sum()),
    }


def card(recipe: StylesRecipe, measured: dict[str, float]) -> str:
    """The text of `README.md`."""
    return f"""{training.HEADER}
# Styles

A {measured["parameters"] / 1e6:.2f} M-parameter Llama-architecture model of short lists about a
topic, and a TopK SAE of {FEATURES} features ({ACTIVE} active) at
`{HOOK}` in `sae/` (SAELens). They are the embedded models of the FPO notebook:
`wb.load("styles")`, `wb.load_data("styles", "train")`.

**How made.** `workbench data rebuild styles` (seeded, CPU, about a minute): supervised training for
{recipe.steps} steps on the grammar in `workbench/worlds/styles.py`, in which a response is
polite or rude and bulleted or plain, evenly; then the SAE on the activations at response
tokens of {SAE_TEXTS} texts. `style_pairs.jsonl`: {COUNTS["train"]} training and
{COUNTS["test"]} test preference pairs, chosen polite and bulleted, rejected rude and plain; a
clause shows the other manner with probability {styles.MIXED}, and {styles.NOISE:.0%} of the pairs
are labelled the wrong way round. Losses and checksums: `training.json`.

**Measured** on fresh texts, nats per response token: loss {measured["loss"]}, where the grammar's
exact entropy is {measured["entropy"]}, and {measured["entropy without manners"]} the best a model
reaches that infers neither manner nor form. Fraction of variance that the SAE leaves
unexplained: {measured["fraction of variance unexplained"]}; {measured["dead features"]} features
never active.

**Can show**: that features of rejected answers are held by the constraint, and what that does to
KL; that planted styles are found again by preference effect; what each loss costs.

**Cannot show**: win rates, superiority of one loss over another, diversity, control of behaviour by
chosen features, or anything about natural language.
"""


def rebuild(folder: Path | None = None, seed: int = 0) -> str:
    """Make `styles/` and `style_pairs.jsonl` in `folder` (default: the shipped data).

    Both are built beside their places and moved there at the end. Same seed and machine, same
    files. Returns the card.
    """
    recipe, tokenizer = StylesRecipe(seed), build_tokenizer(seed)
    model = training.build_model(recipe, tokenizer, recipe.spread)
    losses: dict[int, float] = {}

    def done(step: int, loss: float) -> None:
        if step % _LOGGED == 0:
            losses[step] = round(loss, 4)

    with one_thread(), training.published(folder, "styles", "style_pairs.jsonl") as (made, pairs):
        training.train(model, tokenizer, recipe, styles.text, done)
        sae = train_sae(model, tokenizer, recipe)
        measured = measure(model, tokenizer, sae, seed)
        training.save(made, model, tokenizer)
        sae.save_model(made / "sae")
        training.save_rows(pairs, styles.preference_pairs(COUNTS, seed))
        text = card(recipe, measured)
        labels = {"noise": styles.NOISE, "mixed": styles.MIXED, "sha256": file_digest(pairs)}
        log = {
            "recipe": asdict(recipe),
            "measured": measured,
            "loss": losses,
            "pairs": COUNTS | labels,
            "sha256": {
                path.relative_to(made).as_posix(): file_digest(path)
                for path in sorted(made.rglob("*"))
                if path.is_file() and path.name not in _UNHASHED
            },
        }
        training.save_card(made, text, log)
    return text
