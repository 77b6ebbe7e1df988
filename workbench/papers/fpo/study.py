"""The study: every method from one checkpoint on the same pairs in the same order, seed by seed."""

import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import PrinterCallback, set_seed

from workbench.features import tensors_hash
from workbench.papers.fpo import METHODS, Settings
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.evaluate import Evaluation, evaluate, from_plain
from workbench.papers.fpo.scales import Scale, tokenised
from workbench.papers.fpo.trainer import FPOTrainer

log = logging.getLogger(__name__)

Plain = dict[str, Any]
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


LABELS = {
    "ln_dpo": "LN-DPO",
    "dpo": "DPO",
    "simpo": "SimPO",
    "tdpo1": "TDPO-1",
    "tdpo2": "TDPO-2",
    "simpo_kl": "SimPO+KL",
}


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
    )


def run(scale: Scale, settings: Settings, seeds: Sequence[int], out: Path, keep: Keep) -> list[Run]:
    """All conditions and seeds; what `keep` has is not trained again."""
    todo = [(c, s) for s in seeds for c in conditions(settings)]
    base = {
        "weights": tensors_hash(scale.reference.state_dict()),
        "sae": tensors_hash(scale.sae.state_dict()),
        "hook": scale.hook,
        "settings": asdict(settings),
        "data": [scale.train._fingerprint, scale.test._fingerprint],
    }
    runs = []
    for (name, method, alpha), seed in tqdm(todo, desc="preference training", unit="run"):
        folder = out / "policies" / f"{method}-{alpha:g}-{seed}"
        key = {**base, "method": method, "alpha": alpha, "seed": seed}
        plain = keep(
            f"{method}-{alpha:g}-{seed}",
            key,
            partial(_train, scale, settings, method, alpha, seed, folder),
        )
        curves = {n: [tuple(p) for p in points] for n, points in plain["curves"].items()}
        held_out = from_plain(plain["held_out"])
        runs.append(Run(name, method, alpha, seed, held_out, curves, folder, plain["seconds"]))
    return runs


def _train(
    scale: Scale, settings: Settings, method: str, alpha: float, seed: int, folder: Path
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
    resume = any(folder.glob("checkpoint-*"))
    trainer.train(resume_from_checkpoint=resume or None)
    seconds = time.perf_counter() - started
    rows = trainer._prepare_dataset(scale.test, scale.tokenizer, args, "test")
    found = evaluate(
        trainer.accelerator.unwrap_model(trainer.model).eval(),
        scale.reference.eval(),
        tokenised(rows),
        scale.sae,
        scale.hook,
        k=settings.k,
        topk=settings.topk,
        pad_token_id=scale.tokenizer.pad_token_id,
        max_length=settings.max_length,
    )
    trainer.save_model(str(folder))
    history = trainer.state.log_history
    curves = {n: [(h["step"], h[n]) for h in history if n in h] for n in CURVES}
    return {
        "held_out": found.plain(),
        "curves": {n: c for n, c in curves.items() if c},
        "seconds": seconds,
    }
