"""How far pooled SAE features have drifted, and over which of them that is measured (FPO, §2.3)."""

import torch


def index_set(policy: torch.Tensor, reference: torch.Tensor, k: int, topk: str) -> torch.Tensor:
    """Which features count, bool `[b, m]`: the k largest active ones of each row; no gradient.

    `policy`, `reference`: pooled features `[b, m]`, not negative. `topk`: `"union"` of both sets,
    `"policy"` or `"ref"` alone. An entry of zero is nobody's feature: fewer than k active ones give
    a smaller set, rather than arbitrary members. Raises `ValueError` for k outside 1..m or another
    `topk`.
    """
    if not 1 <= k <= policy.shape[1]:
        raise ValueError(f"k={k} of {policy.shape[1]} features")
    if topk not in ("union", "policy", "ref"):
        raise ValueError(f"topk={topk!r}; use union, policy or ref")
    members = torch.zeros_like(policy, dtype=torch.bool)
    for pooled, wanted in ((policy, topk != "ref"), (reference, topk != "policy")):
        if wanted:
            value, index = pooled.detach().topk(k, dim=1)
            members |= torch.zeros_like(members).scatter_(1, index, value > 0)
    return members


def distance(
    policy: torch.Tensor, reference: torch.Tensor, members: torch.Tensor, k: int
) -> torch.Tensor:
    """D `[b]` = Σ over `members` of (policy − reference)² / k; k also where the set is larger."""
    return torch.where(members, (policy - reference) ** 2, 0.0).sum(1) / k
