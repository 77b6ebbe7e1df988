"""The feature distance D with the one gradient it has (§2.3), at the cost of a few columns.

D(chosen) enters the loss detached, and of D(rejected) only the ≤ 2k features in the index set
count. So the SAE is applied without gradient once, for pooling and selection, and a second time
with gradient only to the selected columns of the rejected responses: the same value and the same
gradient as differentiating through the whole SAE, without keeping any `[tokens, features]`
activations for the backward pass.
"""

from dataclasses import dataclass
from typing import Any

import torch

from workbench.sae.loading import decoder_norms, encode, fed
from workbench.sae.pooling import Constraint, index_set, pool, pooled_distance

AFFINE = ("standard", "jumprelu", "topk")
"""Architectures whose active features are h·W_enc + b exactly; others are differentiated whole."""


@dataclass(frozen=True)
class FeatureDistance:
    """D of 2b responses, first half chosen.

    `total`: D `[2b]` float32, with a gradient through the rejected half only. `shares`: float32
    `[2b, m]`, of each feature; rows sum to D.
    """

    total: torch.Tensor
    shares: torch.Tensor


def feature_distance(
    sae: Any,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    reference: torch.Tensor,
    constraint: Constraint,
    *,
    how: str = "mean",
    gradient: bool = True,
) -> FeatureDistance:
    """D of every response to the reference's pooled features.

    `hidden`: `[2b, T, d]`, `mask`: bool `[2b, T-1]`, `reference`: float32 `[2b, m]`, first half
    chosen, pooled as `how`. With `gradient`, D of the rejected half is differentiable in `hidden`.
    """
    k, topk, decoder_scale = constraint.k, constraint.topk, constraint.decoder_scale
    with torch.no_grad():
        policy = pool(sae, hidden.detach(), mask, how=how, decoder_scale=decoder_scale)
        members = index_set(policy, reference, k, topk)
        shares = torch.where(members, (policy - reference) ** 2, 0.0) / k
        d = pooled_distance(policy, reference, members, k)
    if not gradient:
        return FeatureDistance(d, shares)
    half = len(hidden) // 2
    # No row has more members, and a fixed number needs no wait for the device.
    most = min(2 * k if topk == "union" else k, members.shape[1])
    valid, columns = members[half:].float().topk(most)
    features = _columns(sae, hidden[half:, :-1], columns)
    if decoder_scale:
        features = features * decoder_norms(sae)[columns][:, None]
    pooled = (features * mask[half:, :, None]).sum(1)
    if how == "mean":
        pooled = pooled / mask[half:].sum(1, keepdim=True).clamp(min=1)
    elif how == "padded":
        pooled = pooled / mask.shape[1]
    gaps = pooled - reference[half:].gather(1, columns)
    total = torch.cat([d[:half], (valid * gaps**2).sum(1) / k])
    return FeatureDistance(total, shares)


def _columns(sae: Any, hidden: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Features `[b, T, n]` float32 of `hidden` `[b, T, d]` at each row's `columns` `[b, n]`.

    Inactive features are zero and have no gradient (the "dead zone" of §5).
    """
    architecture = sae.cfg.architecture()
    wide = columns[:, None].expand(-1, hidden.shape[1], -1)
    if architecture not in AFFINE or getattr(sae.cfg, "rescale_acts_by_decoder_norm", False):
        whole = encode(sae, hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return whole.gather(2, wide)
    with torch.autocast(hidden.device.type, enabled=False):
        h = fed(sae, hidden) - sae.b_dec * sae.cfg.apply_b_dec_to_input
        z = h @ sae.W_enc.T[columns].transpose(1, 2) + sae.b_enc[columns][:, None]
        if architecture == "standard":
            return z.relu()
        if architecture == "jumprelu":
            return z * ((z > 0) & (z > sae.threshold[columns][:, None]))
        # Which features are among a token's k largest is only known from all of them.
        with torch.no_grad():
            whole = encode(sae, hidden.flatten(0, 1)).unflatten(0, hidden.shape[:2])
        return z * (whole.gather(2, wide) > 0)
