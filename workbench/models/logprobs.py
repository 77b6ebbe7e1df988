"""Log-probabilities of responses, and how far two models' distributions over them are apart.

`logits` `[b, T, vocabulary]` of texts `ids` `[b, T]`; `mask` bool `[b, T-1]`, True at the n
positions whose next token counts (`sae.pooling.response_mask`). Softmax in float32 throughout.
"""

import torch


def next_tokens(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of every next token at the positions of `mask`: float32 `[n, vocabulary]`.

    A log-softmax, since softmax().log() is −inf (and 0·−inf NaN) where a probability underflows.
    """
    return logits[:, :-1][mask].float().log_softmax(-1)


def of_tokens(logprobs: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Log-probability `[n]`, nats, of the tokens that do follow, from `next_tokens`."""
    return logprobs.gather(1, ids[:, 1:][mask][:, None])[:, 0]


def forward_kl(reference: torch.Tensor, policy: torch.Tensor) -> torch.Tensor:
    """KL(reference ‖ policy) `[n]`, nats, of two results of `next_tokens`."""
    return (reference.exp() * (reference - policy)).sum(-1)


def entropy(logprobs: torch.Tensor) -> torch.Tensor:
    """Entropy `[n]`, nats, of a result of `next_tokens`."""
    return -(logprobs.exp() * logprobs).sum(-1)


def per_text(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum of `values` `[n]`, one for each True of `mask` in its order, for each text: `[b]`."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values).sum(1)


def sequence_logprobs(logits: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Σ log p `[b]` float32, nats, of the tokens behind the positions of `mask`."""
    return per_text(of_tokens(next_tokens(logits, mask), ids, mask), mask)


def sequence_kl(
    policy: torch.Tensor, reference: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Σ KL(reference ‖ policy), and both models' `sequence_logprobs`: float32 `[b]` each, nats.

    `policy`, `reference`: logits; the gradient is the policy's alone (FPO, §2.2).
    """
    log_policy = next_tokens(policy, mask)
    with torch.no_grad():
        log_reference = next_tokens(reference, mask)
    return (
        per_text(forward_kl(log_reference, log_policy), mask),
        per_text(of_tokens(log_policy, ids, mask), mask),
        per_text(of_tokens(log_reference, ids, mask), mask),
    )
