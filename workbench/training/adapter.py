"""DPO with TRL, into a LoRA adapter on the attention that a model has for the length of a block.

The adapter goes into the model itself, whose weights stay as they are and are not copied, so that a
large model is in memory once; `dpo_adapter` takes it out again however its block ends.
"""

import contextlib
import importlib
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workbench.arguments import finite, seed_number, whole
from workbench.errors import DatasetError, ModelError
from workbench.models.model import Model
from workbench.models.prompts import Encoded, encode_all
from workbench.models.token_ids import require_pad
from workbench.training.quiet import quiet

_REPLIES = ("chosen", "rejected")
Pair = dict[str, list[dict[str, str]]]
"""A row as TRL takes it: `prompt`, `chosen` and `rejected`, each a list of messages."""


@dataclass(frozen=True)
class AdapterTraining:
    """Record of one training.

    `losses` and `margins` (beta times how much more than before the chosen reply is preferred, in
    nats): one for each step, of its batch, before its update.
    """

    steps: int
    seconds: float
    losses: tuple[float, ...]
    margins: tuple[float, ...]


@contextlib.contextmanager
def dpo_adapter(
    model: Model,
    pairs: Sequence[Pair],
    *,
    steps: int = 250,
    seed: int = 0,
    lr: float = 5e-4,
    batch: int = 16,
    accumulate: int = 1,
    beta: float = 0.1,
    rank: int = 16,
    lora_alpha: int = 100,
    dropout: float = 0.05,
    warmup: float = 0.4,
    weight_decay: float = 0.05,
) -> Iterator[AdapterTraining]:
    """Train an adapter on the attention's projections; inside the block `model` answers with it.

    The reference is the model without the adapter. `batch`: pairs per step, in `accumulate`
    forwards (fewer are faster where memory allows). `lr`: the highest learning rate.
    `warmup`: share of the steps in which the rate rises, from 0; then it falls to 0 again. Only the
    adapter is trained with dropout; the model's own stays off.

    Raises, before any training, `DatasetError` for no pairs, or one that cannot be encoded;
    `ModelError` for a model that is steered or has an adapter, or whose chat template puts a reply
    elsewhere than the workbench scores it, or without a linear layer in its attention or a pad
    token that it embeds; `ValueError` for a batch that `accumulate` cannot split, or a number that
    is none or out of range.
    """
    if not pairs:
        raise DatasetError("there are no preference pairs to train on")
    for name, value in {
        "steps": steps, "batch": batch, "accumulate": accumulate, "rank": rank,
        "lora_alpha": lora_alpha,
    }.items():  # fmt: skip
        whole(name, value, 1)
    if batch % accumulate:
        raise ValueError(f"{batch=}, {accumulate=}: not in equal parts")
    seed_number(seed, 2**32 - 1)
    finite("lr", lr, above=0)
    finite("beta", beta, above=0)
    finite("dropout", dropout, 0, below=1)
    finite("warmup", warmup, 0, 1)
    finite("weight_decay", weight_decay, 0)
    hf = model.hf
    if model.hooked or model.folds or any(hasattr(m, "get_base_layer") for m in hf.modules()):
        raise ModelError(f"{model.name} is steered or has an adapter; train the model without it")
    require_pad(model.tokenizer, model.n_tokens)
    importlib.import_module("trl.trainer.dpo_trainer")  # its seconds are not the first training's
    start = time.perf_counter()
    encoded = [encode_all(model, [p["prompt"] + p[k] for p in pairs]) for k in _REPLIES]
    names = projections(model)
    originals = [(name.rpartition("."), hf.get_submodule(name)) for name in names]
    adapter = {
        "r": rank, "lora_alpha": lora_alpha, "lora_dropout": dropout, "target_modules": names,
        "fan_in_fan_out": isinstance(originals[0][1], Conv1D),
    }  # fmt: skip
    arguments = {
        "max_steps": steps, "seed": seed, "learning_rate": lr, "beta": beta,
        "per_device_train_batch_size": batch // accumulate, "weight_decay": weight_decay,
        "gradient_accumulation_steps": accumulate, "warmup_steps": round(warmup * steps),
    }  # fmt: skip
    try:
        with _unchanged(hf), quiet():
            history = _train(model, pairs, encoded, adapter, arguments)
        yield AdapterTraining(
            len(history),
            time.perf_counter() - start,
            tuple(row["loss"] for row in history),
            tuple(row["rewards/margins"] for row in history),
        )
    finally:
        for (parent, _, leaf), module in originals:
            setattr(hf.get_submodule(parent), leaf, module)


def projections(model: Model) -> list[str]:
    """Full names of the linear layers of every attention: q, k, v, o, or what the family has."""
    names = []
    for index in range(model.n_layers):
        prefix = f"{model.anatomy.layers}.{index}.{model.anatomy.attn}"
        for name, module in model.hf.get_submodule(prefix).named_modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                names.append(f"{prefix}.{name}")
    if not names:
        raise ModelError(f"{model.name}: no linear layer in its attention to put an adapter on")
    return names


def _train(
    model: Model,
    pairs: Sequence[Pair],
    encoded: Sequence[Sequence[Encoded]],
    adapter: dict[str, Any],
    arguments: dict[str, Any],
) -> list[dict[str, float]]:
    """TRL's log of every step; leaves the adapter in the model's layers."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    hf, own = model.hf, set(model.hf.modules())
    with tempfile.TemporaryDirectory() as folder:
        trainer = DPOTrainer(
            hf,
            args=DPOConfig(
                output_dir=folder, save_strategy="no", report_to="none", logging_steps=1,
                disable_tqdm=True, max_length=None, gradient_checkpointing=False,
                # TRL would switch the adapter's dropout off too, and train a router's balance.
                disable_dropout=False, router_aux_loss_coef=0.0,
                bf16=hf.dtype == torch.bfloat16, fp16=hf.dtype == torch.float16,
                use_cpu=model.input_device.type == "cpu",
                dataloader_pin_memory=model.input_device.type == "cuda", **arguments
            ),
            train_dataset=Dataset.from_list(list(pairs)),
            processing_class=model.tokenizer,
            peft_config=LoraConfig(task_type="CAUSAL_LM", **adapter),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        _check_tokens(model.name, trainer.train_dataset, encoded)
        added = [m for m in hf.modules() if m not in own]

        def only_adapters(mode: bool = True) -> PreTrainedModel:
            for module in added:
                module.training = mode
            return hf

        hf.train = only_adapters
        trainer.train()
    only_adapters(False)
    return [row for row in trainer.state.log_history if "loss" in row]


def _check_tokens(name: str, rows: Any, encoded: Sequence[Sequence[Encoded]]) -> None:
    """Raise `ModelError` unless training sees prompt and reply where scoring will."""
    for row, *replies in zip(rows, *encoded, strict=True):
        for reply, ours in zip(_REPLIES, replies, strict=True):
            prompt, answer = ours.ids[: ours.start], ours.ids[ours.start :]
            if row["prompt_ids"] != prompt or row[f"{reply}_ids"][: len(answer)] != answer:
                raise ModelError(
                    f"{name}: the chat template puts a reply elsewhere in training than in scoring "
                    f"(prompt of {len(row['prompt_ids'])} and {ours.start} tokens); DPO would "
                    "learn another prompt than the one that is scored"
                )


@contextlib.contextmanager
def _unchanged(hf: PreTrainedModel) -> Iterator[None]:
    """Leave attributes (the adapter excepted), gradients' flags and random numbers as they are.

    TRL replaces the model's forward and tags it; transformers aligns the configs with the
    tokenizer; PEFT freezes the weights.
    """
    configs = (hf.config, hf.config.get_text_config(), hf.generation_config)
    attributes = [(part, dict(vars(part))) for part in (*hf.modules(), *configs)]
    gradients = [(p, p.requires_grad) for p in hf.parameters()]
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        for parameter, before in gradients:
            parameter.requires_grad_(before)
        for part, before in attributes:
            vars(part).clear()
            vars(part).update(before)
