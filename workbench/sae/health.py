"""Whether an SAE fits a model: what it explains, how sparsely, what the model loses by it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workbench.arguments import finite, whole
from workbench.errors import FeatureError
from workbench.models.hooks import Hook, reading, replacing
from workbench.models.logprobs import sequence_logprobs
from workbench.sae.loading import encode, fed, require_fit, require_weights, warn_of_bos
from workbench.sae.pooling import stack_pairs

log = logging.getLogger(__name__)

Rows = Sequence[dict[str, list[int]]]


@dataclass(frozen=True)
class Health:
    """Over response positions of pairs, BOS left out (FPO, §2.8).

    `fvu`: Σ‖h − ĥ‖² / Σ‖h − mean h‖². `l0`: active features a token. `dead`: share of features
    that never are. `ce`, `ce_spliced`, `ce_zeroed`: nats a token of the model as it is, with what
    the hook reads replaced by its reconstruction there, and by zero. `tokens`: how many.
    """

    fvu: float
    l0: float
    dead: float
    ce: float
    ce_spliced: float
    ce_zeroed: float
    tokens: int

    @property
    def recovered(self) -> float:
        """Share of the loss from zeroing that the reconstruction avoids; 1 where it loses none."""
        return (self.ce_zeroed - self.ce_spliced) / (self.ce_zeroed - self.ce)


@torch.no_grad()
def health(
    model: Any,
    rows: Rows,
    sae: Any,
    hook_name: str,
    *,
    batch: int = 16,
    pad_token_id: int = 0,
) -> Health:
    """Measure on `rows` (of `training.pairs.tokenised`).

    Raises `FeatureError` for fewer than 2 response tokens, and where the SAE does not fit.
    """
    hook = _checked(sae, model, hook_name, rows)
    error = active = 0.0
    spread = _Spread()
    seen = torch.zeros(sae.cfg.d_sae, dtype=torch.bool)
    ce = torch.zeros(3, dtype=torch.float64)
    for ids, attention, mask in _batches(model, rows, batch, pad_token_id):
        with reading(hook) as slot:
            ce[0] += _nats(model, ids, attention, mask)
        hidden = slot.value[:, :-1][mask]
        features = encode(sae, hidden)
        # Where that leaves out the mean over the width, so do the layer norms behind the hook.
        hidden = fed(sae, hidden)
        reconstructed = sae.decode(features).reshape(hidden.shape).float()
        error += (hidden - reconstructed).double().square().sum().item()
        spread.add(hidden)
        active += (features > 0).sum().item()
        seen |= (features > 0).any(0).cpu()
        for place, value in ((1, reconstructed), (2, torch.zeros_like(reconstructed))):
            with replacing(hook, mask, value):
                ce[place] += _nats(model, ids, attention, mask)
    variance, n = spread.total(), spread.n
    return Health(
        fvu=error / variance, l0=active / n, dead=1 - seen.float().mean().item(),
        ce=ce[0].item() / n, ce_spliced=ce[1].item() / n, ce_zeroed=ce[2].item() / n, tokens=n,
    )  # fmt: skip


def check_health(
    measured: Health, name: str, *, force_sae: bool = False, most: float = 0.5
) -> None:
    """Raise `FeatureError` where `fvu` is above `most`; with `force_sae` only warn."""
    if measured.fvu <= finite("most", most, 0, error=FeatureError):
        return
    problem = (
        f"{name}: the SAE leaves {measured.fvu:.0%} of the variance unexplained (at most "
        f"{most:.0%}); it was trained for another model, layer or hook, or on too little"
    )
    if not force_sae:
        raise FeatureError(f"{problem}. Give another SAE; force_sae=True goes on all the same")
    log.warning("%s; used all the same", problem)


@torch.no_grad()
def stream_shift(
    policy: Any,
    reference: Any,
    rows: Rows,
    sae: Any,
    hook_name: str,
    *,
    batch: int = 16,
    pad_token_id: int = 0,
) -> tuple[float, float]:
    """How far the policy's activations have moved, and how far that is from what features say.

    Σ‖Δh‖² / Σ‖h − mean h‖² of the reference, and Σ‖Δh − W_decᵀΔc‖² / Σ‖Δh‖² (0 where nothing
    moved); Δ policy − reference, over the positions of `health` (§2.8). The second is above 1 where
    features that switch on or off decode to more than has moved: TopK's do for small movements.
    """
    shift = Shift(sae)
    hooks = [_checked(sae, model, hook_name, rows) for model in (policy, reference)]
    for ids, attention, mask in _batches(policy, rows, batch, pad_token_id):
        hidden = []
        for model, hook in zip((policy, reference), hooks, strict=True):
            with reading(hook) as slot:
                model(input_ids=ids, attention_mask=attention, use_cache=False)
            hidden.append(slot.value)
        shift.add(*hidden, mask)
    return shift.total()


class Shift:
    """`stream_shift` of activations that come in batches."""

    def __init__(self, sae: Any) -> None:
        self._sae, self._spread = sae, _Spread()
        self._missed = self._squared = 0.0

    def add(self, policy: torch.Tensor, reference: torch.Tensor, mask: torch.Tensor) -> None:
        """Count `[b, T, d]` of both models in, at the positions of `mask` `[b, T-1]` but the first.

        No SAE is asked to explain BOS, whose norm is far from every other token's.
        """
        mask = mask.clone()
        mask[:, 0] = False
        hidden = [fed(self._sae, each[:, :-1][mask]) for each in (policy, reference)]
        moved = hidden[0] - hidden[1]
        change = encode(self._sae, hidden[0]) - encode(self._sae, hidden[1])
        outside = moved - change @ self._sae.W_dec.float()
        self._missed += outside.double().square().sum().item()
        self._squared += moved.double().square().sum().item()
        self._spread.add(hidden[1])

    def total(self) -> tuple[float, float]:
        """The movement, and what of it the features leave out, as a share of it."""
        missed = self._missed / self._squared if self._squared else 0.0
        return self._squared / self._spread.total(), missed


def _checked(sae: Any, model: Any, hook_name: str, rows: Rows) -> Hook:
    """The hook of an SAE that fits; warns of texts that begin otherwise than it was trained on."""
    require_weights(sae)
    warn_of_bos(sae, model, (row["prompt_ids"] for row in rows))
    return require_fit(sae, model, hook_name)


class _Spread:
    """Σ‖h − mean h‖² over vectors that come in batches."""

    def __init__(self) -> None:
        self.n, self._squares = 0, 0.0
        self._sum: torch.Tensor | float = 0.0

    def add(self, hidden: torch.Tensor) -> None:
        self.n += len(hidden)
        self._squares += hidden.double().square().sum().item()
        self._sum = self._sum + hidden.double().sum(0)

    def total(self) -> float:
        if self.n < 2:
            raise FeatureError(f"{self.n} response tokens; at least 2 are needed to measure on")
        return self._squares - (self._sum.square().sum() / self.n).item()


def _batches(
    model: Any, rows: Rows, batch: int, pad: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    device = next(model.parameters()).device
    batch = whole("batch", batch, 1, error=FeatureError)
    pad = whole("pad_token_id", pad, 0, error=FeatureError)
    for start in range(0, len(rows), batch):
        ids, attention, mask = stack_pairs(rows[start : start + batch], pad, device)
        # No SAE is asked to explain BOS, whose norm is far from every other token's.
        mask[:, 0] = False
        yield ids, attention, mask


def _nats(
    model: Any, ids: torch.Tensor, attention: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """−Σ log p of the tokens behind the positions of `mask`, float64 `[]`."""
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits
    return -sequence_logprobs(logits, ids, mask).double().sum().cpu()
