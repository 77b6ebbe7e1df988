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
    """What a batch of 2b responses gives; `[2b]` float32 each, first half chosen.

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
    """What is taken off the score margin before beta `[b]`; None for losses without a constraint.

    FPO: α[D(l) − sg D(w)]; TDPO-1: K(l) − K(w); TDPO-2: α[K(l) − sg K(w)]; SimPO+KL: α times
    K(l)/|l| − sg K(w)/|w|.
    """
    if loss == "fpo":
        if alpha == 0:
            return None
        kept = terms.distance
    elif loss == "simpo_kl":
        kept = terms.kl / terms.lengths.clamp(min=1.0)
    elif loss in ("tdpo1", "tdpo2"):
        kept = terms.kl
    else:
        return None
    chosen, rejected = kept.chunk(2)
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
    held = constraint(loss, terms, alpha)
    if held is not None:
        held = beta * held
        u = u - held
    return u, score, held


def sequence_kl(
    policy: torch.Tensor, reference: torch.Tensor, input_ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """K(y), and both models' summed log-probabilities: float32 `[2b]` each, nats.

    `policy`, `reference`: logits `[2b, T, vocabulary]`; `mask`: bool `[2b, T-1]`, response
    positions. Forward KL of §2.2; log-softmax in float32 throughout, since softmax().log() is −inf
    (and 0·−inf NaN) where a probability underflows.
    """
    targets = input_ids[:, 1:][mask][:, None]
    log_policy = policy[:, :-1][mask].float().log_softmax(-1)
    with torch.no_grad():
        log_reference = reference[:, :-1][mask].float().log_softmax(-1)
    tokens = (log_reference.exp() * (log_reference - log_policy)).sum(-1)
    said = (log.gather(1, targets)[:, 0] for log in (log_policy, log_reference))
    return add_up(tokens, mask), *(add_up(t, mask) for t in said)


def add_up(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum of `tokens` `[n]` (one for each True of `mask`, in its order) per row, `[rows]`."""
    return tokens.new_zeros(mask.shape).masked_scatter(mask, tokens).sum(1)
