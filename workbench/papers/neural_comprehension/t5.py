"""Fig. 5: T5 tuned on stories of coins, tried at several epochs with the gate and without it."""

import copy
import math
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    Adafactor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
)

from workbench.hashing import digest
from workbench.models.seq2seq import load_seq2seq
from workbench.papers import parameters
from workbench.papers.neural_comprehension import prompts
from workbench.papers.neural_comprehension.gate import Gate
from workbench.papers.neural_comprehension.paper import check_t5
from workbench.papers.neural_comprehension.processor import GateProcessor
from workbench.papers.neural_comprehension.study import Write
from workbench.training.epochs import epochs
from workbench.training.supervised import collate_replies
from workbench.worlds.pens import ARROW, Story, coin_stories

BATCH, WARMUP, LONGEST_INPUT = 64, 0.05, 150
"""As published (§2.8)."""


def load(t5_id: str = "") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, the paper's where none is given, on a GPU where there is one.

    Raises `ModelError`, naming the parameter, as `check_t5`, for what cannot be loaded whole, and
    for a tokenizer that is another model's or cannot write a trigger.
    """
    name = check_t5(t5_id)
    with parameters.naming("t5_id", name):
        model = load_seq2seq(name)
        GateProcessor(prompts.gate(), model.tokenizer)  # where no token ends a trigger it says so
    return model.hf, model.tokenizer


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
    base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, epoch: int, last: int, seed: int,
    folder: Path, identity: str, stories: Sequence[Story] = (),
) -> PreTrainedModel:  # fmt: skip
    """A copy of `base` tuned on the stories of coins, as published, as it is after `epoch`.

    Adafactor at 1e-4 with weight decay 2e-5, batches of 64, cosine over `last` epochs with 5 % of
    warm-up. Order and dropout of an epoch follow from it and `seed`, so that one that goes on from
    the checkpoint below `folder`, written after each, ends where an unbroken one does. `identity`:
    digest of all that the training depends on besides `seed`, `last` and the stories.
    """
    taught = list(stories or coin_stories(seed))
    model = copy.deepcopy(base)
    optimizer = Adafactor(
        model.parameters(), lr=1e-4, weight_decay=2e-5, decay_rate=-0.8, eps=(1e-30, 2e-3),
        clip_threshold=1.0, scale_parameter=False, relative_step=False,
    )  # fmt: skip
    steps = last * math.ceil(len(taught) / BATCH)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(WARMUP * steps), steps)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}

    def run(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        torch.manual_seed(rng.getrandbits(32))
        told = rng.sample(taught, len(taught))
        model.train()
        for start in range(0, len(told), BATCH):
            model(**_batch(model, tokenizer, told[start : start + BATCH])).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    training = digest([identity, seed, last, [story.text for story in taught]])
    epochs(epoch, parts, run, folder, training)
    return model.eval()


def _batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stories: Sequence[Story]
) -> dict[str, torch.Tensor]:
    replies = [f"{s.read.strip()}{ARROW} {s.answer}" for s in stories]
    inputs = collate_replies(tokenizer, [s.text for s in stories], replies, LONGEST_INPUT)
    return {name: ids.to(model.device) for name, ids in inputs.items()}
