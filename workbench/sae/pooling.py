"""Features of whole responses: which tokens count, how they are pooled, how far two sets differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from workbench.arguments import finite, one_of, whole
from workbench.sae.loading import decoder_norms, encode

TOPK = ("union", "policy", "ref")


@dataclass(frozen=True)
class Constraint:
    """What holds back features in FPO's loss: α β [D(rejected) − D(chosen)] (FPO, §2.2).

    `k`: features compared, the k largest pooled ones; `topk`: whose, `"union"`, `"policy"` or
    `"ref"`. `alpha`: its weight, `beta` the temperature of the loss. `decoder_scale`: features
    times their decoder's norm. Raises `ValueError` for another `topk`, or a number out of range.
    """

    k: int = 50
    topk: str = "union"
    alpha: float = 0.5
    beta: float = 0.1
    decoder_scale: bool = True

    def __post_init__(self) -> None:
        whole("k", self.k, 1)
        finite("alpha", self.alpha, 0)
        finite("beta", self.beta, above=0)
        one_of("topk", self.topk, TOPK)


def index_set(policy: torch.Tensor, reference: torch.Tensor, k: int, topk: str) -> torch.Tensor:
    """Which features count, bool `[b, m]`: the k largest active ones of each row; no gradient.

    `policy`, `reference`: pooled features `[b, m]`, not negative. `topk`: `"union"` of both sets,
    `"policy"` or `"ref"` alone. An entry of zero is nobody's feature: fewer than k active ones give
    a smaller set, rather than arbitrary members. Raises `ValueError` for k outside 1..m or another
    `topk`.
    """
    whole("k", k, 1, policy.shape[1])
    one_of("topk", topk, TOPK)
    members = torch.zeros_like(policy, dtype=torch.bool)
    for pooled, wanted in ((policy, topk != "ref"), (reference, topk != "policy")):
        if wanted:
            value, index = pooled.detach().topk(k, dim=1)
            members |= torch.zeros_like(members).scatter_(1, index, value > 0)
    return members


def pooled_distance(
    policy: torch.Tensor, reference: torch.Tensor, members: torch.Tensor, k: int
) -> torch.Tensor:
    """D `[b]` = Σ over `members` of (policy − reference)² / k; k also where the set is larger."""
    return torch.where(members, (policy - reference) ** 2, 0.0).sum(1) / k


def response_mask(completion_mask: torch.Tensor) -> torch.Tensor:
    """bool `[b, T-1]` of `[b, T]`: position t counts where token t+1 is of the response."""
    return completion_mask[:, 1:].bool()


def stack_pairs(
    rows: Sequence[dict[str, list[int]]], pad_token_id: int, device: str | torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(ids, attention, mask) of `rows` as TRL tokenises pairs: all chosen, then all rejected.

    ids, attention: int64 `[2b, T]`, padded on the right; mask: bool `[2b, T-1]`, see
    `response_mask`.
    """
    sides = [(r["prompt_ids"], r[side]) for side in ("chosen_ids", "rejected_ids") for r in rows]
    texts = [torch.tensor(prompt + response) for prompt, response in sides]
    ids = pad_sequence(texts, batch_first=True, padding_value=pad_token_id).to(device)
    begin = torch.tensor([len(prompt) for prompt, _ in sides], device=device)[:, None]
    end = torch.tensor([len(t) for t in texts], device=device)[:, None]
    at = torch.arange(ids.shape[1], device=device)
    return ids, (at < end).long(), response_mask((at >= begin) & (at < end))


@torch.no_grad()
def pool(
    sae: Any,
    hidden: torch.Tensor,
    mask: torch.Tensor,
    how: str = "mean",
    decoder_scale: bool = True,
    budget: int = 1 << 26,
) -> torch.Tensor:
    """Features of each response, `[b, m]` float32, from `hidden` `[b, T, d]`.

    `mask`: bool `[b, T-1]`. `how`: `"mean"` over response positions, `"sum"`, or `"padded"`, the
    sum over T − 1. `decoder_scale`: features times their decoder's norm. Only response positions
    are encoded, at most `budget` bytes of features at a time. Raises `ValueError` for another
    `how`.
    """
    one_of("how", how, ("mean", "sum", "padded"))
    tokens = hidden[:, :-1][mask]
    rows = mask.nonzero()[:, 0]
    out = torch.zeros(len(hidden), sae.cfg.d_sae, device=hidden.device)
    step = max(budget // (4 * sae.cfg.d_sae), 1)
    row = torch.arange(len(hidden), device=hidden.device)[:, None]
    # A product, not index_add: on a GPU that adds in any order, and waits for every address.
    with torch.autocast(hidden.device.type, enabled=False):
        for start in range(0, len(tokens), step):
            part = slice(start, start + step)
            out += (rows[part] == row).float() @ encode(sae, tokens[part])
    if decoder_scale:
        out *= decoder_norms(sae)
    if how == "mean":
        out /= mask.sum(1, keepdim=True).clamp(min=1)
    elif how == "padded":
        out /= mask.shape[1]
    return out
