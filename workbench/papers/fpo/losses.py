"""The seven losses side by side (§2.2 of the method): −log σ(u), each with its own u.

Batches are `[chosen; rejected]`: the first half of every `[2b]` tensor is chosen.
"""

from dataclasses import dataclass

import torch

LOSSES = ("fpo", "sigmoid_norm", "sigmoid", "simpo", "tdpo1", "tdpo2", "simpo_kl")
"""`sigmoid_norm` is LN-DPO (FPO without the constraint), `sigmoid` is DPO; TRL's names."""
NORMALISED = ("fpo", "sigmoid_norm", "simpo", "simpo_kl")
"""Scores are log-probabilities per token."""
REFERENCE_FREE = ("simpo",)
FULL_LOGITS = ("tdpo1", "tdpo2", "simpo_kl")
"""Need the reference's whole distribution at every step; no offline reference."""


@dataclass(frozen=True)
class Terms:
    """Log-probabilities and distances of 2b responses; `[2b]` float32 each, first half chosen.

    `logps`: Σ log π over response tokens (nats), `lengths`: their number, `ref_logps`: of the
    reference, `kl`: K(y) = Σ_t KL(reference ‖ policy) (nats), `distance`: D(y).
    """

    logps: torch.Tensor
    lengths: torch.Tensor
    ref_logps: torch.Tensor | None = None
    kl: torch.Tensor | None = None
    distance: torch.Tensor | None = None


def scores(loss: str, terms: Terms) -> torch.Tensor:
    """s(y) `[2b]`, nats (per token for `NORMALISED`): log-ratio to the reference where it has one.

    The order of operations is that of TRL's `sigmoid_norm`, so that FPO with alpha 0 equals it bit
    for bit.
    """
    uses_reference = loss not in REFERENCE_FREE and loss != "simpo_kl"
    out = terms.logps - terms.ref_logps if uses_reference else terms.logps
    return out / terms.lengths.clamp(min=1.0) if loss in NORMALISED else out


def constraint(loss: str, terms: Terms, alpha: float) -> torch.Tensor | None:
    """The amount taken off the score margin before beta `[b]`; None for losses without one.

    FPO: α[D(l) − sg D(w)]; TDPO-1: K(l) − K(w); TDPO-2: α[K(l) − sg K(w)]; SimPO+KL: α times
    K(l)/|l| − sg K(w)/|w|.
    """
    if loss == "fpo":
        if alpha == 0:
            return None
        cost = terms.distance
    elif loss == "simpo_kl":
        cost = terms.kl / terms.lengths.clamp(min=1.0)
    elif loss in ("tdpo1", "tdpo2"):
        cost = terms.kl
    else:
        return None
    chosen, rejected = cost.chunk(2)
    if loss == "tdpo1":
        return rejected - chosen
    return alpha * (rejected - chosen.detach())


def logits(
    loss: str, terms: Terms, beta: float, alpha: float, gamma: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """u `[b]`, the scores `[2b]` and what the constraint takes off u `[b]` (None without one).

    u = β[s(w) − s(l)] − β·constraint, and − γ for the SimPO losses (γ is not multiplied by β).
    """
    score = scores(loss, terms)
    chosen, rejected = score.chunk(2)
    u = beta * (chosen - rejected)
    if loss in ("simpo", "simpo_kl"):
        u = u - gamma
    penalty = constraint(loss, terms, alpha)
    if penalty is not None:
        penalty = beta * penalty
        u = u - penalty
    return u, score, penalty
