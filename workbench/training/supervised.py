"""Supervised training on freshly sampled texts: batches, one thread, one stage."""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from workbench.arguments import finite, seed_number, whole
from workbench.models.prompts import padded
from workbench.models.token_ids import end_token

Text = tuple[list[dict[str, str]] | str, str]
"""Chat messages, or a plain prompt, and the reply trained on; no messages for a monologue."""

IGNORED = -100
"""The label of a token that the loss leaves out."""


def collate(tokenizer: PreTrainedTokenizerBase, texts: list[Text]) -> dict[str, torch.Tensor]:
    """Right-padded `input_ids, attention_mask, labels`, int64 `[text, longest]`.

    Labels are replies with their end mark, and monologues, which have none; elsewhere `IGNORED`.

    Raises `ModelError` for a tokenizer without an end token.
    """
    rows, labels = [], []
    for prompt, reply in texts:
        if isinstance(prompt, str):
            head, tail = prompt, reply + end_token(tokenizer)
        elif prompt:
            head = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
            tail = reply + end_token(tokenizer)
        else:
            head, tail = tokenizer.bos_token, reply
        head_ids, tail_ids = tokenizer([head, tail], add_special_tokens=False)["input_ids"]
        rows.append(head_ids + tail_ids)
        labels.append([IGNORED] * len(head_ids) + tail_ids)
    pad = tokenizer.pad_token_id
    ids, attention = padded(rows, 0 if pad is None else pad)
    return {
        "input_ids": ids,
        "attention_mask": attention,
        "labels": padded(labels, IGNORED)[0],
    }


def collate_replies(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], replies: Sequence[str], longest: int
) -> dict[str, torch.Tensor]:
    """What an encoder–decoder model is trained on: padded `input_ids, attention_mask, labels`.

    Int64 `[text, longest]`. Texts of more than `longest` tokens are cut; `IGNORED` behind a reply.
    """
    inputs = tokenizer(
        [*texts], return_tensors="pt", padding=True, truncation=True, max_length=longest
    )
    labels = tokenizer(text_target=[*replies], return_tensors="pt", padding=True)
    return {
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["attention_mask"],
        "labels": labels["input_ids"].masked_fill(labels["attention_mask"] == 0, IGNORED),
    }


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the order of sums, and so a checkpoint, then follows from the seed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_stage(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
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
    """Train in place on `batch` fresh texts a step: AdamW with a one-cycle schedule.

    `warmup` is the share of steps in which the rate rises to `lr`. `done(step, loss)` is called
    after each step, counted from 1, with the mean nats per label. Raises `ValueError` for a number
    that is none or out of range.
    """
    whole("steps", steps, 1)
    whole("batch", batch, 1)
    seed_number(seed)
    finite("lr", lr, above=0)
    finite("beta2", beta2, 0, below=1)
    finite("warmup", warmup, 0, 1)
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01, betas=(0.9, beta2))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=warmup
    )
    model.train()
    progress = tqdm(range(1, steps + 1), desc=sample.__name__, mininterval=5)
    for step in progress:
        inputs = collate(tokenizer, [sample(rng) for _ in range(batch)])
        loss = model(**inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        done(step, loss.item())
    model.eval()
