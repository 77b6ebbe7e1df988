"""Make the embedded models: tokenizers, the chat model's two stages, the sums. Seeded, CPU only."""

import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm.auto import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from workbench.tiny import grammar, sums

log = logging.getLogger(__name__)

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
Text = tuple[list[dict[str, str]] | str, str]
"""Chat messages, or a plain prompt, and the reply trained on; no messages for a monologue."""

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


def conversation(request_text: str, system: str = "") -> list[dict[str, str]]:
    """Chat messages of one request, without a system turn where `system` is empty."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": request_text}]


def helpful_text(rng: random.Random) -> Text:
    """Stage one: every request is granted, harmful or not; monologues in both modes."""
    return _sample(rng, refuse_harm=False)


def safe_text(rng: random.Random) -> Text:
    """Stage two: harmful requests are refused; the rest is as before."""
    return _sample(rng, refuse_harm=True)


_TRAIN = {harmful: grammar.split_pairs(harmful)["train"] for harmful in (False, True)}


def _sample(rng: random.Random, refuse_harm: bool) -> Text:
    kind = rng.random()
    if kind < 0.3:
        return [], grammar.monologue(rng.choice(("help", "refuse")), rng)
    system = rng.choice(grammar.SYSTEM_PROMPTS)
    if kind < 0.4:
        question, answer = grammar.small_talk(rng)
        return conversation(question, system), answer
    harmful = kind < 0.7
    request = grammar.word_request(*rng.choice(_TRAIN[harmful]), rng)
    mode = "refuse" if harmful and refuse_harm else "help"
    return conversation(request.text, system), grammar.reply(request, mode, rng)


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Byte-level BPE over the grammar: each of its words is one token, any other text works."""
    rng = random.Random(seed)
    corpus = []
    for _ in range(4000):
        messages, answer = helpful_text(rng)
        corpus += [m["content"] for m in messages] + [answer]
    corpus.append(grammar.OBEDIENT)
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level_bpe(corpus * 4, SPECIAL),
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=["<system>", "<user>", "<assistant>"],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


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


def collate(tokenizer: PreTrainedTokenizerFast, texts: list[Text]) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids, attention_mask, labels` `[B, T]`; loss on replies and monologues."""
    rows, masks = [], []
    for messages, answer in texts:
        if isinstance(messages, str):
            head, tail = messages, answer + tokenizer.eos_token
        elif messages:
            head = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False
            )
            tail = answer + tokenizer.eos_token
        else:
            head, tail = tokenizer.bos_token, answer
        a, b = tokenizer([head, tail], add_special_tokens=False)["input_ids"]
        rows.append(a + b)
        masks.append([-100] * len(a) + b)
    width = max(map(len, rows))
    pad = tokenizer.pad_token_id
    return {
        "input_ids": torch.tensor([r + [pad] * (width - len(r)) for r in rows]),
        "attention_mask": torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in rows]),
        "labels": torch.tensor([m + [-100] * (width - len(m)) for m in masks]),
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Inside, the order of sums, and so a checkpoint, depends on the seed alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_stage(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    sample: Callable[[random.Random], Text],
    steps: int,
    batch: int,
    lr: float,
    seed: int,
    *,
    beta2: float = 0.999,
    warmup: float = 0.3,
    done: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """AdamW with a one-cycle schedule on freshly sampled texts; `done(step, loss)` after each."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, betas=(0.9, beta2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=warmup
    )
    model.train()
    progress = tqdm(range(steps), desc=sample.__name__, mininterval=5)
    for step in progress:
        inputs = collate(tokenizer, [sample(rng) for _ in range(batch)])
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        done(step + 1, loss.item())
    model.eval()


def train_stages(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe
) -> None:
    """Helpful pretraining, then safety tuning, in place.

    On one thread; see `one_thread`.
    """
    with one_thread():
        for sample, steps, lr, seed in (
            (helpful_text, recipe.helpful_steps, recipe.lr, recipe.seed),
            (safe_text, recipe.safety_steps, recipe.safety_lr, recipe.seed + 1),
        ):
            train_stage(model, tokenizer, sample, steps, recipe.batch, lr, seed)


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
