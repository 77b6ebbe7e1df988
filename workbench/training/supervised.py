"""Supervised training on freshly sampled texts: batches, one thread, one stage."""

import contextlib
import random
from collections.abc import Callable, Iterator

import torch
from tqdm.auto import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Text = tuple[list[dict[str, str]] | str, str]
"""Chat messages, or a plain prompt, and the reply trained on; no messages for a monologue."""


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
