"""Log-probabilities of replies beside a plain forward of the same texts: time, and logits held."""

import random
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

import workbench as wb
from tests.benchmarks import timing
from workbench.models.prompts import encode_all, padded

SIZES = {
    "toy": [(6, 40), (1, 512)],
    "tiny": [(64, 120)],
    "100m": [(8, 256), (1, 8192)],
    "1b": [(256, 256), (1, 8192)],
    "8b": [(64, 512), (1, 8192)],
}
"""Texts and tokens of each: many short ones, one long one."""


class Held(TorchDispatchMode):
    """`most`: bytes of tensors `[..., vocab]` that were there at one moment, weights left out."""

    def __init__(self, hf: PreTrainedModel) -> None:
        super().__init__()
        self.vocab = hf.config.vocab_size
        self.weights = {p.untyped_storage().data_ptr() for p in hf.parameters()}
        self.users: dict[int, int] = {}
        self.now = self.most = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.shape[-1:] == (self.vocab,):
                storage = tensor.untyped_storage()
                key, size = storage.data_ptr(), storage.nbytes()
                if key not in self.weights:
                    self.users[key] = self.users.get(key, 0) + 1
                    self.now += size if self.users[key] == 1 else 0
                    self.most = max(self.most, self.now)
                    weakref.finalize(tensor, self.drop, key, size)
        return out

    def drop(self, key: int, size: int) -> None:
        self.users[key] -= 1
        self.now -= 0 if self.users[key] else size


@torch.inference_mode()
def plain(hf: PreTrainedModel, texts: list[list[int]], rows: int) -> list[torch.Tensor]:
    """What a user writes: padded batches of `rows`, softmax of all logits, the tokens' own."""
    out = []
    for at in range(0, len(texts), rows):
        ids, mask = (x.to(hf.device) for x in padded(texts[at : at + rows], 0))
        logprobs = hf(ids, attention_mask=mask, use_cache=False).logits.float().log_softmax(-1)
        of_tokens = logprobs[:, :-1].gather(2, ids[:, 1:, None])[..., 0].cpu()
        out += [row[: int(n) - 1] for row, n in zip(of_tokens, mask.sum(1), strict=True)]
    return out


def texts_of(count: int, tokens: int, seed: int = 0) -> list[str]:
    """Sentences of the embedded town, of about `tokens` tokens."""
    rng = random.Random(seed)
    words = "mend the gate with a hammer and look at old Mara by her bone".split()
    return [" ".join(rng.choice(words) for _ in range(round(tokens / 1.42) - rng.randrange(4)))
            for _ in range(count)]  # fmt: skip


def replies(name: str, rounds: int = 5) -> dict[str, float | list[float]]:
    """Time over a plain forward's, share of its logits that is held, largest difference, nats."""
    hf = timing.make(name)
    model = wb.load(hf, timing.tokenizer())
    out: dict[str, float | list[float]] = {}
    for count, tokens in SIZES[name]:
        texts = texts_of(count, tokens)
        ids = [e.ids for e in encode_all(model, texts)]
        rows = max(1, (16384 if hf.device.type == "cuda" else 8192) // tokens)
        calls = {
            "plain": lambda ids=ids, rows=rows: plain(hf, ids, rows),
            "ours": lambda texts=texts: wb.reply_logprobs(model, texts),
        }
        held = {}
        for kind, call in calls.items():
            with Held(hf) as logits:
                held[kind] = (call(), logits)
        (reference, most), (ours, few) = held["plain"], held["ours"]
        difference = max((a - b.logprobs).abs().max().item()
                         for a, b in zip(reference, ours, strict=True))  # fmt: skip
        times = timing.interleaved(calls, rounds, warm=False)
        shape = f"{name}_{count}x{tokens}"
        out |= {
            f"logprob_ratio_{shape}": timing.ratios(times, "ours", "plain"),
            f"logprob_memory_share_{shape}": few.most / most.most,
            f"logprob_difference_{shape}": difference,
        }
    return out
