"""The study: every method from one checkpoint on the same pairs in the same order, seed by seed."""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, PreTrainedModel, PrinterCallback, set_seed

from workbench.errors import ModelError
from workbench.hashing import tensors_digest
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.evaluate import Evaluation, evaluate, from_plain
from workbench.papers.fpo.paper import LABELS, METHODS, Settings
from workbench.papers.fpo.presets import Scale
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.training.resume import last_checkpoint

log = logging.getLogger(__name__)

Plain = dict[str, Any]
Rows = Sequence[dict[str, list[int]]]
SIDES = ("chosen_ids", "rejected_ids")
Keep = Callable[[str, Plain, Callable[[], Any]], Any]
"""(name, what it depends on, compute) → the result, from a cache or computed."""
CURVES = ("loss", "fpo/u", "fpo/margin", "fpo/constraint", "fpo/d_rejected", "fpo/d_chosen",
          "kl/rejected", "rewards/accuracies")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One method with one seed. `curves`: name → [(step, value)], of training batches.

    `policy`: folder of the trained checkpoint. `seconds`: of training, reference pass included.
    """

    name: str
    method: str
    alpha: float
    seed: int
    held_out: Evaluation
    curves: dict[str, list[tuple[int, float]]]
    policy: Path
    seconds: float


def conditions(settings: Settings) -> list[tuple[str, str, float]]:
    """(name, method, alpha) of all runs; FPO at alpha 0 is LN-DPO and stands for it."""
    out = []
    for method in settings.methods:
        if method == "fpo":
            out += [(f"FPO α={a:g}" if a else "LN-DPO", "fpo", a) for a in settings.alphas]
        elif method != "ln_dpo" or "fpo" not in settings.methods:
            alpha = settings.tdpo_alpha if method in ("tdpo2", "simpo_kl") else 0.0
            out.append((LABELS[method], method, alpha))
    return out


def config(
    settings: Settings, method: str, alpha: float, seed: int, folder: Path, scale: Scale
) -> FPOConfig:
    """The trainer's arguments for one run."""
    loss, reference = METHODS[method]
    simpo = loss.startswith("simpo")
    beta = settings.beta_simpo if simpo else settings.beta
    if loss in ("sigmoid", "tdpo1", "tdpo2"):
        beta = settings.beta_dpo
    return FPOConfig(
        output_dir=str(folder),
        loss=loss,
        reference=settings.reference if loss == "fpo" else reference,
        cache_dir=str(folder.parent / "ref_cache"),
        sae_hook=scale.hook,
        fpo_alpha=alpha,
        fpo_k=settings.k,
        fpo_topk=settings.topk,
        fpo_pool=settings.pool,
        beta=beta,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup_steps,
        max_steps=settings.steps or -1,
        num_train_epochs=1,
        per_device_train_batch_size=settings.per_device,
        gradient_accumulation_steps=settings.batch // settings.per_device,
        gradient_checkpointing=settings.checkpointing,
        max_length=settings.max_length,
        seed=seed,
        logging_steps=5 if settings.steps else 10,
        save_strategy="steps" if settings.steps == 0 else "no",
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        bf16=torch.cuda.is_available(),
    )


def held_out(scale: Scale, settings: Settings, folder: Path) -> Rows:
    """The held-out pairs as the trainer tokenises and truncates them."""
    args = FPOConfig(
        output_dir=str(folder), loss="simpo", max_length=settings.max_length, report_to="none",
        bf16=torch.cuda.is_available(),
    )  # fmt: skip
    # A copy: trainers patch the model that they are given.
    trainer = FPOTrainer(
        copy.deepcopy(scale.reference),
        args=args,
        train_dataset=scale.test,
        processing_class=scale.tokenizer,
    )
    rows = []
    for row in trainer.train_dataset.select_columns(["prompt_ids", *SIDES]):
        left = settings.max_length - len(row["prompt_ids"])
        rows.append({"prompt_ids": row["prompt_ids"], **{s: row[s][:left] for s in SIDES}})
    return rows


def run(scale: Scale, settings: Settings, seeds: Sequence[int], out: Path, keep: Keep) -> list[Run]:
    """All conditions and seeds; what `keep` has is not trained again."""
    todo = [(c, s) for s in seeds for c in conditions(settings)]
    base = {
        "weights": tensors_digest(scale.reference.state_dict()),
        "sae": tensors_digest(scale.sae.state_dict()),
        "hook": scale.hook,
        "settings": asdict(settings),
        "data": [scale.train._fingerprint, scale.test._fingerprint],
    }
    rows = held_out(scale, settings, out)
    runs = []
    for (name, method, alpha), seed in tqdm(todo, desc="preference training", unit="run"):
        folder = out / "policies" / f"{method}-{alpha:g}-{seed}"
        key = {**base, "method": method, "alpha": alpha, "seed": seed}
        plain = keep(
            f"{method}-{alpha:g}-{seed}",
            key,
            partial(_train, scale, settings, rows, method, alpha, seed, folder),
        )
        curves = {n: [tuple(p) for p in points] for n, points in plain["curves"].items()}
        found = from_plain(plain["held_out"])
        runs.append(Run(name, method, alpha, seed, found, curves, folder, plain["seconds"]))
    return runs


def load_policy(folder: Path, reference: PreTrainedModel) -> PreTrainedModel:
    """A trained checkpoint as the reference runs. Raises `ModelError` where it is not there."""
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{folder} holds no checkpoint, though its results are cached: delete the cache beside "
            "it to train again"
        )
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=reference.dtype, attn_implementation=reference.config._attn_implementation
    )
    return model.to(reference.device).eval()


def _train(
    scale: Scale,
    settings: Settings,
    rows: Rows,
    method: str,
    alpha: float,
    seed: int,
    folder: Path,
) -> Plain:
    """Train one policy, evaluate it against the checkpoint it began from, save it."""
    set_seed(seed)
    policy = copy.deepcopy(scale.reference)
    args = config(settings, method, alpha, seed, folder, scale)
    started = time.perf_counter()
    trainer = FPOTrainer(
        policy,
        args=args,
        train_dataset=scale.train,
        processing_class=scale.tokenizer,
        sae=scale.sae if method == "fpo" else None,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=last_checkpoint(folder))
    seconds = time.perf_counter() - started
    trainer.save_model(str(folder))
    # What was saved, in the precision it is used in: the trainer's own runs under autocast.
    found = evaluate(
        load_policy(folder, scale.reference),
        scale.reference.eval(),
        rows,
        scale.sae,
        scale.hook,
        k=settings.k,
        topk=settings.topk,
        batch=settings.per_device,
        pad_token_id=scale.tokenizer.pad_token_id,
    )
    history = trainer.state.log_history
    curves = {n: [(h["step"], h[n]) for h in history if n in h] for n in CURVES}
    return {
        "held_out": found.plain(),
        "curves": {n: c for n, c in curves.items() if c},
        "seconds": seconds,
    }
