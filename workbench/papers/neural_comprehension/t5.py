"""Fig. 5: T5 tuned on stories of coins, tried at several epochs with the gate and without it."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    Adafactor,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
)

from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.paper import T5
from workbench.papers.neural_comprehension.processor import GateProcessor
from workbench.papers.neural_comprehension.study import Write
from workbench.training.supervised import IGNORED
from workbench.worlds.pens import ARROW, Story, coin_stories

BATCH, WARMUP, LONGEST_INPUT = 64, 0.05, 150
"""As published (§2.8)."""


def load(t5_id: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, the paper's where none is given, on a GPU where there is one."""
    name = t5_id or T5
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForSeq2SeqLM.from_pretrained(
        name, dtype=torch.float32, trust_remote_code=False
    ).to(device)
    return model, AutoTokenizer.from_pretrained(name, padding_side="right", trust_remote_code=False)


def writer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Write:
    """Greedy replies by plain transformers; the gate is a logits processor."""

    def write(asked: Sequence[str], new: Sequence[int], gate: Gate | None) -> list[str]:
        replies: list[str] = []
        processors = LogitsProcessorList([GateProcessor(gate, tokenizer)] if gate else [])
        for start in range(0, len(asked), BATCH):
            inputs = tokenizer(list(asked[start : start + BATCH]), return_tensors="pt",
                               padding=True)  # fmt: skip
            ids = model.generate(
                **inputs.to(model.device), max_new_tokens=max(new), do_sample=False, num_beams=1,
                logits_processor=processors,
            )  # fmt: skip
            replies += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return replies

    return write


def tuned(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, epochs: Sequence[int], seed: int,
    stories: Sequence[Story] = (),
) -> Iterator[int]:  # fmt: skip
    """Tune in place on the stories of coins, as published; yields after each of `epochs`.

    Adafactor at 1e-4 with weight decay 2e-5, batches of 64, cosine with 5 % of warm-up.
    """
    taught, rng = list(stories or coin_stories(seed)), random.Random(seed)
    torch.manual_seed(seed)
    optimizer = Adafactor(
        model.parameters(), lr=1e-4, weight_decay=2e-5, decay_rate=-0.8, eps=(1e-30, 2e-3),
        clip_threshold=1.0, scale_parameter=False, relative_step=False,
    )  # fmt: skip
    steps = max(epochs) * math.ceil(len(taught) / BATCH)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    for epoch in range(1, max(epochs) + 1):
        rng.shuffle(taught)
        model.train()
        for start in range(0, len(taught), BATCH):
            model(**_batch(model, tokenizer, taught[start : start + BATCH])).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        if epoch in epochs:
            model.eval()
            yield epoch


def _batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stories: Sequence[Story]
) -> Mapping[str, Any]:
    inputs = tokenizer([s.text for s in stories], return_tensors="pt", padding=True,
                       truncation=True, max_length=LONGEST_INPUT)  # fmt: skip
    labels = tokenizer(text_target=[f"{s.read.strip()}{ARROW} {s.answer}" for s in stories],
                       return_tensors="pt", padding=True)  # fmt: skip
    inputs["labels"] = labels.input_ids.masked_fill(labels.attention_mask == 0, IGNORED)
    return inputs.to(model.device)
