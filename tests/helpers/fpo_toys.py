"""A small random model, tokenizer, SAE and pairs for the tests of FPO."""

import random

import torch
from datasets import Dataset
from sae_lens import (
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = 60
D, M = 32, 64


def tokenizer():
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>"])}
    vocabulary |= {f"w{i}": i + 3 for i in range(WORDS)}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token=" </s>".strip(), bos_token="<s>"
    )


def llama(seed=0, layers=3, **more):
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": WORDS + 3,
        "hidden_size": D,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **more}))


def toy_sae(kind="topk", layer=1, d=D, seed=1, site="hook_resid_post"):
    torch.manual_seed(seed)
    if kind == "topk":
        sae = TopKSAE(TopKSAEConfig(d_in=d, d_sae=M, k=6))
    elif kind == "jumprelu":
        sae = JumpReLUSAE(JumpReLUSAEConfig(d_in=d, d_sae=M))
        sae.threshold.data = torch.rand(M) * 0.1
    else:
        sae = StandardSAE(StandardSAEConfig(d_in=d, d_sae=M))
    sae.W_enc.data = torch.randn(d, M)
    sae.W_dec.data = torch.randn(M, d)
    sae.b_enc.data = torch.randn(M) * 0.1
    sae.b_dec.data = torch.randn(d) * 0.1
    sae.cfg.metadata.hook_name = f"blocks.{layer}.{site}"
    return sae


def said(rng, low, high):
    return " " + " ".join(f"w{rng.randrange(WORDS)}" for _ in range(rng.randint(low, high)))


def preference_pairs(n=48, seed=0):
    rng = random.Random(seed)
    return Dataset.from_list(
        [
            {"prompt": "<s>" + said(rng, 2, 6), "chosen": said(rng, 2, 9) + " </s>",
             "rejected": said(rng, 2, 9) + " </s>"}
            for _ in range(n)
        ]
    )  # fmt: skip


def tokenised_pairs(n, seed):
    """Pairs as TRL tokenises them."""
    words, out = tokenizer(), []
    for pair in preference_pairs(n, seed):
        row = {"prompt_ids": words(pair["prompt"])["input_ids"]}
        for side in ("chosen", "rejected"):
            whole = words(pair["prompt"] + pair[side])["input_ids"]
            row[f"{side}_ids"] = whole[len(row["prompt_ids"]) :]
        out.append(row)
    return out
