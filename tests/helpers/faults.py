"""Models that run out of memory, or whose logits are not finite."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from tests.helpers.families import build

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"


@dataclass
class Memory:
    """What the second layer was given: rows of each batch that fitted, how many did not."""

    rows: list[int] = field(default_factory=list)
    refused: int = 0


@contextlib.contextmanager
def short_of_memory(model, *, rows: int = 10**9, tokens: int = 10**9) -> Iterator[Memory]:
    """No memory for more than `rows` rows, or rows of more than `tokens`, at once."""
    memory = Memory()

    def limited(_, args):
        if args[0].shape[0] > rows or args[0].shape[1] > tokens:
            memory.refused += 1
            raise RuntimeError(OUT_OF_MEMORY)
        memory.rows.append(args[0].shape[0])

    hook = model.layer(1).register_forward_pre_hook(limited)
    try:
        yield memory
    finally:
        hook.remove()


def not_finite_at(token, tokenizer, value):
    """A llama in bfloat16 whose logits are `value` wherever the text holds `token`."""
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    (bad,) = tokenizer(token, add_special_tokens=False)["input_ids"]
    model.hf.model.embed_tokens.weight.data[bad] = value
    return model
