"""Token-budgeted forwards that read one site: batches by length, early stop, one shared prefix."""

import copy
import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import nnsight
import torch

from workbench.activations.trials import shares
from workbench.models.anatomy import first
from workbench.models.eager import eager
from workbench.models.limits import Budget, out_of_memory, rope_limit
from workbench.models.model import InFlight, Model
from workbench.models.prompts import Encoded, padded

if TYPE_CHECKING:
    from transformers import Cache

log = logging.getLogger(__name__)

# Shorter common beginnings, or fewer prompts, do not pay for the extra forward.
_PREFIX_TOKENS, _PREFIX_PROMPTS = 16, 4
# Tokens that a batch may hold, in token budgets: those of the shared beginning count here, too.
_HELD_BUDGETS = 32


def read_site(
    model: Model,
    encoded: list[Encoded],
    picks: list[range],
    site: str,
    layers: tuple[int, ...],
    rows: Iterable[int],
    budget: Budget,
) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Yield (prompts of a batch, `[token, layer, width]` on the CPU in the model's dtype).

    The tokens are `picks` of each prompt of the batch, in order. What all prompts begin with (a
    system prompt, few-shot examples) is computed once. One batch is in flight ahead of the one
    yielded, so that on a GPU the copy to the host and the caller's work overlap it.

    Raises `MemoryError`, naming it, for a prompt that does not fit alone.
    """
    # Longest first: what will not fit fails at once, not after an hour.
    queue = sorted(rows, key=lambda i: -len(encoded[i].ids))
    limit = rope_limit(model)
    shared = 0 if model.hooked or limit else _shared_length(encoded, picks, queue)
    if shared:

        def read(
            texts: list[Encoded], at: list[range], some: list[int], begin: int
        ) -> torch.Tensor:
            beginning = _prefix_cache(model, texts[0].ids[:begin]) if begin else None
            if begin and beginning is None:
                raise RuntimeError("the model keeps no cache")
            return _forward(model, texts, at, "resid", (max(layers),), some, begin, beginning)

        with model.lock:
            shared *= shares(model, max(layers), len(encoded[queue[0]].ids), read)
    cache = _prefix_cache(model, encoded[queue[0]].ids[:shared]) if shared else None
    shared = shared if cache is not None else 0
    ahead: tuple[list[int], torch.Tensor, torch.cuda.Event | None] | None = None
    while queue:
        length = len(encoded[queue[0]].ids)
        # Rows that repeat a long beginning are cheap to compute, but not to hold.
        n = max(1, min(budget.tokens // (length - shared), _HELD_BUDGETS * budget.tokens // length))
        if limit and length > limit:
            n = min(n, sum(len(encoded[i].ids) == length for i in queue))
        batch = queue[:n]
        try:
            with model.lock:
                tokens = _forward(model, encoded, picks, site, layers, batch, shared, cache)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise MemoryError(
                    f"prompt {batch[0]} with {length} tokens does not fit in memory by itself; "
                    "shorten it, use a smaller dtype or fewer layers"
                ) from error
            computed = len(batch) * (length - shared)
            budget.tokens = computed // 2
            log.warning("out of memory at %d tokens per batch; going on with half", computed)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        del queue[:n]
        copying = (batch, *_to_host(tokens))
        if ahead:
            yield _copied(*ahead)
        ahead = copying
    if ahead:
        yield _copied(*ahead)


@torch.inference_mode()
def _forward(
    model: Model,
    encoded: list[Encoded],
    picks: list[range],
    site: str,
    layers: tuple[int, ...],
    batch: list[int],
    shared: int,
    cache: "Cache | None",
) -> torch.Tensor:
    """One traced forward; `[token, layer, width]` at the picked tokens."""
    ids, _ = padded([encoded[i].ids[shared:] for i in batch], model.pad_id)
    width = ids.shape[1]
    picked = [r * width + t - shared for r, i in enumerate(batch) for t in picks[i]]
    index = torch.tensor(picked, dtype=torch.long)
    past = {"use_cache": False}
    if cache is not None:
        repeated = copy.deepcopy(cache)
        repeated.batch_repeat_interleave(len(batch))
        past = {"use_cache": True, "past_key_values": repeated}
    index_on: dict[torch.device, torch.Tensor] = {}

    def take(value: torch.Tensor) -> torch.Tensor:
        device = value.device
        if device not in index_on:
            index_on[device] = index.to(device)
        return value.reshape(-1, value.shape[-1])[index_on[device]]

    in_order = sorted(set(layers))
    start = torch.tensor([encoded[i].start for i in batch])
    model.in_flight = InFlight(torch.tensor(batch), len(encoded), start)
    try:
        with eager(), model.trace(input_ids=ids.to(model.input_device), **past) as tracer:
            taken = nnsight.save({})
            for i in in_order:
                layer = model.layers[i]
                if site == "heads":
                    taken[i] = take(layer.attn.o_proj.input)
                elif site == "mlp":
                    taken[i] = take(first(layer.mlp.output))
                else:
                    taken[i] = take(first(layer.output))
            tracer.stop()
    finally:
        model.in_flight = None
    device = taken[in_order[-1]].device
    return torch.stack([taken[i].to(device) for i in layers], 1)


def _shared_length(encoded: list[Encoded], picks: list[range], rows: list[int]) -> int:
    """How many first tokens all prompts have in common before the first one picked, if worth it."""
    if len(rows) < _PREFIX_PROMPTS:
        return 0
    length = min(min(picks[i].start, len(encoded[i].ids) - 1) for i in rows)
    # Of a sorted list the first and the last differ earliest.
    first_ids, last_ids = (f(encoded[i].ids[:length] for i in rows) for f in (min, max))
    same = next((k for k in range(length) if first_ids[k] != last_ids[k]), length)
    return same if same >= _PREFIX_TOKENS else 0


@torch.inference_mode()
def _prefix_cache(model: Model, ids: list[int]) -> "Cache | None":
    """Keys and values of the shared beginning; None where the model cannot keep them."""
    batch = torch.tensor([ids], device=model.input_device)
    try:
        cache = model.hf.base_model(batch, use_cache=True).past_key_values
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return None
    # Gradient checkpointing, for one, switches caches off without a word.
    return cache if cache is not None and cache.get_seq_length() == len(ids) else None


def _to_host(tokens: torch.Tensor) -> tuple[torch.Tensor, torch.cuda.Event | None]:
    """(a copy on the CPU, the event after which it is complete; None where it is already)."""
    if tokens.device.type != "cuda":
        return tokens.cpu(), None
    host = torch.empty(tokens.shape, dtype=tokens.dtype, pin_memory=True)
    host.copy_(tokens, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(tokens.device))
    return host, event


def _copied(
    batch: list[int], host: torch.Tensor, event: torch.cuda.Event | None
) -> tuple[list[int], torch.Tensor]:
    if event is not None:
        event.synchronize()
    return batch, host
