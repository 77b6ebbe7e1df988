"""`FPOConfig`: TRL's `DPOConfig` with FPO's knobs and the paper's values as defaults (§2.6)."""

import logging
from dataclasses import dataclass, field
from typing import Any

import torch
from trl import DPOConfig

from workbench.arguments import finite, one_of, whole
from workbench.papers.fpo.losses import FULL_LOGITS, LOSSES, REFERENCE_FREE
from workbench.sae.pooling import Constraint

log = logging.getLogger(__name__)


def _help(text: str, default: Any) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class FPOConfig(DPOConfig):
    """Arguments of `FPOTrainer`; everything not listed here means what it means in TRL.

    Raises `ValueError` before any model is touched: values out of range, `reference="offline"` for
    a loss that needs the reference's logits, pooling that a cache cannot hold, and the options of
    `DPOConfig` that would silently change the loss.
    """

    loss: str = _help(f"One of {', '.join(LOSSES)}.", "fpo")
    fpo_alpha: float = _help("Weight of the constraint: D for fpo, K for tdpo2 and simpo_kl.", 0.5)
    fpo_k: int = _help("Number of features compared: the k largest pooled ones.", 50)
    fpo_topk: str = _help("Whose k largest: 'union', 'policy' or 'ref'.", "union")
    fpo_pool: str = _help("'mean' over response tokens, 'sum', or 'padded' as released.", "mean")
    fpo_decoder_scale: bool = _help("Multiply features by their decoder's norm.", True)
    sae: str | None = _help("'release:id' of SAELens, a folder, or a params.npz.", None)
    sae_hook: str | None = _help("Where the SAE reads; from its metadata if not given.", None)
    reference: str = _help("'offline': one pass, cached; 'online': at every step.", "offline")
    cache_dir: str | None = _help("Folder of the offline reference (output_dir/ref_cache).", None)
    cache_top: int | None = _help("Keep only so many features a response; all if None.", None)
    cache_dtype: str = _help("'float32', or 'float16' for half the disk.", "float32")
    simpo_gamma: float = _help("Margin of the SimPO losses; not multiplied by beta.", 0.5)
    drop_identical: bool = _help("Drop pairs whose answers are the same.", False)

    beta: float = _help("Temperature of the score margin; the paper: 0.1, SimPO: 2.", 0.1)
    learning_rate: float = _help("The paper: 5e-7.", 5e-7)
    lr_scheduler_type: str = _help("Constant after a warm-up, as released.", "constant_with_warmup")
    warmup_steps: float = _help("Linear warm-up.", 150)

    def __post_init__(self) -> None:
        self._check()
        self.loss_type = ["sigmoid_norm"]
        self.precompute_ref_log_probs = self.reference == "offline" or self.loss in REFERENCE_FREE
        if self.bf16 is not False and not self.fp16 and not torch.cuda.is_available():
            log.warning("no GPU: training in float32, not bfloat16")
            self.bf16 = False
        super().__post_init__()

    @property
    def constraint(self) -> Constraint:
        """What of these arguments defines D and its weight."""
        return Constraint(
            self.fpo_k, self.fpo_topk, self.fpo_alpha, self.beta, self.fpo_decoder_scale
        )

    def _check(self) -> None:
        choices = {
            "loss": LOSSES,
            "fpo_topk": ("union", "policy", "ref"),
            "fpo_pool": ("mean", "sum", "padded"),
            "reference": ("offline", "online"),
            "cache_dtype": ("float32", "float16"),
        }
        for name, allowed in choices.items():
            one_of(name, getattr(self, name), allowed)
        finite("fpo_alpha", self.fpo_alpha, 0)
        finite("beta", self.beta, above=0)
        finite("simpo_gamma", self.simpo_gamma)
        whole("fpo_k", self.fpo_k, 1)
        if self.cache_top is not None and self.cache_top < self.fpo_k:
            raise ValueError(
                f"cache_top={self.cache_top} is below fpo_k={self.fpo_k}: the reference's own top "
                "features would be missing; raise it or leave it out to keep all"
            )
        if self.reference == "offline" and self.loss in FULL_LOGITS:
            raise ValueError(
                f"loss={self.loss!r} compares whole distributions at every step, which a cache of "
                "scalars cannot hold. Set reference='online'."
            )
        if self.loss == "fpo" and self.fpo_pool == "padded" and self.reference == "offline":
            raise ValueError(
                "fpo_pool='padded' divides by the padded length, which depends on a response's "
                "batch-mates: a cache made in other batches would show drift where there is none. "
                "Set reference='online' or fpo_pool='mean'."
            )
        refused = {
            "ld_alpha": (None, "it weights tokens, which the length-normalised score does not"),
            "f_divergence_type": ("reverse_kl", "the losses here are defined for it alone"),
            "sync_ref_model": (False, "the reference is fixed"),
            "use_weighting": (False, "it would change every loss here"),
            "loss_weights": (None, "there is one loss; choose it with loss="),
            "label_smoothing": (0.0, "none of the losses here has it"),
        }
        for name, (needed, why) in refused.items():
            if getattr(self, name) != needed:
                raise ValueError(f"{name}={getattr(self, name)!r} is not supported: {why}")
        if list(self.loss_type) not in (["sigmoid"], ["sigmoid_norm"]):
            raise ValueError(f"loss_type={self.loss_type!r}: choose the loss with loss=")
        if self.use_liger_kernel:
            raise ValueError("use_liger_kernel is not supported: TRL's fused head is used instead")
