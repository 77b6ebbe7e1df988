"""What a run is going to take: its calls times the speed of the loaded model, give or take a third.

A paper counts its calls; `pace` measures the model for some seconds; `spelled` says it.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import nnls
from transformers import PreTrainedModel

from workbench.arguments import listed
from workbench.generation.batching import shared_length
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.model import Model
from workbench.models.prompts import Prompt, encode_all, padded
from workbench.training import memory

ROWS, READ, MANY, COPIES = 16, 256, 256, 64
"""Replies decoded side by side, and tokens of their prompts, at most: enough to tell what a row
costs, few enough to be quick. `MANY` rows where that takes no longer, else up to `COPIES` of one
prompt, which is read once."""
STEPS = 3
"""Tokens of each that are awaited, however slow the model is."""
BACKWARD = 2
"""Forwards that a backward takes as long as."""
SPREAD = 1 / 3

Line = tuple[float, float]
"""Seconds of a call, and of each row or token in it."""


@dataclass(frozen=True)
class Part:
    """One kind of work in a run: `calls` of `seconds` each, on average.

    `seconds`: None where a server makes them. `tokens`: that one generates at most.
    """

    what: str
    calls: int
    seconds: float | None
    tokens: int = 0

    @property
    def total(self) -> float:
        """Seconds of all calls."""
        return self.calls * (self.seconds or 0.0)


@dataclass(frozen=True)
class Pace:
    """How fast a model was. `reading` by tokens, `step` by rows; `mean` and `longest`: of replies.

    A reply that had not ended counts as long as it might have become, in tokens.
    """

    reading: Line
    step: Line
    mean: float
    longest: float

    def reads(self, tokens: float) -> float:
        """Seconds of a forward of texts of so many tokens in all."""
        return self.reading[0] + self.reading[1] * tokens

    def trains(self, tokens: float) -> float:
        """Seconds of a training step on them, the optimiser's own left out."""
        return (1 + BACKWARD) * self.reads(tokens)

    def replies(self, rows: int, tokens: float, most: int) -> float:
        """Seconds until prompts of `tokens` in all have `rows` replies of at most `most` tokens."""
        of_all, of_row = self.step
        longest, mean = min(self.longest, most), min(self.mean, most)
        return self.reads(tokens) + of_all * longest + of_row * rows * mean


def pace(
    model: Model,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    *,
    seconds: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Pace:
    """Decode a few of the prompts, greedily, for about so many `seconds`; `clock` tells them.

    Raises, before anything is decoded, `ValueError` without prompts or for fewer than 1 new token,
    `ContextLengthError` for any prompt that leaves no room for them.
    """
    prompts = listed("prompts", prompts)
    requests = [GenRequest(prompt, max_new_tokens=max_new_tokens) for prompt in prompts]
    backend = LocalBackend(model)
    backend.check(requests)
    # Rows in a file may be sorted by kind.
    chosen = requests[:: -(-len(requests) // ROWS)]
    tokens = np.cumsum([len(e.ids) for e in encode_all(model, [r.prompt for r in chosen])])
    chosen = chosen[: max(2, int((tokens <= READ).sum()))]
    few = chosen[: -(-len(chosen) // 4)]
    _decode(backend, chosen[:2], 0.0, clock)  # what a first call does once is no part of the pace
    read: list[tuple[float, float]] = []
    steps: list[tuple[float, float]] = []
    lengths = [0.0]

    def measure(asked: Sequence[GenRequest]) -> float:
        """Seconds of reading their prompts."""
        nonlocal lengths
        times, live, lengths = _decode(backend, asked, seconds / 3, clock)
        encoded = encode_all(model, [r.prompt for r in asked])
        read.append((sum(len(e.ids) for e in encoded), times[0]))
        steps.extend(zip(live, times[1:], strict=True))
        return times[0]

    measure(few)
    took = measure(chosen)
    # A fast model decodes many more side by side, where a row costs less than among few.
    copies = int(min(MANY / len(chosen), seconds / 3 / max(took, 1e-9)))
    if copies > 1:
        measure(chosen * copies)
    else:
        # A row decoded costs about what a token read does, until its cache is long.
        constant, each = _line(read)
        rows = int(min(COPIES, (seconds / STEPS - constant) / max(each, 1e-9)))
        if rows > len(chosen):
            times, live, _ = _decode(backend, chosen[:1] * rows, seconds / 3, clock)
            steps.extend(zip(live, times[1:], strict=True))
    of_reading, step = _line(read), _line(steps)
    return Pace(of_reading, step, float(np.mean(lengths)), max(lengths))


def read_once(model: Model, prompts: Sequence[Prompt]) -> int:
    """Tokens of the prompts, what all begin with counted once, as it is computed."""
    ids = [e.ids for e in encode_all(model, prompts)]
    shared = min(shared_length(ids[0], other, len(other)) for other in ids)
    return shared + sum(len(row) - shared for row in ids)


def reading(hf: PreTrainedModel, texts: Sequence[Sequence[int]]) -> Line:
    """Seconds of a plain forward, logits of every token included, by tokens: of one text, of four.

    Of three tries the shortest, as other work only adds to it. For models that are trained;
    `texts` of token ids.
    """
    points: list[tuple[float, float]] = []
    with torch.inference_mode():
        for rows in (texts[:1], texts[:4]):
            ids, mask = padded(rows, 0, "left")
            given = {"input_ids": ids.to(hf.device), "attention_mask": mask.to(hf.device)}
            forward = partial(hf, **given, use_cache=False)
            points.append((ids.numel(), min(memory.seconds(forward) for _ in range(3))))
    return _line(points)


def spelled(parts: Sequence[Part], left_out: str = "") -> str:
    """The whole with its range, then what makes it up, the longest first, then what is left out.
    Parts without a call are not named.

    Of a server, whose speed is not known, calls and tokens alone.

    >>> print(spelled([Part("replies", 90, 2.0)]))
    About 3.0 minutes (2.0 to 4.0) at the speed just measured, less what is kept of an earlier run:
        3.0 minutes: 90 × replies
    """
    parts = [part for part in parts if part.calls]
    ends = [f"    Left out: {left_out}."] if left_out else []
    if any(part.seconds is None for part in parts):
        tokens = sum(part.calls * part.tokens for part in parts)
        lines = [
            f"A server of unknown speed is asked for about {tokens:,} tokens, if each sample takes "
            "all it may:"
        ]
        lines += [f"    {p.calls:,} × {p.what}, {p.tokens} tokens at most" for p in parts]
        return "\n".join(lines + ends)
    whole = sum(part.total for part in parts)
    unit, word = _unit(whole)
    low, high = (f"{whole * (1 + sign * SPREAD) / unit:.1f}" for sign in (-1, 1))
    lines = [
        f"About {whole / unit:.1f} {word} ({low} to {high}) at the speed just measured, less what "
        "is kept of an earlier run:"
    ]
    for part in sorted(parts, key=lambda part: -part.total):
        unit, word = _unit(part.total)
        lines.append(f"    {part.total / unit:.1f} {word}: {part.calls:,} × {part.what}")
    return "\n".join(lines + ends)


def _decode(
    backend: LocalBackend,
    requests: Sequence[GenRequest],
    seconds: float,
    clock: Callable[[], float],
) -> tuple[list[float], list[int], list[float]]:
    """Seconds until each token, rows that went on before each but the first, and their lengths."""
    times, live, before = [], [], clock()
    start, limit = before, requests[0].max_new_tokens
    with closing(backend.stream(requests)) as steps:
        for decoder in steps:
            now = clock()
            times.append(now - before)
            going = sum(not reason for reason in decoder.reason)
            if (now - start >= seconds and len(times) >= STEPS) or not going:
                break
            live.append(going)
            before = clock()
    ended = zip(decoder.tokens, decoder.reason, strict=True)
    return times, live, [float(len(row) if reason else limit) for row, reason in ended]


def _line(points: Sequence[tuple[float, float]]) -> Line:
    """Seconds as a constant and a part per size, neither below 0."""
    if not points:
        return 0.0, 0.0
    sizes, seconds = np.array(points, float).reshape(-1, 2).T
    (constant, slope), _ = nnls(np.stack([np.ones_like(sizes), sizes], 1), seconds)
    return float(constant), float(slope)


def _unit(seconds: float) -> tuple[float, str]:
    if seconds < 90:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 5400 else (3600.0, "hours")
