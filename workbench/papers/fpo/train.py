"""One method trained with one seed from the common checkpoint, and evaluated against it."""

import copy
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from transformers import PreTrainedModel, PrinterCallback, set_seed

from workbench.errors import CacheMismatch, ModelError
from workbench.models.sources import read_weights
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.evaluate import Evaluation, evaluate
from workbench.papers.fpo.paper import METHODS, Settings
from workbench.papers.fpo.presets import Inputs
from workbench.papers.fpo.trainer import FPOTrainer
from workbench.sae.pooling import Constraint
from workbench.training.memory import release
from workbench.training.resume import last_checkpoint, seal
from workbench.training.sealing import Sealing
from workbench.writing import disk_errors

log = logging.getLogger(__name__)

Plain = dict[str, Any]
Rows = Sequence[dict[str, list[int]]]
CURVES = ("loss", "fpo/u", "fpo/margin", "fpo/constraint", "fpo/d_rejected", "fpo/d_chosen",
          "kl/rejected", "rewards/accuracies")  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One of the methods compared, as tables name it; `alpha`: the weight of its constraint."""

    name: str
    method: str
    alpha: float


@dataclass(frozen=True)
class Trained:
    """One condition with one seed. `curves`: name → [(step, value)], of training batches.

    `policy`: folder of the trained checkpoint or adapter. `seconds`: of training, the reference
    pass included.
    """

    condition: Condition
    seed: int
    evaluation: Evaluation
    curves: dict[str, list[tuple[int, float]]]
    policy: Path
    seconds: float


def conditions(settings: Settings) -> list[Condition]:
    """All that are trained; FPO at alpha 0 is LN-DPO and stands for it."""
    out = []
    for method in settings.methods:
        if method == "fpo":
            out += [Condition(f"FPO α={a:g}" if a else "LN-DPO", "fpo", a) for a in settings.alphas]
        elif method != "ln_dpo":
            alpha = settings.tdpo_alpha if method in ("tdpo2", "simpo_kl") else 0.0
            out.append(Condition(METHODS[method][0], method, alpha))
    return out


def config(
    settings: Settings, condition: Condition, seed: int, folder: Path, hook: str
) -> FPOConfig:
    """The trainer's arguments for one training; `hook`: where the SAE reads."""
    _, loss, reference = METHODS[condition.method]
    beta = settings.beta_simpo if loss.startswith("simpo") else settings.beta
    if loss in ("sigmoid", "tdpo1", "tdpo2"):
        beta = settings.beta_dpo
    return FPOConfig(
        output_dir=str(folder),
        loss=loss,
        reference=settings.reference if loss == "fpo" else reference,
        cache_dir=str(folder.parent / "ref_cache"),
        sae_hook=hook,
        fpo_alpha=condition.alpha,
        fpo_k=settings.k,
        fpo_topk=settings.topk,
        fpo_pool=settings.pool,
        beta=beta,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        max_steps=settings.steps or -1,
        num_train_epochs=1,
        per_device_train_batch_size=settings.per_device,
        gradient_accumulation_steps=settings.batch // settings.per_device,
        gradient_checkpointing=settings.checkpointing,
        max_length=settings.max_length,
        seed=seed,
        logging_steps=min(max(settings.steps // 6, 1), 5) if settings.steps else 10,
        save_strategy="steps" if settings.steps == 0 else "no",
        save_steps=100,
        save_total_limit=1,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        bf16=torch.cuda.is_available(),
    )


def adapter(settings: Settings) -> LoraConfig | None:
    """LoRA on every linear layer but the head, scaled by 2; nothing where all weights are trained.

    Without dropout, as the model is trained.
    """
    if not settings.lora:
        return None
    return LoraConfig(
        r=settings.lora, lora_alpha=2 * settings.lora, target_modules="all-linear",
        task_type="CAUSAL_LM",
    )  # fmt: skip


def train(
    inputs: Inputs,
    settings: Settings,
    rows: Rows,
    condition: Condition,
    seed: int,
    folder: Path,
    identity: str,
) -> Plain:
    """Train, save into `folder` and evaluate on `rows`; goes on from a checkpoint that is there.

    `identity`: digest of all that the training depends on; what is there of another is removed.
    Where an adapter is trained, it alone is saved.
    Gives what `Trained` holds as plain values: `held_out`, `curves`, `seconds`.
    """
    set_seed(seed)
    started = time.perf_counter()
    args = config(settings, condition, seed, folder, inputs.hook)
    last = last_checkpoint(folder, identity)
    if not last:
        shutil.rmtree(folder, ignore_errors=True)
    make = partial(
        FPOTrainer,
        args=args,
        train_dataset=inputs.train,
        processing_class=inputs.tokenizer,
        sae=inputs.sae if condition.method == "fpo" else None,
        peft_config=adapter(settings),
    )
    try:
        trainer = make(copy.deepcopy(inputs.reference))
    except CacheMismatch as error:  # of what the study was before an edit
        log.warning("%s; it is made again", error)
        shutil.rmtree(args.cache_dir)
        trainer = make(copy.deepcopy(inputs.reference))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Sealing(identity))
    with disk_errors(folder):
        trainer.train(resume_from_checkpoint=last)
        seconds = time.perf_counter() - started
        if settings.lora:
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(folder)
        else:
            trainer.save_model(str(folder))
        seal(folder, identity)
    history = trainer.state.log_history
    # Its model would be in memory beside the one that is evaluated.
    del trainer
    release()
    # What was saved, in the precision it is used in: the trainer's own runs under autocast.
    evaluation = evaluate(
        load_policy(folder, inputs.reference),
        inputs.reference.eval(),
        rows,
        inputs.sae,
        inputs.hook,
        Constraint(k=settings.k, topk=settings.topk),
        batch=settings.per_device,
        pad_token_id=inputs.tokenizer.pad_token_id,
    )
    curves = {n: [(h["step"], h[n]) for h in history if n in h] for n in CURVES}
    return {
        "held_out": {name: values.tolist() for name, values in vars(evaluation).items()},
        "curves": {n: c for n, c in curves.items() if c},
        "seconds": seconds,
    }


def load_policy(folder: Path, reference: PreTrainedModel) -> PreTrainedModel:
    """A trained checkpoint as the reference runs; an adapter is merged into a copy of that.

    Raises `ModelError` where neither is there.
    """
    if (folder / "adapter_config.json").exists():
        adapted = PeftModel.from_pretrained(copy.deepcopy(reference), str(folder))
        return adapted.merge_and_unload().eval()
    if not (folder / "config.json").exists():
        raise ModelError(
            f"{folder} holds no checkpoint, though its results are cached: delete the cache beside "
            "it to train again"
        )
    model = read_weights(
        str(folder),
        reference.config,
        dtype=reference.dtype,
        attn_implementation=reference.config._attn_implementation,
    )
    return model.to(reference.device)
