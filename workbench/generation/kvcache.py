"""Cache layers for decoding: one that grows in place, one whose beginning all rows share.

A token then costs its own size, not a copy of all before it; and the keys and values of a shared
prompt are read once for the whole batch, as one matrix product, instead of once for every row.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

_ROOM = 64
"""Tokens of spare room, at most, before it has to grow."""
_SCORES = 2**26
"""Attention scores held at once, in elements."""
NAME = "workbench_shared_prefix"


class RoomyLayer(DynamicLayer):
    """`DynamicLayer` with spare room behind its keys and values `[row, head, token, d_head]`."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = _ROOM
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self._seen: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append along the token axis; returns all keys and values of the rows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.keys.shape[-2] if self.keys.numel() else 0
        after = before + key_states.shape[-2]
        # Whoever selects rows replaces keys and values by copies that have no room.
        if self._room is None or self.keys is not self._seen:
            self._grow(key_states, value_states, after + self.spare, before)
        elif after > self._room[0].shape[-2]:
            self._grow(key_states, value_states, 2 * after, before)
        for room, states in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, before:after] = states
        self.keys, self.values = (room[:, :, :after] for room in self._room)
        self._seen = self.keys
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these rows; the room of all of them is given back."""
        super().batch_select_indices(indices)
        self._room = self._seen = None

    def _grow(self, keys: torch.Tensor, values: torch.Tensor, size: int, used: int) -> None:
        rooms = []
        for states, old in ((keys, self.keys), (values, self.values)):
            room = states.new_empty(*states.shape[:2], size, states.shape[-1])
            if used:
                room[:, :, :used] = old
            rooms.append(room)
        self._room = (rooms[0], rooms[1])


class PrefixLayer(RoomyLayer):
    """A layer whose first tokens, `[1, head, token, d_head]`, all rows share; held once."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.prefix = (keys, values)

    def get_seq_length(self) -> int:
        """Tokens of a row, the shared ones included."""
        own = self.keys.shape[-2] if self.is_initialized and self.keys.numel() else 0
        return self.prefix[0].shape[-2] + own


def roomy_cache(hf: PreTrainedModel) -> DynamicCache:
    """The family's own cache, growing in place where it keeps every token."""
    cache = DynamicCache(config=hf.config)
    cache.layers = [RoomyLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    return cache


def make_room(cache: Cache, tokens: int) -> None:
    """Let layers keep spare room for so many tokens more, once they grow: what is never written
    takes memory, too."""
    for layer in cache.layers:
        if isinstance(layer, RoomyLayer):
            layer.spare = min(tokens, _ROOM)


def select_rows(cache: Cache, rows: torch.Tensor) -> None:
    """Keep these rows of every layer, int64 `[row]`; a row may be named more than once."""
    for layer in cache.layers:
        # Of hybrid layers `batch_select_indices` leaves the recurrent states as they are.
        selects = isinstance(layer, RoomyLayer) or not hasattr(layer, "reorder_cache")
        (layer.batch_select_indices if selects else layer.reorder_cache)(rows)


def shares_prefix(hf: PreTrainedModel) -> bool:
    """Whether the family's attention can be told that rows share their beginning."""
    plain = hf.config.get_text_config()._attn_implementation in ("sdpa", "eager")
    return plain and hf._can_set_attn_implementation()


@contextmanager
def shared_prefix(hf: PreTrainedModel, prefix: Cache) -> Iterator[DynamicCache]:
    """A cache that begins, for any number of rows, with what `prefix` holds for one.

    Inside the context the model's attention reads it; outside, all is as before.
    """
    cache = roomy_cache(hf)
    cache.layers = [PrefixLayer(layer.keys, layer.values) for layer in prefix.layers]
    config = hf.config.get_text_config()
    # Not the whole of a multimodal model: its parts may attend each in a way of their own.
    part = next(m for m in hf.modules() if isinstance(m, PreTrainedModel) and m.config is config)
    before = config._attn_implementation
    token = _LAYERS.set(cache.layers)
    try:
        part.set_attn_implementation(NAME)
        yield cache
    finally:
        part.set_attn_implementation(before)
        _LAYERS.reset(token)


_LAYERS: ContextVar[list[PrefixLayer]] = ContextVar("layers")


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Softmax attention over the shared beginning and the row's own tokens, `[row, q, head, d]`.

    query `[row, head, q, d]`; key, value `[row, kv_head, own, d]`; the mask, bool
    `[row, 1, q, shared + own]`, hides nothing of the beginning.
    """
    rows, heads, q, width = query.shape
    own, kv_heads = key.shape[-2], key.shape[1]
    shared_keys, shared_values = _LAYERS.get()[module.layer_idx].prefix
    scale = width**-0.5 if scaling is None else scaling
    if attention_mask is None:
        visible = torch.ones(q, own, dtype=torch.bool, device=query.device).tril(own - q)
        visible = visible.expand(rows, 1, q, own)
    else:
        visible = attention_mask[..., -own:]
    step = max(1, _SCORES // (heads * q * (own + shared_keys.shape[-2])))
    out = []
    for at in range(0, rows, step):
        # Query heads that share a key head are neighbours: [row, kv_head, group * q, d].
        queries = query[at : at + step].reshape(-1, kv_heads, heads // kv_heads * q, width) * scale
        n = len(queries)
        # One product for all rows of a key head: [kv_head, row * group * q, shared].
        flat = queries.transpose(0, 1).reshape(kv_heads, -1, width)
        first = (flat @ shared_keys[0].mT).float()
        first = first.view(kv_heads, n, -1, first.shape[-1]).transpose(0, 1)
        rest = (queries @ key[at : at + step].mT).float()
        if softcap is not None:
            first, rest = (softcap * torch.tanh(x / softcap) for x in (first, rest))
        hidden = ~visible[at : at + step, :, None].expand(n, 1, heads // kv_heads, q, own)
        rest = rest.masked_fill(hidden.reshape(n, 1, -1, own), -torch.inf)
        top = torch.maximum(first.amax(-1, keepdim=True), rest.amax(-1, keepdim=True))
        first, rest = (first - top).exp(), (rest - top).exp()
        # Before the products: unscaled sums over a long beginning overflow float16.
        total = first.sum(-1, keepdim=True) + rest.sum(-1, keepdim=True)
        first, rest = first / total, rest / total
        flat = first.to(value.dtype).transpose(0, 1).reshape(kv_heads, -1, first.shape[-1])
        mixed = (flat @ shared_values[0]).view(kv_heads, n, -1, value.shape[-1]).transpose(0, 1)
        mixed = mixed + rest.to(value.dtype) @ value[at : at + step]
        out.append(mixed.reshape(n, heads, q, -1).transpose(1, 2))
    return torch.cat(out).contiguous(), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
