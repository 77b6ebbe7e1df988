"""Whether a short cut gives a model the logits of its own plain forwards: tried, not assumed."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from workbench.generation.batch_forward import (
    CACHED,
    COPIED,
    SHARED,
    WHOLE,
    BatchForward,
    only_last,
)  # fmt: skip
from workbench.generation.batching import Batch, Ids, Row
from workbench.generation.kvcache import roomy_cache, shares_prefix
from workbench.models.limits import rope_limit
from workbench.models.model import InFlight, Model
from workbench.models.prompts import Encoded
from workbench.models.short_cuts import FAILURES, distance, state_of, tolerance, trial_ids

log = logging.getLogger(__name__)

_SHORT, _LONG = 64, 512
"""Tokens of a trial: what shows any kind of attention, and the longest that is tried."""
_NEW = 4
_REACH = re.compile(r"(window|chunk|chunk_length|(window|chunk)_size|local_attention|index_topk)$")
_verdicts: WeakKeyDictionary[PreTrainedModel, dict[tuple[Any, ...], bool]] = WeakKeyDictionary()


def ways(
    model: Model, batches: Sequence[Batch], widths: Sequence[int], ids: Sequence[Ids]
) -> frozenset[str]:
    """The ways of computing all these batches that hold for the model, each tried once.

    `widths`: tokens of each batch's rows when all are decoded, pads included. `ids`: of all of the
    caller's prompts. Beginnings are shared in one way or the other in all batches, or in none.
    """

    def shown(way: str, some: Sequence[Batch]) -> bool:
        width = max((w for b, w in zip(batches, widths, strict=True) if b in some), default=0)
        return bool(width) and holds(model, way, width, len(ids))

    held = {WHOLE} if shown(WHOLE, [b for b in batches if len(b.rows) > 1]) else set()
    # Gradient checkpointing drops caches without a word.
    lost = model.hf.training and model.hf.is_activation_checkpointing
    if lost or model.hf.generation_config.use_cache is False or not shown(CACHED, batches):
        return frozenset(held)
    held.add(CACHED)
    sharing = [b for b in batches if any(b.shared)]
    # Attention is told of one beginning at most.
    several = [b for b in sharing if len(b.beginnings(ids)) > 1]
    if shown(SHARED, sharing):
        held.add(SHARED)
    copied = several if SHARED in held else sharing
    if copied and not shown(COPIED, copied):
        return frozenset(held - {SHARED})
    return frozenset(held | {COPIED})


def holds(model: Model, way: str, width: int, total: int) -> bool:
    """Whether rows of `width` tokens, pads included, may be computed in this `way`.

    Two prompts of different lengths are run in that way, with rows drawn twice, a few tokens
    decoded and a row dropped, and compared with forwards of each text alone, unpadded and without
    a cache. Once for each model, config, attention implementation and set of modules, and again
    for rows twice as long where a beginning is shared: pads behind it would push it out of an
    attention window. Where the config names a window or chunk shorter than the rows, nothing is
    tried. `total`: prompts the caller has, for steering with one alpha each.
    """
    hf, short = model.hf, reach(model.hf)
    if way == SHARED and not shares_prefix(hf):
        return False
    shares = way in (COPIED, SHARED)
    if shares and short and width > short:
        log.info("%s attends in windows of %d: no prefix reuse", model.name, short)
        return False
    length = _SHORT
    if shares or (short and short < width):
        while length < min(width, _LONG):
            length *= 2
    limits = [n for n in (model.context_length, rope_limit(model), short if shares else None) if n]
    length = min([length, *limits])
    # With one alpha for the only prompt there are no two prompts to tell apart.
    prompts = min(2, total) if model.per_prompt else 2
    key = (way, length, prompts, state_of(hf))
    verdicts = _verdicts.setdefault(hf, {})
    if key not in verdicts:
        with model.lock:
            error, effect = _tried(model, way, length, prompts, total)
        verdict = error <= tolerance(hf)
        # Where the text before hardly matters (weights not trained yet) nothing has been shown.
        if effect <= tolerance(hf):
            return verdict
        verdicts[key] = verdict
        if not verdict:
            log.warning("%s: %s", model.name, _REFUSALS[way] % error)
    return verdicts[key]


_REFUSALS = {
    WHOLE: "padding changes its logits (by %.1g), so that every text is computed alone, slowly",
    CACHED: "cached keys and values, or pads, change its logits (by %.1g): none are kept, slowly",
    COPIED: "beginnings computed once change its logits (by %.1g), so that none are shared",
    SHARED: "attending to a shared beginning changes its logits (by %.1g): it is copied to rows",
}


def reach(hf: PreTrainedModel) -> int | None:
    """The shortest attention window or chunk in any layer; None where all attend to everything."""
    sizes = [getattr(layer, "sliding_window", None) for layer in roomy_cache(hf).layers]
    for name, value in vars(hf.config.get_text_config()).items():
        if _REACH.search(name):
            sizes += value if isinstance(value, list | tuple) else [value]
    return min((n for n in sizes if type(n) is int and n > 0), default=None)


@torch.inference_mode()
def _tried(model: Model, way: str, length: int, prompts: int, total: int) -> tuple[float, float]:
    """(relative error of the way's logits, relative effect of other first tokens)."""
    ids, new = trial_ids(model, length), min(_NEW, length // 4)
    begin = length // 4
    # The second prompt is as short as can be: its pads are as many as can be.
    texts = [ids[: length - new], ids[: begin + 1]][:prompts]
    more = ids[-new:]
    encoded = [Encoded(text, len(text)) for text in texts]
    shared = (begin if way in (COPIED, SHARED) else 0,) * prompts
    rows = tuple(Row(i, k) for i in range(prompts) for k in range(2 - i))
    forward = BatchForward(model, Batch(rows, shared), encoded, total, frozenset({way}))
    before = model.in_flight
    try:
        alone = [_plain(model, i, e.start, e.ids, more, total) for i, e in enumerate(encoded)]
        changed = [*reversed(ids[:begin]), *texts[0][begin:]]
        other = _plain(model, 0, len(changed), changed, more, total)
    finally:
        model.in_flight = before
    try:
        errors: list[list[float]] = [[] for _ in rows]
        for step, row, logits in _logits(forward, way, rows, more):
            errors[row].append(distance(logits, alone[rows[row].request][step]))
        # Of one row's tokens some may be routed to other experts by rounding alone.
        error = max(sorted(of_row)[len(of_row) // 2] for of_row in errors)
        return error, distance(other[0], alone[0][0])
    except FAILURES as failure:
        log.info("%s: %s fails: %s", model.name, way, failure)
        return float("inf"), float("inf")
    finally:
        model.in_flight = before


def _logits(
    forward: BatchForward, way: str, rows: tuple[Row, ...], more: list[int]
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(step, row, logits `[vocab]`) of rows that go on with the same tokens; one is dropped."""
    live = list(range(len(rows)))
    with ExitStack() as context:
        if way == WHOLE:
            logits, cached = forward.whole_texts(live, [[] for _ in rows]), None
        else:
            logits, cached = forward.samples(context, [len(more) + 1] * len(rows))
        yield from ((0, row, logits[i]) for i, row in enumerate(live))
        for step, token in enumerate(more, 1):
            if step == 2:
                going = torch.tensor([row > 0 for row in live])
                live = live[1:]
                if cached is not None:
                    cached.keep(going)
            if cached is None:
                logits = forward.whole_texts(live, [more[:step] for _ in rows])
            else:
                chosen = torch.full((len(live),), token, device=forward.device)
                logits = forward.step(cached, chosen)
            yield from ((step, row, logits[i]) for i, row in enumerate(live))


def _plain(
    model: Model, prompt: int, start: int, text: list[int], more: list[int], total: int
) -> torch.Tensor:
    """Next-token logits `[step, vocab]` behind a text and each of `more`, as the family has it."""
    model.in_flight = InFlight(torch.tensor([prompt]), total, torch.tensor([start]))
    ids = torch.tensor([text + more], device=model.input_device)
    keep = len(more) + 1
    out = model.hf(ids, use_cache=False, **only_last(type(model.hf), keep))
    return out.logits[0, -keep:].float()
