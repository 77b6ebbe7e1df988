"""`FPOTrainer`: TRL's `DPOTrainer` with the seven losses and a reference that may be offline."""

import contextlib
import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import create_model_from_path, get_config_model_id, use_adapter

from workbench.models.hooks import find_hook, reading
from workbench.models.logprobs import sequence_kl
from workbench.models.sources import read_config, read_tokenizer
from workbench.models.token_ids import require_pad
from workbench.papers.fpo import losses, training_log
from workbench.papers.fpo.config import FPOConfig
from workbench.papers.fpo.distance import FeatureDistance, feature_distance
from workbench.papers.fpo.reference import OfflineReference, PairCollator
from workbench.sae.loading import check_sae, load_sae, sae_hook
from workbench.sae.pooling import pool, response_mask
from workbench.training import pair_sets, pairs

log = logging.getLogger(__name__)


class FPOTrainer(DPOTrainer):
    """Preference training with any of `losses.LOSSES`; arguments as in `trl.DPOTrainer`.

    `sae`: a SAELens object, instead of the name in `args.sae`.

    Logged beside TRL's names: `fpo/d_chosen`, `fpo/d_rejected` (D, mean over pairs),
    `fpo/constraint` and `fpo/margin` (the two parts of u), `fpo/constraint_to_margin`, and
    `kl/chosen`, `kl/rejected` (nats a sequence) where the loss has them. `rewards/*` are β times
    the loss's own score s(y). `feature_timeline.jsonl` holds the features of each logged step.

    Raises `PairError` for unusable pairs, `FeatureError` for an SAE that does not fit,
    `CacheMismatch` and `CacheCorrupt` for the offline reference, `RuntimeError` where the captured
    activation has no gradient, `FloatingPointError` naming pair and term of a loss that is not
    finite; `ModelError` for a tokenizer without an end token or a pad token that the model embeds.
    """

    _tag_names = ("trl", "dpo", "fpo")

    def __init__(
        self,
        model: str | PreTrainedModel,
        ref_model: PreTrainedModel | None = None,
        args: FPOConfig | None = None,
        train_dataset: Dataset | IterableDataset | None = None,
        eval_dataset: Dataset | dict[str, Dataset] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        sae: Any = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(args, FPOConfig):
            raise ValueError("args must be an FPOConfig; a DPOConfig has neither loss nor sae")
        if train_dataset is None:
            raise ValueError("train_dataset is required")
        if isinstance(train_dataset, IterableDataset) and args.precompute_ref_log_probs:
            raise ValueError(
                "an IterableDataset has no rows to cache a reference for: set reference='online' "
                f"(a loss other than {losses.REFERENCE_FREE[0]}), or use a map-style Dataset"
            )
        drop = args.drop_identical
        train_dataset = pair_sets.checked(train_dataset, "train", drop_identical=drop)
        if eval_dataset is not None:
            eval_dataset = pair_sets.checked(eval_dataset, "eval", drop_identical=drop)
        self.sae = None
        if args.loss == "fpo":  # also with alpha 0, where D is logged
            if sae is None and args.sae is None:
                raise ValueError(
                    "loss='fpo' needs an SAE: args.sae, or sae= with a SAELens object; loss="
                    "'sigmoid_norm' is the same without features"
                )
            self.sae = load_sae(sae if sae is not None else args.sae, args.device)
            self.hook_name = sae_hook(self.sae, args.sae_hook)
            if args.fpo_k > self.sae.cfg.d_sae:
                raise ValueError(f"fpo_k={args.fpo_k} of {self.sae.cfg.d_sae} SAE features")
        if isinstance(model, str):
            read_config(model, (args.model_init_kwargs or {}).get("revision"))
            given = {**(args.model_init_kwargs or {}), "trust_remote_code": False}
            model = create_model_from_path(model, **given)
            args.model_init_kwargs = None
        if processing_class is None:
            processing_class = read_tokenizer(get_config_model_id(model.config))
        if processing_class.pad_token is None:
            processing_class.pad_token = processing_class.eos_token
        pairs.require_template(processing_class, next(iter(train_dataset)))
        require_pad(processing_class, model.get_input_embeddings().num_embeddings)
        if self.sae is not None:
            check_sae(self.sae, model, self.hook_name)
        online = not args.precompute_ref_log_probs
        adapted = kwargs.get("peft_config") is not None or isinstance(model, PeftModel)
        if online and ref_model is None and not adapted:
            # TRL would read the weights again from config._name_or_path, which a live model lacks.
            ref_model = copy.deepcopy(model).eval().requires_grad_(False)
        self.offline = OfflineReference(args, self.sae)
        self.timeline = training_log.Timeline(Path(args.output_dir))
        self._saturated = False
        super().__init__(
            model=model,
            ref_model=ref_model,
            args=args,
            data_collator=PairCollator(
                pad_token_id=processing_class.pad_token_id,
                max_length=args.max_length,
                truncation_mode=args.truncation_mode,
                pad_to_multiple_of=args.pad_to_multiple_of,
            ),
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        self.offline.started = True

    def _prepare_dataset(
        self, dataset: Any, processing_class: Any, args: FPOConfig, dataset_name: str
    ) -> Any:
        """Tokenised by TRL, less what has no response left, with each row's number."""
        if self.offline.started:  # given to evaluate(); the others are checked before a model loads
            dataset = pair_sets.checked(dataset, dataset_name, drop_identical=args.drop_identical)
        with pairs.rows_named(dataset, processing_class, dataset_name):
            rows = super()._prepare_dataset(dataset, processing_class, args, dataset_name)
        if isinstance(dataset, IterableDataset):
            return rows
        rows = pairs.usable(rows, dataset_name, len(dataset), args.max_length)
        if "fpo_row" in rows.column_names:
            return rows
        return rows.add_column("fpo_row", list(range(len(rows))))

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        extra = [c for c in ("fpo_row", "fpo_cache") if c not in self._signature_columns]
        self._signature_columns += extra

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Replaces TRL's own: one pass that yields log-probabilities and pooled features.

        TRL's returns from its Arrow cache without any forward: features could not ride along.
        """
        if self.args.loss in losses.REFERENCE_FREE:
            return dataset
        return self.offline.attach(self, dataset, name, batch_size)

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[Any]:
        """The frozen model to run; the policy with its adapter off where there is no other."""
        model = self.ref_model or self.model
        unwrapped = self.accelerator.unwrap_model(self.model)
        adapter: Any = contextlib.nullcontext()
        if self.ref_model is None and isinstance(unwrapped, PeftModel):
            name = "ref" if "ref" in unwrapped.peft_config else None
            adapter = use_adapter(unwrapped, adapter_name=name)
        quiet = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        with torch.no_grad(), quiet, adapter:
            yield model

    def run(self, model: Any, inputs: dict[str, Any], whole: bool) -> tuple[Any, Any]:
        """(model output, captured activation `[2b, T, d]` or None) of one padded batch.

        `whole`: logits; else TRL's fused head, which yields log-probabilities alone.
        """
        batch = {k: inputs[k] for k in ("input_ids", "attention_mask")}
        if self.aux_loss_enabled and torch.is_grad_enabled():
            batch["output_router_logits"] = True
        if not whole:
            labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
            batch |= {"labels": labels, "fused_lm_head": True}
        captured: Any = contextlib.nullcontext()
        if self.sae is not None:
            captured = reading(find_hook(self.accelerator.unwrap_model(model), self.hook_name))
        with captured as slot:
            outputs = model(**batch, use_cache=False)
        return outputs, slot.value if slot is not None else None

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """−log σ(u), averaged over the pairs of the batch; u of `losses.logits`."""
        args = self.args
        training = self.model.training
        mask = response_mask(inputs["completion_mask"])
        whole = args.loss in losses.FULL_LOGITS
        outputs, hidden = self.run(model, inputs, whole)
        if hidden is not None and training and args.fpo_alpha > 0 and not hidden.requires_grad:
            raise RuntimeError(
                f"the activation at {self.hook_name} has no gradient, so the constraint would do "
                "nothing: with gradient checkpointing pass gradient_checkpointing_kwargs="
                "{'use_reentrant': False}; with an adapter or frozen layers, train some at or "
                "below that layer"
            )
        terms, distance = self._terms(inputs, outputs, hidden, mask, whole)
        u, score, penalty = losses.logits(
            args.loss, terms, args.beta, args.fpo_alpha, args.simpo_gamma
        )
        loss = -logsigmoid(u).mean()
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        values = training_log.per_pair(u, score, penalty, terms, args.beta)
        self._note("train" if training else "eval", inputs, values, distance)
        if return_outputs:
            with torch.no_grad():
                outputs = model(**{k: inputs[k] for k in ("input_ids", "attention_mask")})
            return loss, outputs
        return loss

    def _terms(
        self, inputs: dict[str, Any], outputs: Any, hidden: Any, mask: torch.Tensor, whole: bool
    ) -> tuple[losses.Terms, FeatureDistance | None]:
        """Log-probabilities, KL and distance of a batch, from the cache or the reference itself."""
        lengths = inputs["completion_mask"].sum(1)
        if self.args.loss in losses.REFERENCE_FREE:
            return losses.Terms(_summed(outputs, mask), lengths), None
        if "ref_chosen_logps" in inputs and self.precompute_ref_logps:
            ref_logps = torch.cat([inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]])
            ref_features = inputs.get("ref_features")
        else:
            with self.as_reference() as reference:
                ref_outputs, ref_hidden = self.run(reference, inputs, whole)
            if whole:
                kl, logps, ref_logps = sequence_kl(
                    outputs.logits, ref_outputs.logits, inputs["input_ids"], mask
                )
                return losses.Terms(logps, lengths, ref_logps, kl=kl), None
            ref_logps = _summed(ref_outputs, mask)
            ref_features = self.pooled(ref_hidden, mask) if ref_hidden is not None else None
        distance = None
        if self.sae is not None:
            gradient = torch.is_grad_enabled() and self.args.fpo_alpha > 0
            distance = feature_distance(
                self.sae, hidden, mask, ref_features, self.args.constraint,
                how=self.args.fpo_pool, gradient=gradient,
            )  # fmt: skip
        d = distance.total if distance is not None else None
        return losses.Terms(_summed(outputs, mask), lengths, ref_logps, distance=d), distance

    def pooled(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pooled features `[2b, m]` float32 as this run defines them; no gradient."""
        return pool(self.sae, hidden, mask, self.args.fpo_pool, self.args.fpo_decoder_scale)

    def _note(
        self,
        mode: str,
        inputs: dict[str, Any],
        values: dict[str, torch.Tensor],
        distance: FeatureDistance | None,
    ) -> None:
        """Add a batch to the logged means, with one wait for the device."""
        table = torch.stack([v.detach().float() for v in values.values()], 1)
        tokens = sum(inputs["attention_mask"].sum(1).chunk(2))
        table = self.accelerator.gather_for_metrics(torch.cat([table, tokens[:, None]], 1))
        *means, tokens = table.mean(0).tolist()
        means = training_log.checked(values, means, inputs.get("fpo_row"), mode)
        for name, value in means.items():
            self._metrics[mode][name].append(value)
        if mode == "train" and not self._saturated and training_log.saturated(means):
            self._saturated = True
            log.warning(
                "the constraint is %.0f times the score margin: the sigmoid saturates and training "
                "may stall; lower fpo_alpha", means["fpo/constraint_to_margin"],
            )  # fmt: skip
        if mode == "train":
            self._total_train_tokens += round(tokens * len(table))
            self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
            if distance is not None and self.is_world_process_zero():
                self.timeline.add(distance.shares)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL logs; in training with a line of the timeline besides."""
        if self.model.training and self.is_world_process_zero():
            self.timeline.write(self.state.global_step)
        super().log(logs, start_time)


def _summed(outputs: Any, mask: torch.Tensor) -> torch.Tensor:
    """Σ log p `[2b]` of the responses, from TRL's fused head."""
    return outputs.log_probs[:, -mask.shape[1] :].sum(dim=1)
