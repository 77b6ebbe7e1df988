"""One layer of a compiled network, and the arithmetic it needs."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class CoNNLayer(nn.Module):
    """x += o(softmax(q kᵀ) v), then x += down(relu(up(x)))."""

    def __init__(self, d_model: int, heads: int, head_dim: int, units: int) -> None:
        super().__init__()
        self.heads, self.units = heads, units
        if heads:
            for name in ("q", "k", "v"):
                setattr(self, name, nn.Linear(d_model, heads * head_dim, bias=False))
            self.o = nn.Linear(heads * head_dim, d_model, bias=False)
        if units:
            self.up = nn.Linear(d_model, units, bias=False)
            self.down = nn.Linear(units, d_model, bias=False)

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor, keep: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """(stream after attention, attention or None, stream after the units)."""
        attention = None
        if self.heads:
            q, k, v = (
                each(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for each in (self.q, self.k, self.v)
            )
            if keep:
                # As the kernels do: no score is rounded to 16 bits.
                wide = torch.promote_types(x.dtype, torch.float32)
                scores = q.to(wide) @ k.to(wide).transpose(2, 3) + mask.to(wide)
                attention = scores.softmax(-1).to(x.dtype)
                mixed = attention @ v
            else:
                mixed = nn.functional.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
            x = x + self.o(mixed.transpose(1, 2).flatten(2))
        middle = x
        if self.units:
            x = x + self.down(self.up(x).relu())
        return middle, attention, x


@contextmanager
def as_written(device: str) -> Iterator[None]:
    """Without autocast and TF32, which would compute in a dtype that the weights are not in.

    On a CPU in one thread: so small products wait for others longer than they take.
    """
    before, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    precisions = [backend.fp32_precision for backend in backends]
    try:
        if before != "highest":
            torch.set_float32_matmul_precision("highest")
        if device == "cpu" and threads > 1:
            torch.set_num_threads(1)
        with torch.autocast(device, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)
            # What it sets is not all that can be set, and part of every model's identity.
            for backend, precision in zip(backends, precisions, strict=True):
                backend.fp32_precision = precision
        if device == "cpu" and threads > 1:
            torch.set_num_threads(threads)
