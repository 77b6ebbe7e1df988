"""Identity of content: digests of tensors, JSON and files."""

import torch
import xxhash


def tensors_hash(state: dict[str, torch.Tensor]) -> str:
    """16 hex digits of every name, shape, dtype and value.

    xxHash: gigabytes of weights are told apart, not defended, and it is ten times as fast as SHA.
    """
    digest = xxhash.xxh3_64()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
