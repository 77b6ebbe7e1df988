"""How far a policy has gone: scores, KL, feature distance and entropy on held-out pairs (§4)."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel
from trl.trainer.dpo_trainer import DataCollatorForPreference

from workbench.models.hooks import find_hook, reading
from workbench.papers.fpo.constraint import feature_distance
from workbench.papers.fpo.losses import add_up, sequence_kl
from workbench.sae.pooling import pool, response_mask


@dataclass(frozen=True)
class Evaluation:
    """Per pair, float64 `[n]`; `_w` chosen, `_l` rejected.

    `score`: length-normalised log-ratio s(y), nats a token. `logp`: mean log-probability, nats a
    token. `kl`: KL(reference ‖ policy), nats a sequence. `d`: feature distance. `entropy`: of the
    policy's next token on response positions, nats, mean over the tokens of both answers.
    """

    score_w: np.ndarray
    score_l: np.ndarray
    logp_w: np.ndarray
    logp_l: np.ndarray
    kl_w: np.ndarray
    kl_l: np.ndarray
    d_w: np.ndarray
    d_l: np.ndarray
    entropy: np.ndarray

    def plain(self) -> dict[str, list[float]]:
        """For a cache."""
        return {k: np.asarray(v).tolist() for k, v in asdict(self).items()}


def from_plain(stored: dict[str, list[float]]) -> Evaluation:
    """The inverse of `Evaluation.plain`."""
    return Evaluation(**{k: np.array(v) for k, v in stored.items()})


@torch.no_grad()
def evaluate(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    rows: Sequence[dict[str, list[int]]],
    sae: Any,
    hook_name: str,
    *,
    k: int,
    topk: str = "union",
    batch: int = 16,
    pad_token_id: int = 0,
) -> Evaluation:
    """Both models on the same tokens; `rows` as TRL tokenises them. Pooling is the default one."""
    collate = DataCollatorForPreference(pad_token_id=pad_token_id)
    pieces: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(rows), batch):
        inputs = collate([dict(r) for r in rows[start : start + batch]])
        inputs = {key: value.to(policy.device) for key, value in inputs.items()}
        for name, value in _batch(policy, reference, inputs, sae, hook_name, k, topk).items():
            pieces.setdefault(name, []).append(value.double().cpu().numpy())
    return Evaluation(**{name: np.concatenate(p) for name, p in pieces.items()})


def _batch(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    inputs: dict[str, torch.Tensor],
    sae: Any,
    hook_name: str,
    k: int,
    topk: str,
) -> dict[str, torch.Tensor]:
    mask = response_mask(inputs["completion_mask"])
    logits, hidden = [], []
    for model in (policy, reference):
        with reading(find_hook(model, hook_name)) as slot:
            out = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
            )
        logits.append(out.logits)
        hidden.append(slot.value)
    kl, logps, ref_logps = sequence_kl(*logits, inputs["input_ids"], mask)
    features = pool(sae, hidden[1], mask)
    d = feature_distance(sae, hidden[0], mask, features, k=k, topk=topk, gradient=False).distance
    length = mask.sum(1).clamp(min=1)
    log_policy = logits[0][:, :-1][mask].float().log_softmax(-1)
    entropy = add_up(-(log_policy.exp() * log_policy).sum(-1), mask)
    pair_entropy = sum(entropy.chunk(2)) / sum(length.chunk(2))
    sides = {
        "score": (logps - ref_logps) / length,
        "logp": logps / length,
        "kl": kl,
        "d": d,
    }
    out = {"entropy": pair_entropy}
    for name, value in sides.items():
        out[f"{name}_w"], out[f"{name}_l"] = value.chunk(2)
    return out
