"""Tokenizers that write sums in many ways: by digits, by threes, and with the sign glued on."""

import random
import string
from functools import lru_cache

import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

SPECIAL = ["<pad>", "<eos>", "<mark>"]


def corpus():
    rng = random.Random(0)
    lines = [
        "The parity of 101 is even or odd. reverse of hello -> copy of last letter",
        "Ann has apples, pens and more. How many? x = y; a[i] += 1 # 3.5",
    ]
    for k in range(1200):
        a, b = (rng.randint(0, 10 ** rng.randint(1, 4)) for _ in range(2))
        lines.append(f"{a}+{b}={a + b}" if k % 2 else f"{a} - {b} = {a - b}")
    return lines


def _bytes(split, size):
    tokenizer = Tokenizer(models.BPE())
    parts = [split] if split else []
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*parts, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, size, pre_tokenizers.ByteLevel.alphabet()


def _words(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _metaspace():
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=True)
    signs = {c for line in corpus() for c in line} - {" "}
    return tokenizer, 500, sorted({*signs, *string.ascii_letters, "▁", "é", ">", "\n"})


KINDS = {
    # As SmolLM2 and Llama 2: every digit by itself; " =" and " +" are tokens.
    "digits": lambda: _bytes(_words(r"\p{N}| ?[^\s\p{N}]+|\s+"), 450),
    # As Llama 3 and GPT-4: up to three digits a token, from the left.
    "threes": lambda: _bytes(_words(r"\p{N}{1,3}| ?[^\s\p{N}]+|\s+"), 1600),
    # No boundary at all: "=4", "1+", "34=" and " = " are tokens.
    "glued": lambda: _bytes(None, 900),
    "metaspace": _metaspace,
}


@lru_cache
def sum_tokenizer(kind):
    tokenizer, size, alphabet = KINDS[kind]()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>",
        additional_special_tokens=["<mark>"], clean_up_tokenization_spaces=False,
    )  # fmt: skip
