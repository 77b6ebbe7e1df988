"""What a lock costs: seconds to fold it, and decoding time with it over without."""

import time

import torch

from workbench import arguments
from workbench.models.model import Model
from workbench.models.prompts import encode, messages
from workbench.steering.directions import HeadDirections
from workbench.steering.fold import fold
from workbench.steering.steer import steer

TOKENS = 64
"""Tokens decoded each time."""


def lock_seconds(
    model: Model, lock: HeadDirections, alpha: float, repeats: int = 20
) -> list[float]:
    """Wall seconds to fold the lock, undone after each; `repeats` at least 1."""
    arguments.whole("repeats", repeats, 1)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        handle = fold(model, lock, alpha)
        if model.hf.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
        handle.undo()
    return times


def decode_ratios(
    model: Model, lock: HeadDirections, alpha: float, tokens: int = TOKENS, pairs: int = 15
) -> list[float]:
    """Time to decode `tokens` tokens folded over unsteered, in pairs whose order alternates.

    CPU seconds of one thread on a CPU, where other work would disturb the wall clock; wall seconds
    on a GPU (decoding ends by reading tokens back, so nothing is left running). `tokens` and
    `pairs`: at least 1.
    """
    arguments.whole("tokens", tokens, 1)
    arguments.whole("pairs", pairs, 1)
    clock = time.process_time if model.hf.device.type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    ids = torch.tensor([encode(model, messages("How are you?")).ids], device=model.hf.device)

    def seconds() -> float:
        start = clock()
        model.hf.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=model.tokenizer.pad_token_id,
        )
        return clock() - start

    def folded_seconds() -> float:
        with steer(model, lock, alpha):
            return seconds()

    ratios = []
    torch.set_num_threads(1)
    try:
        seconds()
        for i in range(pairs):
            if i % 2:
                unsteered, folded = seconds(), folded_seconds()
            else:
                folded, unsteered = folded_seconds(), seconds()
            ratios.append(folded / unsteered)
    finally:
        torch.set_num_threads(threads)
    return ratios
