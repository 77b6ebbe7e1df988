"""generate(): completions from a local model, batched."""

import logging
from collections.abc import Sequence

import torch
from tqdm.auto import tqdm
from transformers import LogitsProcessor

from workbench.models import InFlight, Model
from workbench.prompts import Prompt, encode_all

log = logging.getLogger(__name__)


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[Prompt],
    n: int = 1,
    *,
    max_new_tokens: int = 64,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int | None = None,
) -> list[list[str]]:
    """Completions `[prompt][n]`, special tokens stripped, in the order of `prompts`.

    `temperature=0` is greedy (then `n` must be 1). Prompts are sorted by length, left-padded and
    masked, with positions counted from each prompt's first real token. `batch_size` caps rows per
    batch (default 64 on a CPU, 256 on a GPU).

    Raises `ValueError` for n > 1 with greedy decoding, n < 1 or max_new_tokens < 1, and
    `FloatingPointError` where the next-token logits of a prompt are not finite.
    """
    if n < 1 or max_new_tokens < 1 or temperature < 0:
        raise ValueError("n and max_new_tokens must be at least 1, temperature at least 0")
    if n > 1 and temperature == 0:
        raise ValueError("n > 1 completions need temperature > 0; greedy decoding gives one")
    encoded = encode_all(model, prompts)
    rows = sorted(
        (i for i in range(len(prompts)) for _ in range(n)), key=lambda i: len(encoded[i].ids)
    )
    cap = batch_size or (64 if model.hf.device.type == "cpu" else 256)
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    out: list[list[str]] = [[] for _ in prompts]
    try:
        with tqdm(total=len(rows), desc="generate", unit="reply", leave=False) as progress:
            for start in range(0, len(rows), cap):
                batch = rows[start : start + cap]
                width = len(encoded[batch[-1]].ids)
                start = [width - len(encoded[i].ids) + encoded[i].start for i in batch]
                model.in_flight = InFlight(torch.tensor(batch), len(prompts), torch.tensor(start))
                ids = [encoded[i].ids for i in batch]
                texts = _decode(model, ids, max_new_tokens, temperature)
                for i, text in zip(batch, texts, strict=True):
                    out[i].append(text)
                progress.update(len(batch))
    finally:
        model.in_flight = None
        torch.random.set_rng_state(generator_state)
    return out


def _decode(model: Model, ids: list[list[int]], new: int, temperature: float) -> list[str]:
    width = max(map(len, ids))
    pad = model.tokenizer.pad_token_id
    inputs = torch.tensor([[pad] * (width - len(row)) + row for row in ids])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ids])
    out = model.hf.generate(
        input_ids=inputs.to(model.hf.device),
        attention_mask=mask.to(model.hf.device),
        max_new_tokens=new,
        do_sample=temperature > 0,
        temperature=temperature or None,
        top_p=None,
        top_k=0 if temperature > 0 else None,
        pad_token_id=pad,
        logits_processor=[_Finite()],
    )
    return model.tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)


class _Finite(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if not torch.isfinite(scores.max(1).values).all():
            row = int((~torch.isfinite(scores.max(1).values)).nonzero()[0])
            raise FloatingPointError(
                f"next-token logits are not finite (row {row}, after {input_ids.shape[1]} tokens). "
                "A steering alpha too large for the dtype is the usual cause."
            )
        return scores
