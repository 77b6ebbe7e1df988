"""Bytes and seconds of a training step of each method (Figure 4 and the rebuttal)."""

import copy
import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tqdm.auto import tqdm
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.paper import METHODS, MODEL, Settings
from workbench.papers.fpo.presets import Inputs
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.paths import data_folder
from workbench.training import memory

Plain = dict[str, Any]
COMPARED = ("fpo", "ln_dpo", "dpo", "simpo", "tdpo2")
BATCHES = 3


@dataclass(frozen=True)
class Bench:
    """Model and texts that steps are measured on: a fresh `model()` each, texts of `tokens` tokens.

    `batch`: pairs a step, of which each is two texts.
    """

    name: str
    model: Callable[[], Any]
    tokenizer: Any
    sae: Any
    hook: str
    tokens: int
    batch: int


def bench(preset: str, inputs: Inputs, settings: Settings) -> Bench:
    """The study's own model at its lengths; `wide` for the embedded one, of a small vocabulary.

    TDPO's memory grows with the vocabulary: on 542 words there is nothing to see.
    """
    if preset != "paper":
        return wide()
    return Bench(
        inputs.name, lambda: copy.deepcopy(inputs.reference), inputs.tokenizer, inputs.sae,
        inputs.hook, settings.max_length, settings.per_device,
    )  # fmt: skip


def wide(vocabulary: int = 131072, tokens: int = 64, batch: int = 1) -> Bench:
    """A random Llama of 4 layers and width 32, and a random TopK SAE; for the CPU."""
    from sae_lens import TopKSAE, TopKSAEConfig

    def model() -> LlamaForCausalLM:
        torch.manual_seed(0)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary, hidden_size=32, intermediate_size=96, num_hidden_layers=4,
                num_attention_heads=4, num_key_value_heads=4, pad_token_id=0,
                max_position_embeddings=tokens, tie_word_embeddings=True,
            )
        )  # fmt: skip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        sae = TopKSAE(TopKSAEConfig(d_in=32, d_sae=1024, k=16))
    name = f"random Llama, width 32, vocabulary {vocabulary:,}"
    tokenizer = AutoTokenizer.from_pretrained(data_folder() / MODEL, trust_remote_code=False)
    return Bench(name, model, tokenizer, sae, "blocks.2.hook_resid_post", tokens, batch)


class Stepper:
    """One method's trainer, and its step: loss, backward, AdamW; checkpointed, as in the paper."""

    def __init__(self, method: str, on: Bench, folder: Path, *, online: bool = False) -> None:
        _, loss, reference = METHODS[method]
        args = FPOConfig(
            output_dir=str(folder / method), loss=loss,
            reference="online" if online else reference, cache_dir=str(folder / "ref_cache"),
            sae_hook=on.hook, report_to="none", per_device_train_batch_size=on.batch,
            max_length=on.tokens, gradient_checkpointing=True, disable_tqdm=True,
            dataloader_pin_memory=False, bf16=torch.cuda.is_available(),
        )  # fmt: skip
        self.trainer = FPOTrainer(
            on.model(), args=args, train_dataset=random_pairs(on, BATCHES * on.batch),
            processing_class=on.tokenizer, sae=on.sae if loss == "fpo" else None,
        )  # fmt: skip
        self.trainer.model.gradient_checkpointing_enable({"use_reentrant": False})
        self.trainer.model.train()
        self.optimizer = torch.optim.AdamW(self.trainer.model.parameters(), lr=1e-6)
        self.batches = [
            self.trainer._prepare_inputs(b) for b in self.trainer.get_train_dataloader()
        ]
        self.at = 0
        self()

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


def random_pairs(on: Bench, count: int) -> Dataset:
    """Texts of random tokens: prompt a quarter of the length, answers longer than what is left."""
    rng = random.Random(0)
    special = set(on.tokenizer.all_special_ids)
    ids = [i for i in range(len(on.tokenizer)) if i not in special]

    def text(n: int) -> str:
        return on.tokenizer.decode(rng.choices(ids, k=n))

    return Dataset.from_list(
        [
            {"prompt": text(on.tokens // 4), "chosen": " " + text(2 * on.tokens),
             "rejected": " " + text(2 * on.tokens)}
            for _ in range(count)
        ]
    )  # fmt: skip


def costs(on: Bench, folder: Path, methods: Sequence[str] = COMPARED) -> list[Plain]:
    """Per method `peak_bytes`, one per batch, and `seconds` of the same steps without measuring."""
    rows = []
    for method in tqdm(methods, desc="cost of a step", unit="method"):
        stepper = Stepper(method, on, folder)
        peaks = [stepper.peak() for _ in range(BATCHES)]
        seconds = [memory.seconds(stepper) for _ in range(BATCHES)]
        rows.append({"method": method, "peak_bytes": peaks, "seconds": seconds})
        del stepper
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return rows


def step_ratios(on: Bench, folder: Path, rounds: int = 8) -> list[float]:
    """Seconds of an FPO step over those of an LN-DPO step, pair by pair, in alternating order."""
    steppers = [Stepper(m, on, folder) for m in ("fpo", "ln_dpo")]
    out = []
    for turn in range(rounds):
        order = steppers if turn % 2 else steppers[::-1]
        taken = {id(s): memory.seconds(s) for s in order}
        out.append(taken[id(steppers[0])] / taken[id(steppers[1])])
    return out
