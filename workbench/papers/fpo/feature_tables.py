"""From the study to features: which tell chosen from rejected, one in numbers, files of them."""

from pathlib import Path
from typing import Any

import pandas as pd

from workbench.papers.fpo.study import Study
from workbench.plots.features import token_text
from workbench.sae.card import contexts, largest_pairs, save_neuronpedia
from workbench.writing import whole

Plain = dict[str, Any]


def telling(study: Study, count: int = 8) -> list[Plain]:
    """The features that tell chosen from rejected best, and the words they are about.

    Of those with `q_ref` ≤ .05 (of all, where there are none), by |AUROC − ½| of the reference's
    features, which know nothing of the training; of those that tell all pairs, by |d_z|. `active
    on`: tokens of their strongest contexts.
    """
    table = study.weakest.table
    significant = table[table["q_ref"] <= 0.05]
    ranked = (significant if len(significant) else table)[["auroc_ref", "dz_ref"]].copy()
    ranked["auroc_ref"] -= 0.5
    order = ranked.abs().sort_values(["auroc_ref", "dz_ref"], ascending=False, kind="stable")
    out = []
    for i in order.index[:count]:
        effect = table.loc[i, "effect_ref"]
        near = contexts(study.weakest.diff, i, study.rows, study.inputs.tokenizer)
        words = [token_text(c["tokens"][c["at"]]) for c in near if c["kind"] == "top"]
        out.append(
            {
                "feature": int(i),
                "more in": "neither" if not effect else "chosen" if effect > 0 else "rejected",
                "AUROC": float(table.loc[i, "auroc_ref"]),
                "d_z": float(table.loc[i, "dz_ref"]),
                "q": float(table.loc[i, "q_ref"]),
                "drift (rejected)": float(table.loc[i, "drift_rejected"]),
                "active on": " ".join(pd.Series(words).value_counts().index[:4]),
                "decoder speaks for": _words(study, i, "up", 4),
            }
        )
    return out


def telling_title(study: Study) -> str:
    """What `telling` holds: features that do tell, or the largest differences where none does."""
    q = study.weakest.table["q_ref"]
    told = int((q <= 0.05).sum())
    if not told:
        return (
            f"No feature tells chosen from rejected (q ≤ .05); the largest of {len(q)} differences"
        )
    return f"Features that tell chosen from rejected best, of {told} that do (q ≤ .05)"


def card(study: Study, feature: int) -> list[Plain]:
    """One feature in numbers, reference beside policy; its neighbours, and the tokens it is for."""
    row = study.weakest.table.loc[feature]
    names = {"density": "density", "mean where active": "mean", "largest": "max",
             "effect d_z": "dz", "AUROC": "auroc"}  # fmt: skip
    near = ", ".join(
        f"{i} ({c:.2f})" for i, c in zip(row["nearest"], row["nearest_cosine"], strict=True)
    )
    up, down = (_words(study, feature, side, 6) for side in ("up", "down"))
    return [
        *({"": title, "reference": float(row[f"{n}_ref"]), "policy": float(row[f"{n}_policy"])}
          for title, n in names.items()),
        {"": "nearest by decoder", "reference": near, "policy": None},
        {"": "decoder for", "reference": up, "policy": None},
        {"": "decoder against", "reference": down, "policy": None},
    ]  # fmt: skip


def pairs(study: Study, feature: int, count: int = 5) -> list[Plain]:
    """The pairs whose rejected answer drifted most in one feature."""
    return largest_pairs(study.weakest.diff, feature, count).to_dict("records")


def save(study: Study, out: Path) -> None:
    """Write the feature table (`features.parquet`) and the best features (`features.json`)."""
    end = study.weakest
    with whole(out / "features.parquet") as partial:
        end.table.to_parquet(partial)
    save_neuronpedia(
        end.diff, end.table, study.lens, study.rows, study.inputs.tokenizer, out / "features.json",
        model_name=study.inputs.name, features=[row["feature"] for row in telling(study)],
    )  # fmt: skip


def _words(study: Study, feature: int, side: str, count: int) -> str:
    return " ".join(token_text(t) for t in study.lens.loc[feature, side][:count])
