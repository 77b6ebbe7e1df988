"""What a pass over preference pairs counts about every SAE feature; all of it adds up.

Axes: `who` 0 policy, 1 reference; `side` 0 chosen, 1 rejected; m features. Everything is a sum, a
maximum or a set of smallest keys, so that counts of two halves merge into those of the whole.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch

BINS = 64
EDGES = np.logspace(-4, 4, BINS - 1)
"""Histogram edges; the first and last of the 64 bins are open."""
TOP, SAMPLE = 20, 50
"""Contexts kept of a feature: the strongest, and a uniform sample of those where it is active."""


@dataclass
class Counts:
    """Sums over a set of pairs.

    `pairs`, `tokens` int64 `[]`, `[side]`; `active` int64, `total`, `squares` float64, `largest`
    float32, all `[who, side, m]`; `histogram` int64 `[who, side, m, 64]` of activations;
    `drift`, `drift_squares`, `share` float64 `[side, m]` of pooled features (policy − reference,
    and what a feature adds to D); `pull` float64 `[m]` (α β σ(−u) share of rejected); `selected`
    int64 `[3, side, m]`: in both top-k sets, in the policy's only, in the reference's only; `d`
    float64 `[side]` ΣD. `top_*` `[m, 20]` and `sample_*` `[m, 50]`: the value, and `row, side,
    position` of contexts by max(policy, reference); unused places have value 0 and row −1.
    """

    pairs: np.ndarray
    tokens: np.ndarray
    active: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    largest: np.ndarray
    histogram: np.ndarray
    drift: np.ndarray
    drift_squares: np.ndarray
    share: np.ndarray
    pull: np.ndarray
    selected: np.ndarray
    d: np.ndarray
    top_value: np.ndarray
    top_place: np.ndarray
    sample_key: np.ndarray
    sample_value: np.ndarray
    sample_place: np.ndarray

    @classmethod
    def empty(cls, m: int) -> "Counts":
        """Of no pairs."""
        four, two = (2, 2, m), (2, m)
        return cls(
            pairs=np.zeros((), np.int64), tokens=np.zeros(2, np.int64),
            active=np.zeros(four, np.int64), total=np.zeros(four), squares=np.zeros(four),
            largest=np.zeros(four, np.float32), histogram=np.zeros((*four, BINS), np.int64),
            drift=np.zeros(two), drift_squares=np.zeros(two), share=np.zeros(two),
            pull=np.zeros(m), selected=np.zeros((3, *two), np.int64), d=np.zeros(2),
            top_value=np.zeros((m, TOP), np.float32), top_place=np.full((m, TOP, 3), -1, np.int64),
            sample_key=np.full((m, SAMPLE), np.inf),
            sample_value=np.zeros((m, SAMPLE), np.float32),
            sample_place=np.full((m, SAMPLE, 3), -1, np.int64),
        )  # fmt: skip

    def merge(self, other: "Counts") -> None:
        """Add the counts of other pairs to these."""
        not_sums = {"top_value", "top_place", "sample_key", "sample_value", "sample_place"}
        for field in fields(self):
            if field.name not in not_sums | {"largest"}:
                setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        self.largest = np.maximum(self.largest, other.largest)
        self._keep_top(other.top_value, other.top_place)
        self._keep_sample(other.sample_key, other.sample_value, other.sample_place)

    def _keep_top(self, value: np.ndarray, place: np.ndarray) -> None:
        value = np.concatenate([self.top_value, value], 1)
        place = np.concatenate([self.top_place, place], 1)
        # Equal values in the order of the text, so that how pairs were divided does not matter.
        order = np.lexsort((*place.transpose(2, 0, 1)[::-1], -value), axis=1)[:, :TOP]
        self.top_value = np.take_along_axis(value, order, 1)
        self.top_place = np.take_along_axis(place, order[..., None], 1)

    def _keep_sample(self, key: np.ndarray, value: np.ndarray, place: np.ndarray) -> None:
        key = np.concatenate([self.sample_key, key], 1)
        order = np.argsort(key, 1, kind="stable")[:, :SAMPLE]
        self.sample_key = np.take_along_axis(key, order, 1)
        self.sample_value = np.take_along_axis(
            np.concatenate([self.sample_value, value], 1), order, 1
        )
        self.sample_place = np.take_along_axis(
            np.concatenate([self.sample_place, place], 1), order[..., None], 1
        )

    def add_tokens(
        self, policy: torch.Tensor, reference: torch.Tensor, place: np.ndarray, keys: np.ndarray
    ) -> None:
        """Count activations `[n, m]` of tokens at `place` (row, side, position) `[n, 3]`.

        `keys`: float64 `[n]`, uniform and a function of the place alone; a feature's sample is its
        active tokens with the smallest ones.
        """
        sides = torch.from_numpy(place[:, 1]).to(policy.device)
        edges = torch.from_numpy(EDGES).to(policy.device, policy.dtype)
        m = policy.shape[1]
        for who, activations in enumerate((policy, reference)):
            for side in (0, 1):
                values = activations[sides == side]
                active = values > 0
                self.active[who, side] += active.sum(0).cpu().numpy()
                self.total[who, side] += values.double().sum(0).cpu().numpy()
                self.squares[who, side] += (values.double() ** 2).sum(0).cpu().numpy()
                if len(values):
                    top = values.max(0).values.cpu().numpy()
                    self.largest[who, side] = np.maximum(self.largest[who, side], top)
                token, feature = active.nonzero(as_tuple=True)
                bins = torch.bucketize(values[token, feature], edges)
                tally = torch.bincount(feature * BINS + bins, minlength=m * BINS)
                self.histogram[who, side] += tally.reshape(m, BINS).cpu().numpy()
        self.tokens += np.bincount(place[:, 1], minlength=2)
        strongest = torch.maximum(policy, reference)
        value, index = strongest.topk(min(TOP, len(strongest)), dim=0)
        active = (value.T > 0).cpu().numpy()[..., None]
        places = np.where(active, place[index.T.cpu().numpy()], -1)
        self._keep_top(value.T.float().cpu().numpy(), places)
        key = torch.from_numpy(keys).to(policy.device)[:, None].expand(-1, m)
        key = torch.where(strongest > 0, key, torch.inf)
        least, index = key.topk(min(SAMPLE, len(key)), dim=0, largest=False)
        value = strongest.gather(0, index).T.float().cpu().numpy()
        keys = least.T.cpu().numpy()
        drawn = np.isfinite(keys)
        places = np.where(drawn[..., None], place[index.T.cpu().numpy()], -1)
        self._keep_sample(keys, np.where(drawn, value, 0), places)

    def add_pairs(
        self,
        policy: torch.Tensor,
        reference: torch.Tensor,
        sets: tuple[torch.Tensor, torch.Tensor],
        shares: torch.Tensor,
        pull: torch.Tensor,
    ) -> None:
        """Count pooled features `[2b, m]` of b pairs, first half chosen.

        `sets`: bool `[2b, m]`, the policy's and the reference's top k; `shares` `[2b, m]`; `pull`
        `[b]`, the weight α β σ(−u) of each rejected response.
        """
        self.pairs = self.pairs + len(policy) // 2
        gaps = (policy - reference).double()
        both = sets[0] & sets[1]
        overlaps = (both, sets[0] & ~both, sets[1] & ~both)
        for side in (0, 1):
            half = slice(side * len(policy) // 2, (side + 1) * len(policy) // 2)
            self.drift[side] += gaps[half].sum(0).cpu().numpy()
            self.drift_squares[side] += (gaps[half] ** 2).sum(0).cpu().numpy()
            self.share[side] += shares[half].double().sum(0).cpu().numpy()
            self.d[side] += shares[half].double().sum().item()
            for n, members in enumerate(overlaps):
                self.selected[n, side] += members[half].sum(0).cpu().numpy()
        half = len(policy) // 2
        self.pull += (pull.double()[:, None] * shares[half:].double()).sum(0).cpu().numpy()
