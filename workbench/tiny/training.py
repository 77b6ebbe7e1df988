"""What the recipes of embedded models share: sizes, tokenizer, weights, one stage, files."""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.paths import data_folder
from workbench.training.supervised import Text, train_stage
from workbench.writing import whole, write_json

HEADER = """---
license: mit
library_name: transformers
---"""
"""What a card begins with."""
ROLES = ("system", "user", "assistant")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('roles are system, user, assistant; got ' + m['role']) }}{% endif %}"
    "{{ '<' + m['role'] + '>' }}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


@dataclass(frozen=True)
class Recipe:
    """Seed and sizes of a Llama. Each model's own recipe adds what else its weights depend on."""

    seed: int = 0
    hidden: int = 64
    layers: int = 4
    heads: int = 4
    kv_heads: int = 4
    mlp: int = 256
    context: int = 512


@dataclass(frozen=True)
class StageRecipe(Recipe):
    """A recipe of one stage of training, with the terms of `train_stage`."""

    batch: int = 48
    lr: float = 3e-3
    steps: int = 500
    beta2: float = 0.98
    warmup: float = 0.1


def build_model(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, spread: float = 0.02
) -> LlamaForCausalLM:
    """A Llama of the recipe's sizes, its initial weights drawn with standard deviation `spread`."""
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
            initializer_range=spread,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    recipe: StageRecipe,
    text: Callable[[random.Random], Text],
    done: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train in place on fresh texts, one stage; `done(step, loss)` after each step."""
    train_stage(
        model, tokenizer, text, recipe.steps, recipe.batch, recipe.lr, recipe.seed,
        beta2=recipe.beta2, warmup=recipe.warmup, done=done,
    )  # fmt: skip


def byte_level_tokenizer(
    corpus: list[str],
    special: Sequence[str] = ("pad", "bos", "eos"),
    *,
    chat: bool = False,
    side: str = "left",
) -> PreTrainedTokenizerFast:
    """A byte-level BPE: each word of a small corpus becomes one token, and any other text works.

    `special` names its special tokens (`"pad"` is `<pad>`). `chat` adds a token for each role and
    the chat template. `side`: where it pads.
    """
    named = {f"{name}_token": f"<{name}>" for name in special}
    roles = {"additional_special_tokens": [f"<{role}>" for role in ROLES] if chat else []}
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=[*named.values(), *roles["additional_special_tokens"]],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        padding_side=side,
        clean_up_tokenization_spaces=False,
        **named,
        **(roles | {"chat_template": CHAT_TEMPLATE} if chat else {}),
    )


@contextmanager
def published(folder: Path | None, *names: str) -> Iterator[list[Path]]:
    """Paths to write folders and files of these names to, moved into `folder` when the block ends.

    `folder` is the shipped data where it is None. An exception leaves it as it was.
    """
    with ExitStack() as stack:
        yield [stack.enter_context(whole((folder or data_folder()) / name)) for name in names]


def save(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write weights and tokenizer as transformers reads them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_card(folder: Path, card: str, training: Mapping[str, Any] | None = None) -> None:
    """Write the card as `README.md` and, where given, how the model was made as `training.json`."""
    (folder / "README.md").write_text(card, encoding="utf-8")
    if training is not None:
        write_json(folder / "training.json", training)


def save_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
