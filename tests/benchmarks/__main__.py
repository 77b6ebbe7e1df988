"""`python -m tests.benchmarks [--json FILE]`: what locking and steered decoding cost, as ratios.

Every pair is timed interleaved in one process; medians are printed. Absolute times on a GPU only.
"""

import argparse
import json
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import workbench as wb
from workbench.papers.safetylock.study import decode_ratios, lock_seconds


def clock(device: torch.device) -> float:
    """Seconds, after the device has finished."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def full_lock(model: wb.Model, k: int) -> wb.HeadDirections:
    """A lock of `k` random heads, spread over all layers."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.randn(k, model.d_head, generator=generator)
    unit /= unit.norm(dim=1, keepdim=True)
    return wb.HeadDirections(
        cells // model.n_heads, cells % model.n_heads, unit, torch.full((k,), 0.3)
    )


def random_llama(device: torch.device, **sizes: int) -> wb.Model:
    """A random Llama of the given sizes with the embedded tokenizer."""
    tokenizer = wb.load("tiny", device="cpu").tokenizer
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    with device:
        hf = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **sizes)).to(dtype).eval()
    return wb.load(hf, tokenizer)


@torch.inference_mode()
def lock_over_forward(model: wb.Model, lock: wb.HeadDirections) -> tuple[float, float]:
    """(median fold seconds / median seconds of one 512-token forward, median fold seconds)."""
    ids = torch.randint(0, 700, (1, 512), device=model.hf.device)
    model.hf(ids, use_cache=False)
    forwards, folds = [], []
    for _ in range(5):
        start = clock(model.hf.device)
        model.hf(ids, use_cache=False)
        forwards.append(clock(model.hf.device) - start)
        folds += lock_seconds(model, lock, 6.0, repeats=3)
    return statistics.median(folds) / statistics.median(forwards), statistics.median(folds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write {name: number} here")
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    out = {}

    tiny = wb.load("tiny", device=device)
    lock = full_lock(tiny, 16)
    out["decode_folded_tiny"] = statistics.median(decode_ratios(tiny, lock, 1.0, 64, 15))
    middle = random_llama(
        device,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        num_key_value_heads=4,
    )
    lock = full_lock(middle, 24)
    out["decode_folded_80m"] = statistics.median(decode_ratios(middle, lock, 1.0, 32, 9))
    # The 8B shape, every layer locked; all 32 layers where the device holds them, else 2.
    big = random_llama(
        device,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32 if device.type == "cuda" else 2,
        num_attention_heads=32,
        num_key_value_heads=8,
    )
    lock = full_lock(big, 24 if device.type == "cuda" else 4)
    out["lock_over_512_token_forward_8b_shape"], seconds = lock_over_forward(big, lock)
    if device.type == "cuda":
        out["lock_seconds_8b_shape"] = seconds

    for name, value in out.items():
        print(f"{name:<40} {value:.5f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(out, file, indent=1)


if __name__ == "__main__":
    main()
