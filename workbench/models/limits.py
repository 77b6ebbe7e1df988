"""Limits of a model and its device: tokens per batch, rotary lengths, memory."""

from dataclasses import dataclass

import psutil
import torch

from workbench.errors import ModelError
from workbench.models.model import Model

CPU_TOKENS = 512
"""Padded tokens per batch on a CPU, where larger batches are slower."""
GPU_TOKENS = 16384
"""The most padded tokens per batch on a GPU."""


@dataclass
class Budget:
    """Padded tokens per batch; halved for good whenever memory runs out."""

    tokens: int

    @classmethod
    def of(cls, model: Model) -> "Budget":
        """`CPU_TOKENS` on a CPU; on a GPU what half its free memory holds, at most `GPU_TOKENS`.

        One token of a block in flight is taken as 16 residual streams and 4 MLP widths.
        """
        device = model.input_device
        if device.type != "cuda":
            return cls(CPU_TOKENS)
        config = model.hf.config.get_text_config()
        width = 16 * model.d_model + 4 * (getattr(config, "intermediate_size", 0) or 0)
        free, _ = torch.cuda.mem_get_info(device)
        fits = free // 2 // (width * model.hf.dtype.itemsize)
        return cls(max(1, min(GPU_TOKENS, fits)))


def rope_limit(model: Model) -> int | None:
    """Length beyond which rotary frequencies depend on the longest row of a batch, if anywhere."""
    rope = getattr(model.hf.config.get_text_config(), "rope_parameters", None) or {}
    if rope.get("rope_type") not in ("longrope", "dynamic"):
        return None
    return rope.get("original_max_position_embeddings") or model.context_length


def out_of_memory(error: RuntimeError) -> bool:
    """Whether memory ran out, on a GPU or a CPU."""
    # The CPU allocator has no exception class of its own.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def require_memory(name: str, size: int) -> None:
    """Raise `ModelError` where `size` bytes are more than the machine's free memory."""
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if size > free:
        raise ModelError(
            f"{name}: its weights take {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory is "
            "free. Free some, or take a smaller model"
        )
