"""One feature from near: contexts with its activation on every token, histograms, pairs, export."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.errors import FeatureError
from workbench.sae.counts import EDGES
from workbench.sae.diff import FeatureDiff

Plain = dict[str, Any]
Rows = Sequence[dict[str, list[int]]]


def contexts(
    run: FeatureDiff, feature: int, rows: Rows, tokenizer: Any, *, window: int = 12
) -> list[Plain]:
    """Where a feature is active: its strongest tokens, then five of each decile of a sample.

    `rows`: those the run was built of. Each: `kind` ("top" or "decile 1" to "10", 10 the
    strongest), `pair`, `side`, `at` (place of the token in `tokens`), `value` max(policy, ref),
    `tokens` of up to `window` before and after it, `policy`, `ref`: activations on them, 0 on the
    prompt, of which only the last token is read. Raises `FeatureError` for a feature or rows that
    are not the run's.
    """
    _check(run, feature, rows)
    c = run.counts
    kept = [
        ("top", v, p) for v, p in zip(c.top_value[feature], c.top_place[feature], strict=True)
        if v > 0
    ]  # fmt: skip
    some = c.sample_place[feature, :, 0] >= 0
    order = np.argsort(c.sample_value[feature][some], kind="stable")
    places = c.sample_place[feature][some][order]
    values = c.sample_value[feature][some][order]
    for i in reversed(range(len(values))):
        kept.append((f"decile {10 * i // len(values) + 1}", values[i], places[i]))
    return [
        {
            "kind": kind,
            "value": float(value),
            **_window(run, feature, rows, place, tokenizer, window),
        }
        for kind, value, place in kept
    ]


def histogram(run: FeatureDiff, feature: int) -> Plain:
    """`edges` of 64 bins (the outer two open) and token counts of `policy` and `ref`."""
    policy, ref = run.counts.histogram[:, :, feature].sum(1).tolist()
    return {"edges": [0.0, *EDGES.tolist(), float("inf")], "policy": policy, "ref": ref}


def largest_pairs(run: FeatureDiff, feature: int, count: int = 10) -> pd.DataFrame:
    """Pairs whose rejected response drifted most in this feature: `pair`, `policy`, `ref`, `drift`.

    Pooled activations; falling by |drift|.
    """
    policy, ref = (
        run.pooled[who, "rejected"].tocsc()[:, feature].toarray().ravel()
        for who in ("policy", "ref")
    )
    order = np.argsort(-np.abs(policy - ref), kind="stable")[:count]
    return pd.DataFrame(
        {
            "pair": order + run.meta["first_row"], "policy": policy[order], "ref": ref[order],
            "drift": (policy - ref)[order],
        }
    )  # fmt: skip


def save_neuronpedia(
    run: FeatureDiff,
    table: pd.DataFrame,
    lens: pd.DataFrame,
    rows: Rows,
    tokenizer: Any,
    path: str | Path,
    *,
    model_name: str,
    features: Sequence[int],
) -> None:
    """Write `features` as JSON in the field names of a Neuronpedia feature page, of the policy.

    `table`: of `feature_table`; `lens`: of `feature_lens.lens` for those features.
    """
    out = []
    for i in features:
        bins = histogram(run, i)
        used = [n for n, count in enumerate(bins["policy"]) if count]
        out.append(
            {
                "modelId": model_name,
                "hookName": run.meta["hook"],
                "index": str(i),
                "frac_nonzero": float(table.loc[i, "density_policy"]),
                "maxActApprox": float(table.loc[i, "max_policy"]),
                "freq_hist_data_bar_heights": [bins["policy"][n] for n in used],
                "freq_hist_data_bar_values": [bins["edges"][n] for n in used],
                "pos_str": list(lens.loc[i, "up"]),
                "pos_values": list(lens.loc[i, "up_logits"]),
                "neg_str": list(lens.loc[i, "down"]),
                "neg_values": list(lens.loc[i, "down_logits"]),
                "topkCosSimIndices": list(table.loc[i, "nearest"]),
                "topkCosSimValues": list(table.loc[i, "nearest_cosine"]),
                "activations": [_activation(x) for x in contexts(run, i, rows, tokenizer)],
            }
        )
    path = Path(path)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(out), encoding="utf-8")
    partial.replace(path)


def save_concepts(
    run: FeatureDiff, lens: pd.DataFrame, concepts: dict[str, list[int]], path: str | Path
) -> None:
    """Write named sets of features as JSON: each with the tokens it speaks for, and of which run.

    `lens`: of `feature_lens.lens`. Raises `FeatureError` for no concept, or a feature that the run
    does not have.
    """
    if not concepts:
        raise FeatureError("no concept is marked yet")
    for index in (i for features in concepts.values() for i in features):
        _check(run, index)
    of = {k: run.meta[k] for k in ("hook", "sae", "policy", "ref", "features")}
    found = {
        name: [{"feature": i, "up": lens.loc[i, "up"], "down": lens.loc[i, "down"]} for i in some]
        for name, some in concepts.items()
    }
    text = json.dumps({"format": "workbench.concepts.1", **of, "concepts": found}, indent=1)
    Path(path).write_text(text, encoding="utf-8")


def _activation(context: Plain) -> Plain:
    values = context["policy"]
    return {
        "tokens": context["tokens"],
        "values": values,
        "maxValue": max(values),
        "maxValueTokenIndex": int(np.argmax(values)),
        "minValue": min(values),
        "dataIndex": f"{context['pair']}-{context['side']}",
        "binContains": context["kind"],
    }


def _window(
    run: FeatureDiff, feature: int, rows: Rows, place: np.ndarray, tokenizer: Any, window: int
) -> Plain:
    pair, side, position = (int(p) for p in place)
    row = rows[pair - run.meta["first_row"]]
    prompt = row["prompt_ids"]
    ids = prompt + row[("chosen_ids", "rejected_ids")[side]]
    start, stop = max(position - window, 0), min(position + window + 1, len(ids))
    shown = np.zeros((2, len(ids)))
    # The first stored token is the prompt's last one, from which the response's first is predicted.
    for who, stored in enumerate(run.tokens(pair, side)):
        found = stored[:, [feature]].toarray()[:, 0]
        shown[who, len(prompt) - 1 : len(prompt) - 1 + len(found)] = found
    return {
        "pair": pair,
        "side": ("chosen", "rejected")[side],
        "at": position - start,
        "tokens": tokenizer.convert_ids_to_tokens(ids[start:stop]),
        "policy": shown[0, start:stop].tolist(),
        "ref": shown[1, start:stop].tolist(),
    }


def _check(run: FeatureDiff, feature: int, rows: Rows | None = None) -> None:
    m = run.meta["features"]
    if not 0 <= feature < m:
        raise FeatureError(f"feature {feature}: the run has 0 to {m - 1}")
    if rows is not None and len(rows) != run.meta["rows"]:
        raise FeatureError(f"{len(rows)} rows, but {run.folder} was built of {run.meta['rows']}")
