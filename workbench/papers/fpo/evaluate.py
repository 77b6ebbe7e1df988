"""How far a policy has gone: scores, KL, feature distance and entropy on held-out pairs (§4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from workbench.models.hooks import find_hook, reading
from workbench.models.logprobs import entropy, next_tokens, per_text, sequence_kl
from workbench.papers.fpo.distance import feature_distance
from workbench.sae.health import Shift
from workbench.sae.pooling import Constraint, pool, stack_pairs


@dataclass(frozen=True)
class Evaluation:
    """Policy against reference, per pair: float64 `[n]`.

    `score`: length-normalised log-ratio s(y), nats a token. `logp`: mean log-probability, nats a
    token. `kl`: KL(reference ‖ policy), nats a sequence. `d`: feature distance. `entropy`: of the
    policy's next token on response positions, nats, mean over the tokens of both answers. `shift`
    `[2]`: `sae.health.stream_shift` over all pairs.
    """

    score_chosen: np.ndarray
    score_rejected: np.ndarray
    logp_chosen: np.ndarray
    logp_rejected: np.ndarray
    kl_chosen: np.ndarray
    kl_rejected: np.ndarray
    d_chosen: np.ndarray
    d_rejected: np.ndarray
    entropy: np.ndarray
    shift: np.ndarray


@torch.no_grad()
def evaluate(
    policy: PreTrainedModel,
    reference: PreTrainedModel,
    rows: Sequence[dict[str, list[int]]],
    sae: Any,
    hook_name: str,
    constraint: Constraint,
    *,
    batch: int = 16,
    pad_token_id: int = 0,
) -> Evaluation:
    """Both models on the same tokens, `rows` of `training.pairs.tokenised`. Mean pooling."""
    batches: dict[str, list[np.ndarray]] = {}
    shift = Shift(sae)
    for start in range(0, len(rows), batch):
        ids, attention, mask = stack_pairs(rows[start : start + batch], pad_token_id, policy.device)
        logits, hidden = [], []
        for model in (policy, reference):
            with reading(find_hook(model, hook_name)) as slot:
                out = model(input_ids=ids, attention_mask=attention, use_cache=False)
            logits.append(out.logits)
            hidden.append(slot.value)
        shift.add(*hidden, mask)
        kl, logps, ref_logps = sequence_kl(*logits, ids, mask)
        pooled = pool(sae, hidden[1], mask, decoder_scale=constraint.decoder_scale)
        distance = feature_distance(sae, hidden[0], mask, pooled, constraint, gradient=False)
        length = mask.sum(1).clamp(min=1)
        entropies = per_text(entropy(next_tokens(logits[0], mask)), mask)
        values = {"entropy": sum(entropies.chunk(2)) / sum(length.chunk(2))}
        for name, per_response in (
            ("score", (logps - ref_logps) / length),
            ("logp", logps / length),
            ("kl", kl.clamp(min=0)),  # Rounding takes that of nearly equal models below 0.
            ("d", distance.total),
        ):
            values[f"{name}_chosen"], values[f"{name}_rejected"] = per_response.chunk(2)
        for name, value in values.items():
            batches.setdefault(name, []).append(value.double().cpu().numpy())
    per_pair = {name: np.concatenate(parts) for name, parts in batches.items()}
    return Evaluation(**per_pair, shift=np.array(shift.total()))
