"""The offline reference in a trainer: made or opened, attached to the pairs, put into batches."""

import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tqdm.auto import tqdm
from trl.trainer.dpo_trainer import DataCollatorForPreference

from workbench.errors import CacheCorrupt, CacheMismatch
from workbench.hashing import digest, tensors_digest
from workbench.models.forward_state import config_state, forward_digest, libraries
from workbench.models.tokenizer_state import tokenizer_digest
from workbench.papers.fpo import reference_cache
from workbench.papers.fpo.config import FPOConfig
from workbench.sae.loading import sae_digest
from workbench.sae.pooling import response_mask
from workbench.training.pairs import IDS, rows_digest

log = logging.getLogger(__name__)


@dataclass
class PairCollator(DataCollatorForPreference):
    """TRL's collator, which would drop our columns; adds `fpo_row` and the reference's features.

    `ref_features`: float32 `[2b, m]`, chosen then rejected, from the cache that a row names.
    """

    caches: list[reference_cache.ReferenceCache] = field(default_factory=list)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        out = super().torch_call(examples)
        if "fpo_row" in examples[0]:
            out["fpo_row"] = torch.tensor([e["fpo_row"] for e in examples])
        if "fpo_cache" in examples[0] and self.caches[examples[0]["fpo_cache"]].meta["sae"]:
            width = self.caches[examples[0]["fpo_cache"]].meta["features"]
            features = torch.zeros(2 * len(examples), width)
            for place, example in enumerate(examples):
                cache = self.caches[example["fpo_cache"]]
                for side in (0, 1):
                    index, value = cache.row(example["fpo_row"], side)
                    row = place + side * len(examples)
                    features[row, torch.from_numpy(index)] = torch.from_numpy(value)
            out["ref_features"] = features
        return out


class OfflineReference:
    """Makes or opens one cache a dataset, under `cache_dir` (or `output_dir/ref_cache`)."""

    def __init__(self, args: FPOConfig, sae: Any) -> None:
        self.args = args
        self.root = Path(args.cache_dir or Path(args.output_dir) / "ref_cache")
        self.started = False
        self._sae = sae_digest(sae) if sae is not None else None
        self._features = sae.cfg.d_sae if sae is not None else 0

    def attach(self, trainer: Any, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """The pairs with `ref_chosen_logps`, `ref_rejected_logps` and `fpo_cache`.

        A cache that is there is opened (never overwritten: `CacheMismatch` where it is of something
        else); one that is not, or is damaged, is made, by all processes together.
        """
        expected = self._meta(trainer, dataset)
        if self.started:  # a set given to evaluate() later must not meet the first one's folder
            name = f"{name}-{expected['dataset'][:8]}"
        folder = self._folder(name, expected)
        if not folder.exists():
            self._make(trainer, dataset, folder, expected, batch_size)
        try:
            cache = reference_cache.read(folder, expected)
        except CacheCorrupt as error:
            log.warning("%s: it is made again", error)
            trainer.accelerator.wait_for_everyone()  # every process has read it
            if trainer.accelerator.is_main_process:
                shutil.rmtree(folder)
            trainer.accelerator.wait_for_everyone()
            self._make(trainer, dataset, folder, expected, batch_size)
            cache = reference_cache.read(folder, expected)
        if trainer.accelerator.is_main_process:
            reference_cache.remove_parts(folder)
        log.info("%s: reference of %d pairs in %s", name, len(cache), folder)
        trainer.data_collator.caches.append(cache)
        number = len(trainer.data_collator.caches) - 1
        dataset = dataset.add_column("ref_chosen_logps", cache.logp[:, 0].tolist())
        dataset = dataset.add_column("ref_rejected_logps", cache.logp[:, 1].tolist())
        return dataset.add_column("fpo_cache", [number] * len(dataset))

    def _folder(self, name: str, expected: dict[str, Any]) -> Path:
        """A run without features uses a cache that has them if it fits, else one of its own."""
        folder = self.root / name
        if self._sae is None:
            try:
                reference_cache.read(folder, expected)
            except (CacheCorrupt, CacheMismatch):
                return self.root / f"{name}-logps"
        return folder

    def _meta(self, trainer: Any, dataset: Dataset) -> dict[str, Any]:
        """Fields that identify a cache; the features' own only where features are read."""
        args, tokenizer = self.args, trainer.processing_class
        meta = {
            "model": reference_digest(trainer),
            "tokenizer": tokenizer_digest(tokenizer),
            "chat_template": digest(repr(tokenizer.chat_template)),
            "max_length": args.max_length,
            "truncation_mode": args.truncation_mode,
            "dataset": rows_digest(dataset.select_columns(list(IDS))),
            "pairs": len(dataset),
            "libraries": libraries(),
        }
        if self._sae is not None:
            meta |= {
                "sae": self._sae,
                "hook": trainer.hook_name,
                "features": self._features,
                "pool": args.fpo_pool,
                "decoder_scale": args.fpo_decoder_scale,
                "cache_top": args.cache_top,
                "dtype": args.cache_dtype,
            }
        return meta

    def _make(
        self, trainer: Any, dataset: Dataset, folder: Path, meta: dict[str, Any], batch_size: int
    ) -> None:
        if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
            raise ValueError(
                f"no reference cache in {folder}, and sharded models cannot make one: run once "
                "without DeepSpeed or FSDP and max_steps=1, then again with the same cache_dir"
            )
        accelerator = trainer.accelerator
        meta = {"sae": None, "features": 0, "dtype": "float32", **meta}
        rows = dataset.select_columns(list(IDS))
        lengths = [
            len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) for r in rows
        ]
        bar = tqdm(total=len(rows), desc=f"reference of {folder.name}", unit="pair",
                   disable=not accelerator.is_local_main_process)  # fmt: skip

        def compute(pairs: range) -> reference_cache.Part:
            bar.update(pairs.start - bar.n)
            # Of like length together, so that little padding is computed.
            order = sorted(pairs, key=lengths.__getitem__, reverse=True)
            out = [self._batch(trainer, [rows[i] for i in order[b : b + batch_size]])
                   for b in range(0, len(order), batch_size)]  # fmt: skip
            back = torch.from_numpy(np.argsort(order))
            # Off the device once for all batches, so that none of them waits for it.
            logp, length, *pooled = (
                torch.cat(p).cpu()[back].numpy() for p in zip(*out, strict=True)
            )
            return reference_cache.Part(logp, length, pooled[0] if pooled else None)

        # Rank 0 alone decides which parts there are; the others see its folder after the barrier.
        with accelerator.main_process_first():
            folder.parent.mkdir(parents=True, exist_ok=True)
        with bar:
            reference_cache.build(
                folder, meta, len(rows), compute,
                rank=accelerator.process_index, world=accelerator.num_processes,
            )  # fmt: skip
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            reference_cache.finish(folder, meta, len(rows))
        accelerator.wait_for_everyone()

    def _batch(self, trainer: Any, rows: list[dict[str, Any]]) -> list[torch.Tensor]:
        """logp `[n, 2]`, length `[n, 2]` and, with an SAE, pooled `[n, 2, m]` of some pairs."""
        batch = trainer.data_collator(rows)
        batch = {k: v.to(trainer.accelerator.device) for k, v in batch.items()}
        mask = response_mask(batch["completion_mask"])
        with trainer.as_reference() as reference, trainer.accelerator.autocast():
            outputs, hidden = trainer.run(reference, batch, whole=False)
        logp = outputs.log_probs[:, -mask.shape[1] :].sum(1)
        sides = [logp.float(), batch["completion_mask"].sum(1)]
        if hidden is not None:
            sides.append(trainer.pooled(hidden, mask))
        # [chosen; rejected] to [pair, side]
        return [torch.stack(s.chunk(2), 1) for s in sides]


def reference_digest(trainer: Any) -> str:
    """Digest of the reference, without the adapter in training: it is off for it."""
    model = trainer.accelerator.unwrap_model(trainer.ref_model or trainer.model)
    if getattr(model, "peft_config", None):
        state = {k: v for k, v in model.state_dict().items() if ".default." not in k}
        return digest([tensors_digest(state), config_state(model.config)])
    modes = {module: module.training for module in model.modules()}
    try:
        return forward_digest(model.eval())
    finally:
        for module, training in modes.items():
            module.training = training
