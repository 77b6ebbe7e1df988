"""FPO beside its rivals: bytes and seconds of a training step, and what the offline pass costs.

`python -m tests.benchmarks.fpo`: a small model with a wide vocabulary, on the CPU. `--shape
gemma-2-2b`: random weights and a random dictionary of the paper's shapes in bfloat16, on a GPU.
"""

import argparse
import gc
import json
import logging
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from workbench.features import encode, find_hook, load_sae, reading
from workbench.papers.fpo import memory
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.paths import data_folder

METHODS = {
    "fpo": ("fpo", "offline"),
    "ln_dpo": ("sigmoid_norm", "offline"),
    "dpo": ("sigmoid", "offline"),
    "simpo": ("simpo", "offline"),
    "tdpo2": ("tdpo2", "online"),
    "dpo_online": ("sigmoid", "online"),
    "fpo_online": ("fpo", "online"),
}
SHAPES = {
    "wide": {"layer": 3, "features": 2048, "active": 32, "tokens": 256, "pairs": 2},
    "gemma-2-2b": {"layer": 25, "features": 16384, "active": 55, "tokens": 1024, "pairs": 1},
}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model(shape: str) -> torch.nn.Module:
    """Random weights, seeded."""
    torch.manual_seed(0)
    with device():
        if shape == "gemma-2-2b":
            torch.set_default_dtype(torch.bfloat16)
            out = Gemma2ForCausalLM(Gemma2Config(attn_implementation="eager"))
            torch.set_default_dtype(torch.float32)
            return out
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=32768, hidden_size=128, intermediate_size=384, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=4, pad_token_id=0,
                max_position_embeddings=512,
            )
        )  # fmt: skip


def tokenizer() -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(data_folder() / "styles")


def pairs(tokens: int, count: int) -> Dataset:
    """Random words; prompt a quarter of the length, answers up to the rest."""
    rng = random.Random(0)
    words = "barn seed tractor fence hay plough tide sail harbour anchor".split()

    def said(n: int) -> str:
        return "".join(f" {rng.choice(words)}" for _ in range(n))

    rest = tokens - tokens // 4 - 1
    return Dataset.from_list(
        [{"prompt": "<bos>" + said(tokens // 4 - 1), "chosen": said(rest),
          "rejected": said(rest - rng.randint(0, rest // 4))} for _ in range(count)]
    )  # fmt: skip


def dictionary(shape: str, folder: Path) -> Path:
    """A params.npz of the real layout whose thresholds leave the stated number of codes active."""
    sizes = SHAPES[shape]
    policy = model(shape)
    d, m = policy.config.hidden_size, sizes["features"]
    rng = np.random.default_rng(0)
    decoder = rng.normal(size=(m, d)).astype(np.float32)
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    arrays = {"W_enc": decoder.T.copy(), "b_enc": np.zeros(m, np.float32), "W_dec": decoder,
              "b_dec": np.zeros(d, np.float32), "threshold": np.zeros(m, np.float32)}  # fmt: skip
    path = folder / "params.npz"
    np.savez(path, **arrays)
    text = pairs(sizes["tokens"], 1)[0]
    ids = tokenizer()(text["prompt"] + text["chosen"], return_tensors="pt")["input_ids"]
    hook = f"blocks.{sizes['layer']}.hook_resid_post"
    with torch.no_grad(), reading(find_hook(policy, hook)) as slot:
        policy(ids.to(device()))
    codes = encode(load_sae(path, device()), slot.value[0])
    kept = codes.topk(sizes["active"], dim=1).values[:, -1].median().item()
    np.savez(path, **{**arrays, "threshold": np.full(m, kept, np.float32)})
    return path


class Stepper:
    """One method's trainer, and its step: loss, backward, AdamW."""

    def __init__(self, name: str, shape: str, sae: Path, folder: Path, count: int = 8) -> None:
        loss, reference = METHODS[name]
        sizes = SHAPES[shape]
        args = FPOConfig(
            output_dir=str(folder / name), loss=loss, reference=reference,
            cache_dir=str(folder / "ref_cache"), sae=str(sae) if loss == "fpo" else None,
            sae_hook=f"blocks.{sizes['layer']}.hook_resid_post", report_to="none",
            per_device_train_batch_size=sizes["pairs"], max_length=sizes["tokens"],
            gradient_checkpointing=True, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        self.trainer = FPOTrainer(
            model(shape), args=args, train_dataset=pairs(sizes["tokens"], count),
            processing_class=tokenizer(),
        )  # fmt: skip
        self.trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.trainer.model.train()
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-6)
        self.batches = [
            self.trainer._prepare_inputs(b) for b in self.trainer.get_train_dataloader()
        ]
        self.at = 0

    def __call__(self) -> None:
        batch = self.batches[self.at % len(self.batches)]
        self.at += 1
        with self.trainer.compute_loss_context_manager():
            loss = self.trainer.compute_loss(self.trainer.model, batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def peak(self) -> int:
        """Bytes at the highest moment of a step, with weights, optimiser state and reference."""
        held = memory.held([self.trainer.model, self.trainer.ref_model, self.trainer.sae,
                            self.optimizer])  # fmt: skip
        return held + memory.transient(self)


def precompute(shape: str, sae: Path, folder: Path, count: int) -> float:
    """Seconds of the offline pass over those of a plain forward epoch of the same pairs."""
    sizes = SHAPES[shape]
    found = {}
    stepper = Stepper("fpo", shape, sae, folder / "warm", count)
    trainer = stepper.trainer

    def forward() -> None:
        with trainer.as_reference() as reference:
            for batch in stepper.batches:
                labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
                reference(
                    input_ids=batch["input_ids"], attention_mask=batch["attention_mask"],
                    labels=labels, fused_lm_head=True,
                )  # fmt: skip

    def offline() -> None:
        trainer.offline.root = Path(tempfile.mkdtemp(dir=folder))
        trainer.offline.attach(trainer, rows, "train", sizes["pairs"])

    rows = trainer.train_dataset.remove_columns(
        ["ref_chosen_logps", "ref_rejected_logps", "fpo_cache"]
    )
    for name, step in (("offline", offline), ("forward", forward)) * 3:
        found.setdefault(name, []).append(memory.seconds(step))
    return min(found["offline"]) / min(found["forward"])


def interleaved(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    for step in steps.values():
        step()
        step()
    out: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds):
        names = list(steps) if turn % 2 else list(steps)[::-1]
        for name in names:
            out[name].append(memory.seconds(steps[name]))
    return out


def measure(shape: str, rounds: int, pass_pairs: int) -> dict[str, object]:
    """Everything, as plain numbers."""
    out: dict[str, object] = {"shape": shape, "device": str(device())}
    if device().type == "cuda":
        out["device"] = torch.cuda.get_device_name()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sae = dictionary(shape, folder)
        peaks, seconds = {}, {}
        for method in METHODS:
            stepper = Stepper(method, shape, sae, folder)
            stepper()
            stepper()
            peaks[method] = stepper.peak()
            seconds[method] = statistics.median(memory.seconds(stepper) for _ in range(rounds))
            del stepper
            gc.collect()
            if device().type == "cuda":
                torch.cuda.empty_cache()
        out |= {"peak_bytes": peaks, "seconds": seconds}
        print(json.dumps(out), flush=True)
        both = {m: Stepper(m, shape, sae, folder) for m in ("fpo", "ln_dpo")}
        times = interleaved(both, rounds)
        ratios = [a / b for a, b in zip(times["fpo"], times["ln_dpo"], strict=True)]
        out["step_ratio_fpo_vs_ln_dpo"] = statistics.median(ratios)
        out["step_ratio_quartiles"] = statistics.quantiles(ratios, n=4)
        del both
        gc.collect()
        out["precompute_ratio"] = precompute(shape, sae, folder, pass_pairs)
    out["less_than_tdpo2"] = 1 - peaks["fpo"] / peaks["tdpo2"]
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="wide")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--json")
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    found = measure(given.shape, given.rounds, given.pairs)
    print(json.dumps(found, indent=1))
    if given.json:
        Path(given.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
