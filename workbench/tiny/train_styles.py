"""Train the model of styles and its dictionary. Seeded, CPU only."""

import random
from collections.abc import Callable

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.features import find_hook, reading
from workbench.sae_training import train_topk
from workbench.tiny import styles
from workbench.tiny.train import Recipe, build_model, byte_level_bpe, collate, train_stage

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


def recipe(seed: int = 0) -> Recipe:
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
def loss(
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
