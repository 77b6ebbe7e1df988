"""What the notebook shows beside tables: formulas, curves, which features found the pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.papers.fpo.paper import Settings
from workbench.papers.fpo.presets import Scale
from workbench.papers.fpo.study import Run, load_policy
from workbench.plots.features import token_text
from workbench.sae.card import contexts
from workbench.sae.diff import FeatureDiff, diff_features
from workbench.sae.health import stream_shift

Plain = dict[str, Any]

LOSSES = (
    ("DPO", "β[(ℓθ−ℓr)(w) − (ℓθ−ℓr)(l)]", "2 numbers a pair"),
    ("LN-DPO", "β[s(w) − s(l)],  s(y) = (ℓθ(y)−ℓr(y))/|y|", "2 numbers a pair"),
    ("FPO", "LN-DPO − αβ[D(l) − sg D(w)]", "2 numbers and the pooled features a pair"),
    ("SimPO", "β[ℓθ(w)/|w| − ℓθ(l)/|l|] − γ", "none"),
    ("SimPO+KL", "SimPO − αβ[K(l)/|l| − sg K(w)/|w|]", "its whole distribution, every step"),
    ("TDPO-1", "DPO − β[K(l) − K(w)]", "its whole distribution, every step"),
    ("TDPO-2", "DPO − αβ[K(l) − sg K(w)]", "its whole distribution, every step"),
)
"""(method, u, what it needs of the reference); the loss is −log σ(u) (§2.2)."""


def losses(settings: Settings) -> list[Plain]:
    """The seven losses with the hyper-parameters of this run."""
    beta = {"SimPO": settings.beta_simpo, "SimPO+KL": settings.beta_simpo}
    beta |= dict.fromkeys(("FPO", "LN-DPO"), settings.beta)
    return [
        {"method": name, "u": u, "reference": needs, "β": beta.get(name, settings.beta_dpo)}
        for name, u, needs in LOSSES
    ]


def curves(runs: Sequence[Run], condition: str, names: Sequence[str]) -> dict[str, list]:
    """Logged name → one curve a seed, of one condition."""
    some = [r for r in runs if r.name == condition]
    return {n: [r.curves[n] for r in some] for n in names if all(n in r.curves for r in some)}


def feature_run(
    run: Run, scale: Scale, settings: Settings, rows: Sequence[Plain], out: Path
) -> FeatureDiff:
    """Every feature of a trained policy and the reference, counted over `rows`."""
    trained = load_policy(run.policy, scale.reference)
    return diff_features(
        trained, scale.reference.eval(), rows, scale.sae, scale.hook,
        out / "features" / run.policy.name, k=settings.k, topk=settings.topk, alpha=run.alpha,
        beta=settings.beta, batch=settings.per_device,
        pad_token_id=scale.tokenizer.pad_token_id,
    )  # fmt: skip


def ends(runs: Sequence[Run], seed: int) -> list[Run]:
    """FPO with the weakest and the strongest constraint, of one seed; one where they are one."""
    some = sorted((r for r in runs if r.method == "fpo" and r.seed == seed), key=lambda r: r.alpha)
    return some[:1] + some[1:][-1:]


def stream_drift(
    runs: Sequence[Run], scale: Scale, settings: Settings, rows: Sequence[Plain]
) -> dict[str, dict[str, list[float]]]:
    """How far each FPO policy's stream has moved at the hook, and which part D cannot see.

    "all" and "outside the dictionary" → condition → one value a seed: Σ‖Δh‖² over the stream's own
    Σ‖h − mean h‖², and the part of it that no decoder direction explains.
    """
    out: dict[str, dict[str, list[float]]] = {"all": {}, "outside the dictionary": {}}
    for run in sorted((r for r in runs if r.method == "fpo"), key=lambda r: r.alpha):
        size, share = stream_shift(
            load_policy(run.policy, scale.reference), scale.reference, rows, scale.sae, scale.hook,
            batch=settings.per_device, pad_token_id=scale.tokenizer.pad_token_id,
        )  # fmt: skip
        out["all"].setdefault(run.name, []).append(size)
        out["outside the dictionary"].setdefault(run.name, []).append(size * share)
    return out


def pooled_means(run: FeatureDiff, side: str = "rejected") -> list[list[float]]:
    """Mean pooled activation of every feature, of reference and policy."""
    return [np.asarray(run.pooled[who, side].mean(0)).ravel().tolist() for who in ("ref", "policy")]


def tellers(
    table: pd.DataFrame, lens: pd.DataFrame, run: FeatureDiff, rows: Sequence[Plain],
    tokenizer: Any, count: int = 8,
) -> list[Plain]:  # fmt: skip
    """The features that tell chosen from rejected best, and the words they are about.

    Of those with `q_ref` ≤ .05, by |AUROC − ½| of the reference's features, which know nothing of
    the training. `active on`: the tokens of their strongest contexts.
    """
    kept = table[table["q_ref"] <= 0.05]
    order = (kept["auroc_ref"] - 0.5).abs().sort_values(ascending=False, kind="stable")
    out = []
    for i in order.index[:count]:
        found = contexts(run, i, rows, tokenizer)
        words = [token_text(c["tokens"][c["at"]]) for c in found if c["kind"] == "top"]
        common = pd.Series(words).value_counts().index[:4]
        out.append(
            {
                "feature": int(i),
                "more in": "chosen" if table.loc[i, "effect_ref"] > 0 else "rejected",
                "AUROC": float(table.loc[i, "auroc_ref"]),
                "d_z": float(table.loc[i, "dz_ref"]),
                "q": float(table.loc[i, "q_ref"]),
                "drift (rejected)": float(table.loc[i, "drift_rejected"]),
                "active on": " ".join(common),
                "decoder speaks for": " ".join(token_text(t) for t in lens.loc[i, "up"][:4]),
            }
        )
    return out


def card(table: pd.DataFrame, lens: pd.DataFrame, feature: int) -> list[Plain]:
    """One feature in numbers: a row for each model and side where they differ."""
    row = table.loc[feature]
    names = (
        ("density", "density_ref", "density_policy"),
        ("mean where active", "mean_ref", "mean_policy"),
        ("largest", "max_ref", "max_policy"),
        ("effect d_z", "dz_ref", "dz_policy"),
        ("AUROC", "auroc_ref", "auroc_policy"),
    )
    out = [{"": name, "reference": row[a], "policy": row[b]} for name, a, b in names]
    near = ", ".join(
        f"{i} ({c:.2f})" for i, c in zip(row["nearest"], row["nearest_cosine"], strict=True)
    )
    words = (" ".join(token_text(t) for t in lens.loc[feature, s][:6]) for s in ("up", "down"))
    return [
        *({k: float(v) if k else v for k, v in r.items()} for r in out),
        {"": "nearest by decoder", "reference": near, "policy": None},
        {"": "decoder for", "reference": next(words), "policy": None},
        {"": "decoder against", "reference": next(words), "policy": None},
    ]
