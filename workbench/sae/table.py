"""The feature table: drift, preference effect and share of the penalty of every SAE feature."""

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from scipy.stats import false_discovery_control, rankdata

from workbench.arguments import finite, one_of, seed_number, whole
from workbench.errors import FeatureError
from workbench.sae.diff import FeatureDiff
from workbench.sae.loading import decoder_norms, sae_digest

WHO = ("policy", "ref")
SIDES = ("chosen", "rejected")


def feature_table(
    diff: FeatureDiff, sae: Any, *, permutations: int = 2000, nearest: int = 5, seed: int = 0
) -> pd.DataFrame:
    """One row per feature, indexed by its number (FPO, §2.9); write it with pandas.

    For policy and ref: `density_*` (active share of response tokens) and `log10_density_*` (NaN at
    0); `mean_*`, `max_*` over active tokens (0 for none); the preference effect of pooled features,
    `effect_*` mean of chosen − rejected, `dz_*` over its standard deviation, `auroc_*`, `p_*`
    two-sided by `permutations` sign flips (at least 1 / (permutations + 1)), `q_*` its
    Benjamini–Hochberg value among the features active in some pair (NaN for the others). For chosen
    and rejected: `drift_*` mean of policy − ref, `drift_rms_*`, `density_ratio_*` policy over ref,
    `share_*` of D (their sum is D), `selected_both_*`, `_policy_*`, `_ref_*` rates of entering I.
    `loss_pull`: E[αβσ(−u)·share of rejected]. `decoder_norm`, `encoder_cosine`; `nearest`,
    `nearest_cosine`: the features with the closest decoder directions. Raises `FeatureError` for
    another SAE than the diff's.

    >>> table = feature_table(diff_features(policy, reference, rows, sae, hook, "features/"), sae)
    >>> table.sort_values("share_rejected", ascending=False).head()
    """
    nearest = whole("nearest", nearest, 1, error=FeatureError)
    if sae_digest(sae) != diff.meta["sae"]:
        raise FeatureError(f"{diff.folder} was built with another SAE")
    c, n = diff.counts, max(int(diff.counts.pairs), 1)
    out: dict[str, object] = {}
    tokens = max(int(c.tokens.sum()), 1)
    for w, who in enumerate(WHO):
        active = c.active[w].sum(0)
        out[f"density_{who}"] = density = active / tokens
        nothing = np.full(len(density), np.nan)
        out[f"log10_density_{who}"] = np.log10(density, out=nothing, where=density > 0)
        out[f"mean_{who}"] = c.total[w].sum(0) / np.maximum(active, 1)
        out[f"max_{who}"] = c.largest[w].max(0)
    for who in WHO:
        effect = preference_effect(
            diff.pooled[who, "chosen"], diff.pooled[who, "rejected"], permutations, seed
        )
        out |= {f"{name}_{who}": value for name, value in effect.items()}
    for s, side in enumerate(SIDES):
        out[f"drift_{side}"] = c.drift[s] / n
        out[f"drift_rms_{side}"] = np.sqrt(c.drift_squares[s] / n)
        with np.errstate(divide="ignore", invalid="ignore"):  # NaN where both are 0
            out[f"density_ratio_{side}"] = c.active[0, s] / c.active[1, s]
        out[f"share_{side}"] = c.share[s] / n
        for i, name in enumerate(("both", "policy", "ref")):
            out[f"selected_{name}_{side}"] = c.selected[i, s] / n
    out["loss_pull"] = c.pull / n
    out["decoder_norm"] = decoder_norms(sae).cpu().numpy()
    out["encoder_cosine"] = (
        torch.nn.functional.cosine_similarity(sae.W_enc.T.float(), sae.W_dec.float(), dim=1)
        .cpu()
        .numpy()
    )
    out["nearest"], out["nearest_cosine"] = nearest_features(sae, nearest)
    return pd.DataFrame(out, index=pd.RangeIndex(diff.meta["features"], name="feature"))


def preference_effect(
    chosen: scipy.sparse.csr_matrix,
    rejected: scipy.sparse.csr_matrix,
    permutations: int = 2000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """`effect`, `dz`, `auroc`, `p`, `q` `[m]` of paired features `[pairs, m]`; `feature_table`.

    The null of `p`: within a pair the two responses are exchangeable. All features see the same
    flips. `dz` is 0 where no pair differs and infinite where all differ by the same.
    """
    permutations = whole("permutations", permutations, 1, error=FeatureError)
    seed = seed_number(seed, error=FeatureError)
    gap = (chosen - rejected).tocsr()
    n, m = gap.shape
    mean = np.asarray(gap.mean(0)).ravel()
    square = np.asarray(gap.multiply(gap).mean(0)).ravel()
    spread = np.sqrt(np.maximum(square - mean**2, 0) * n / max(n - 1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        dz = np.where(mean == 0, 0.0, mean / spread)
    rng = np.random.default_rng(seed)
    total = np.asarray(gap.sum(0)).ravel()
    # The same sum in another order differs by rounding, and is no smaller.
    needed = np.abs(total) * (1 - 1e-9)
    beaten = np.zeros(m, np.int64)
    for start in range(0, permutations, 64):
        signs = rng.choice((-1.0, 1.0), (min(64, permutations - start), n))
        beaten += (np.abs((gap.T @ signs.T).T) >= needed).sum(0)
    tested = (chosen.getnnz(0) > 0) | (rejected.getnnz(0) > 0)
    p = np.where(tested, (1 + beaten) / (permutations + 1), np.nan)
    q = np.full(m, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested])
    return {"effect": mean, "dz": dz, "auroc": auroc(chosen, rejected), "p": p, "q": q}


def auroc(chosen: scipy.sparse.csr_matrix, rejected: scipy.sparse.csr_matrix) -> np.ndarray:
    """P(a chosen response has more of it) + ½ P(equal), `[m]`, of values that are not negative."""
    by_feature = chosen.tocsc(), rejected.tocsc()
    n_chosen, n_rejected = (columns.shape[0] for columns in by_feature)
    out = np.full(chosen.shape[1], 0.5)
    for i in np.flatnonzero(chosen.getnnz(0) + rejected.getnnz(0)):
        high, low = (c.data[c.indptr[i] : c.indptr[i + 1]] for c in by_feature)
        high, low = high[high > 0], low[low > 0]
        zeros = n_rejected - len(low)
        ranks = rankdata(np.concatenate([high, low]))[: len(high)].sum()
        above = ranks - len(high) * (len(high) + 1) / 2 + len(high) * zeros
        out[i] = (above + 0.5 * (n_chosen - len(high)) * zeros) / (n_chosen * n_rejected)
    return out


def nearest_features(
    sae: Any, count: int, budget: int = 1 << 27
) -> tuple[list[list[int]], list[list[float]]]:
    """Of every feature the `count` others whose decoder directions have the largest cosine."""
    unit = torch.nn.functional.normalize(sae.W_dec.detach().float(), dim=1)
    count = min(count, len(unit) - 1)
    index, value = [], []
    step = max(budget // (4 * len(unit)), 1)
    for start in range(0, len(unit), step):
        cosine = unit[start : start + step] @ unit.T
        own = torch.arange(len(cosine), device=unit.device)
        cosine[own, start + own] = -torch.inf
        top = cosine.topk(count, dim=1)
        index += top.indices.tolist()
        value += top.values.tolist()
    return index, value


def waterfall(table: pd.DataFrame, side: str = "rejected", cover: float = 0.8) -> pd.Series:
    """The fewest features whose `share_*` covers that part of D, largest first, and `rest`."""
    one_of("side", side, SIDES, FeatureError)
    cover = finite("cover", cover, above=0, most=1, error=FeatureError)
    shares = table[f"share_{side}"].sort_values(ascending=False, kind="stable")
    total = shares.sum()
    if total == 0:
        return pd.Series({"rest": 0.0})
    largest = shares[: int(np.searchsorted(shares.cumsum(), cover * total)) + 1]
    return pd.concat([largest.rename(str), pd.Series({"rest": total - largest.sum()})])
