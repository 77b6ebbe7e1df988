"""What the recipes of all embedded models share."""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    (
        "{{ bos_token }}{% for m in messages %}"
        "{% if m['role'] not in ['system', 'user', 'assistant'] %}"
        "{{ raise_exception('roles are system, user, assistant; got ' + m['role']) }}{% endif %}"
        "{{ '<' + m['role'] + '>' }}{% generation %}{{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endgeneration %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
    )
    .replace("{% generation %}", "")
    .replace("{% endgeneration %}", "")
)

SPECIAL = ["<pad>", "<bos>", "<eos>", "<system>", "<user>", "<assistant>"]


@dataclass(frozen=True)
class Recipe:
    """Everything the checkpoint depends on. Steps are optimiser steps of `batch` texts."""

    seed: int = 0
    hidden: int = 128
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    mlp: int = 256
    context: int = 512
    batch: int = 48
    helpful_steps: int = 1300
    safety_steps: int = 600
    lr: float = 3e-3
    safety_lr: float = 1.5e-3


def byte_level_bpe(corpus: list[str], special: list[str]) -> Tokenizer:
    """A byte-level BPE in which every word of a small corpus becomes one token."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(corpus, trainer)
    return inner


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
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
