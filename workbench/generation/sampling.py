"""Choosing the next token with random numbers that belong to the sample, not to the batch."""

from collections.abc import Sequence

import numpy as np
import torch

from workbench.hashing import digest


def uniforms(rows: Sequence[tuple[int, str, int, int]]) -> torch.Tensor:
    """Uniform numbers in [0, 1), float32 `[row, step]`, for (seed, prompt, sample index, steps).

    A counter-based generator (Philox) keyed by the first 8 bytes of SHA-256 of the first three; a
    row's numbers depend on nothing else, and asking for more steps does not change the first ones.
    """
    width = max(steps for *_, steps in rows)
    out = np.empty((len(rows), width), dtype=np.float32)
    for i, (seed, prompt, index, _) in enumerate(rows):
        key = int(digest([seed, prompt, index], 16), 16)
        bits = np.random.Philox(key=key).random_raw(width)
        # 24 bits: exact in float32, and never rounded up to 1.
        out[i] = (bits >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
    return torch.from_numpy(out)


def pick(
    logits: torch.Tensor,
    temperature: torch.Tensor,
    uniform: torch.Tensor,
    top_k: int = 0,
    top_p: float = 1.0,
) -> torch.Tensor:
    """Next tokens, int64 `[row]`, from float32 logits `[row, vocabulary]`.

    The first token whose cumulative probability exceeds `uniform` `[row]`; the likeliest where
    `temperature` `[row]` is 0. `top_k` keeps the k likeliest tokens (of equal ones those of smaller
    id), `top_p` the fewest whose
    probabilities add up to it.
    """
    greedy = temperature == 0
    best = logits.argmax(1)
    if greedy.all():
        return best
    # Less the largest, or a tiny temperature makes infinities of them.
    scaled = (logits - logits.amax(1, keepdim=True)) / torch.where(greedy, 1.0, temperature)[
        :, None
    ]
    if top_k and top_k < scaled.shape[1]:
        least = scaled.topk(top_k, 1).values[:, -1:]
        above, equal = scaled > least, scaled == least
        # Of equal ones the first by token id, so that exactly k are left.
        room = top_k - above.sum(1, keepdim=True)
        scaled = scaled.masked_fill(~(above | equal & (equal.cumsum(1) <= room)), -torch.inf)
    probabilities = scaled.softmax(1)
    if top_p < 1:
        ordered, order = probabilities.sort(dim=1, descending=True, stable=True)
        # A token stays while those before it have not reached top_p; the first always does, also
        # where float32 takes top_p for 0.
        drop = ordered.cumsum(1) - ordered >= top_p
        drop[:, 0] = False
        probabilities = probabilities.masked_fill(drop.gather(1, order.argsort(1)), 0.0)
    sums = probabilities.cumsum(1)
    # Times the last sum, which rounding and truncation keep from 1: the chosen token has mass.
    drawn = torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True)[:, 0]
    return torch.where(greedy, best, drawn.clamp(max=logits.shape[1] - 1))
