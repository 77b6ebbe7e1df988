"""Whether a beginning computed once gives a model the states of its own plain forwards."""

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from workbench.models.limits import out_of_memory
from workbench.models.model import Model
from workbench.models.prompts import Encoded
from workbench.models.short_cuts import FAILURES, distance, state_of, tolerance, trial_ids

log = logging.getLogger(__name__)

_SHORT, _LONG = 64, 512
"""Tokens of a trial, and of the longest one."""
_verdicts: WeakKeyDictionary[PreTrainedModel, dict[tuple[Any, ...], bool]] = WeakKeyDictionary()

Read = Callable[[list[Encoded], list[range], list[int], int], torch.Tensor]
"""(prompts, tokens picked, rows, tokens shared) → states `[token, 1, d_model]`."""


def shares(model: Model, depth: int, width: int, read: Read) -> bool:
    """Whether rows up to `width` tokens may go on from a beginning computed once.

    Two texts are read with and without, at the block `depth`. Once for each model, config,
    attention implementation and set of modules; again for rows twice as long, up to 512 tokens,
    where an attention window or chunk may end.
    """
    length = _SHORT
    while length < min(width, _LONG):
        length *= 2
    length = min(length, model.context_length or length)
    key = (depth, length, state_of(model.hf))
    verdicts = _verdicts.setdefault(model.hf, {})
    if key in verdicts:
        return verdicts[key]
    ids, begin = trial_ids(model, length), length // 2
    encoded = [Encoded(text, len(text)) for text in (ids, ids[: begin + 5])]
    picks = [range(begin, len(e.ids)) for e in encoded]
    plain = torch.cat([read(encoded, picks, [row], 0) for row in (0, 1)]).float()
    other = Encoded([*reversed(ids[:begin]), *ids[begin:]], length)
    effect = distance(read([other], picks[:1], [0], 0).float(), plain[: len(picks[0])])
    try:
        error = distance(read(encoded, picks, [0, 1], begin).float(), plain)
    except FAILURES as failure:
        if isinstance(failure, RuntimeError) and out_of_memory(failure):
            return False
        log.info("%s: a beginning computed once fails: %s", model.name, failure)
        error, effect = float("inf"), float("inf")
    verdict = error <= tolerance(model.hf)
    # Where the text before hardly matters (weights not trained yet) nothing has been shown.
    if effect > tolerance(model.hf):
        verdicts[key] = verdict
        if not verdict:
            log.warning(
                "%s: beginnings computed once change its states (by %.1g): none are shared",
                model.name, error,
            )  # fmt: skip
    return verdict
