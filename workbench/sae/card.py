"""One feature from near: contexts with its activation on every token, histograms, pairs, export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.arguments import whole
from workbench.errors import FeatureError
from workbench.sae.counts import EDGES
from workbench.sae.diff import FeatureDiff
from workbench.writing import write_json

Plain = dict[str, Any]
Rows = Sequence[dict[str, list[int]]]


def contexts(
    diff: FeatureDiff, feature: int, rows: Rows, tokenizer: Any, *, window: int = 12
) -> list[Plain]:
    """Where a feature is active: its strongest tokens, then five of each decile of a sample.

    `rows`: those the diff was built of. Each context: `kind` ("top" or "decile 1" to "10", 10 the
    strongest), `pair`, `side`, `at` (place of the token in `tokens`), `value` max(policy, ref),
    `tokens` of up to `window` before and after it, `policy`, `ref`: activations on them, 0 on the
    prompt, of which only the last token is read. Raises `FeatureError` for a feature or rows that
    are not the diff's.
    """
    _check(diff, feature, rows)
    window = whole("window", window, 0, error=FeatureError)
    counts = diff.counts
    strongest = zip(counts.top_value[feature], counts.top_place[feature], strict=True)
    chosen = [("top", value, place) for value, place in strongest if value > 0]
    drawn = counts.sample_place[feature, :, 0] >= 0
    order = np.argsort(counts.sample_value[feature][drawn], kind="stable")
    places = counts.sample_place[feature][drawn][order]
    values = counts.sample_value[feature][drawn][order]
    for i in reversed(range(len(values))):
        chosen.append((f"decile {10 * i // len(values) + 1}", values[i], places[i]))
    return [
        {
            "kind": kind,
            "value": float(value),
            **_window(diff, feature, rows, place, tokenizer, window),
        }
        for kind, value, place in chosen
    ]


def histogram(diff: FeatureDiff, feature: int) -> Plain:
    """`edges` of 64 bins (the outer two open) and token counts of `policy` and `ref`."""
    _check(diff, feature)
    policy, reference = diff.counts.histogram[:, :, feature].sum(1).tolist()
    return {"edges": [0.0, *EDGES.tolist(), float("inf")], "policy": policy, "ref": reference}


def largest_pairs(diff: FeatureDiff, feature: int, count: int = 10) -> pd.DataFrame:
    """Pairs whose rejected response drifted most in this feature: `pair`, `policy`, `ref`, `drift`.

    Pooled activations; falling by |drift|.
    """
    _check(diff, feature)
    count = whole("count", count, 1, error=FeatureError)
    policy, reference = (
        diff.pooled[who, "rejected"].tocsc()[:, feature].toarray().ravel()
        for who in ("policy", "ref")
    )
    order = np.argsort(-np.abs(policy - reference), kind="stable")[:count]
    return pd.DataFrame(
        {
            "pair": order + diff.meta["first_row"], "policy": policy[order],
            "ref": reference[order], "drift": (policy - reference)[order],
        }
    )  # fmt: skip


def save_neuronpedia(
    diff: FeatureDiff,
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

    `table`: of `feature_table`; `lens`: of `sae.lens.lens` for those features.
    """
    pages = []
    for i in features:
        bins = histogram(diff, i)
        filled = [n for n, count in enumerate(bins["policy"]) if count]
        pages.append(
            {
                "modelId": model_name,
                "hookName": diff.meta["hook"],
                "index": str(i),
                "frac_nonzero": float(table.loc[i, "density_policy"]),
                "maxActApprox": float(table.loc[i, "max_policy"]),
                "freq_hist_data_bar_heights": [bins["policy"][n] for n in filled],
                "freq_hist_data_bar_values": [bins["edges"][n] for n in filled],
                "pos_str": list(lens.loc[i, "up"]),
                "pos_values": list(lens.loc[i, "up_logits"]),
                "neg_str": list(lens.loc[i, "down"]),
                "neg_values": list(lens.loc[i, "down_logits"]),
                "topkCosSimIndices": list(table.loc[i, "nearest"]),
                "topkCosSimValues": list(table.loc[i, "nearest_cosine"]),
                "activations": [_activation(x) for x in contexts(diff, i, rows, tokenizer)],
            }
        )
    write_json(path, pages, indent=None)


def save_concepts(
    diff: FeatureDiff, lens: pd.DataFrame, concepts: dict[str, list[int]], path: str | Path
) -> None:
    """Write named sets of features as JSON: each with the tokens it speaks for, and of which diff.

    `lens`: of `sae.lens.lens`. Raises `FeatureError` for no concept, or a feature that the diff
    does not have.
    """
    if not concepts:
        raise FeatureError("no concept is marked yet")
    for index in (i for features in concepts.values() for i in features):
        _check(diff, index)
    named = {
        name: [
            {"feature": i, "up": lens.loc[i, "up"], "down": lens.loc[i, "down"]} for i in features
        ]
        for name, features in concepts.items()
    }
    origin = {k: diff.meta[k] for k in ("hook", "sae", "policy", "ref", "features")}
    write_json(path, {"format": "workbench.concepts.1", **origin, "concepts": named})


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
    diff: FeatureDiff, feature: int, rows: Rows, place: np.ndarray, tokenizer: Any, window: int
) -> Plain:
    pair, side, position = (int(p) for p in place)
    row = rows[pair - diff.meta["first_row"]]
    prompt = row["prompt_ids"]
    ids = prompt + row[("chosen_ids", "rejected_ids")[side]]
    start, stop = max(position - window, 0), min(position + window + 1, len(ids))
    shown = np.zeros((2, len(ids)))
    # The first stored token is the prompt's last one, from which the response's first is predicted.
    for who, stored in enumerate(diff.tokens(pair, side)):
        activation = stored[:, [feature]].toarray()[:, 0]
        shown[who, len(prompt) - 1 : len(prompt) - 1 + len(activation)] = activation
    return {
        "pair": pair,
        "side": ("chosen", "rejected")[side],
        "at": position - start,
        "tokens": tokenizer.convert_ids_to_tokens(ids[start:stop]),
        "policy": shown[0, start:stop].tolist(),
        "ref": shown[1, start:stop].tolist(),
    }


def _check(diff: FeatureDiff, feature: int, rows: Rows | None = None) -> None:
    whole("feature", feature, 0, diff.meta["features"] - 1, FeatureError)
    if rows is not None and len(rows) != diff.meta["rows"]:
        raise FeatureError(f"{len(rows)} rows, but {diff.folder} was built of {diff.meta['rows']}")
