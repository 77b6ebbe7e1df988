"""Figures of SAE features in a policy and its reference, and tokens as one reads them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from workbench.plots.style import BLUE, GREY, INK, RED, layout


def volcano(table: pd.DataFrame, title: str) -> go.Figure:
    """Preference effect d_z against −log10 q of each feature, coloured by its share of D(rejected).

    `table`: a row per feature, columns `dz_policy`, `q_policy` and `share_rejected`. The dashed
    line is a false discovery rate of .05: what is above it is kept.
    """
    shown = table[table["q_policy"].notna() & np.isfinite(table["dz_policy"])]
    share = shown["share_rejected"] / max(table["share_rejected"].sum(), 1e-30)
    figure = go.Figure(
        go.Scatter(
            x=shown["dz_policy"], y=-np.log10(shown["q_policy"]), mode="markers",
            text=[f"feature {i}" for i in shown.index],
            marker={"color": share, "colorscale": "Reds", "cmin": 0, "size": 9,
                    "colorbar": {"title": "share of<br>D(rejected)"},
                    "line": {"color": GREY, "width": 1}},
        )
    )  # fmt: skip
    line = {"color": INK, "dash": "dash"}
    figure.add_hline(y=-np.log10(0.05), line=line, annotation_text="q = 0.05")
    figure.update_xaxes(title="preference effect d_z (chosen − rejected)")
    figure.update_yaxes(title="−log10 q (Benjamini–Hochberg)")
    return layout(figure, title)


def drift_scatter(reference: Sequence[float], policy: Sequence[float], title: str) -> go.Figure:
    """Mean pooled activation, reference against policy, one dot per feature; on the line: equal."""
    top = 1.05 * max([*reference, *policy, 1e-9])
    figure = go.Figure(
        go.Scatter(x=[0, top], y=[0, top], mode="lines", hoverinfo="skip", showlegend=False,
                   line={"color": INK, "dash": "dash", "width": 1})
    )  # fmt: skip
    figure.add_scatter(
        x=list(reference), y=list(policy), mode="markers",
        text=[f"feature {i}" for i in range(len(reference))],
        marker={"color": BLUE, "size": 8, "line": {"color": "white", "width": 1}}, showlegend=False,
    )  # fmt: skip
    figure.update_xaxes(title="reference, pooled over rejected responses")
    figure.update_yaxes(title="policy")
    return layout(figure, title)


def penalty_waterfall(steps: pd.Series, title: str) -> go.Figure:
    """What each feature adds to the distance D: `steps` by feature, in their order, and the sum."""
    figure = go.Figure(
        go.Waterfall(
            x=[*map(str, steps.index), "D"], y=[*steps, steps.sum()],
            measure=["relative"] * len(steps) + ["total"],
            increasing={"marker": {"color": RED}}, totals={"marker": {"color": INK}},
            connector={"line": {"color": GREY, "width": 1}},
        )
    )  # fmt: skip
    figure.update_xaxes(title="feature", type="category")
    figure.update_yaxes(title="added to D")
    return layout(figure, title, showlegend=False)


def activation_histogram(bins: dict[str, Any], title: str) -> go.Figure:
    """Token counts by activation (log axis), policy over reference.

    `bins`: `edges` of the bins, and counts of `policy` and `ref`, one fewer.
    """
    edges, figure = np.array(bins["edges"]), go.Figure()
    for name, colour in (("ref", GREY), ("policy", BLUE)):
        counts = np.array(bins[name])
        used = counts > 0
        figure.add_bar(x=edges[:-1][used].clip(1e-4), y=counts[used], name=name, opacity=0.6,
                       width=(edges[1:] - edges[:-1])[used], offset=0,
                       marker={"color": colour})  # fmt: skip
    figure.update_xaxes(title="activation", type="log")
    figure.update_yaxes(title="tokens")
    return layout(figure, title, barmode="overlay", height=300)


def token_map(contexts: Sequence[dict[str, Any]], title: str, *, window: int = 5) -> go.Figure:
    """Contexts as lines of tokens, shaded by the policy's activation, their own token in column 0.

    `contexts`: each with `tokens`, `policy` (activation on each token), `at` (place of its own
    token), `kind`, `pair` and `side`; up to `window` tokens before and after are shown.
    """
    width = range(-window, window + 1)
    activations, texts = [], []
    for context in contexts:
        inside = range(len(context["tokens"]))
        places = [p if (p := context["at"] + i) in inside else None for i in width]
        activations.append([None if p is None else context["policy"][p] for p in places])
        texts.append([token_text(None if p is None else context["tokens"][p]) for p in places])
    labels = [
        f"{i + 1} · {c['kind']} · pair {c['pair']} {c['side']}" for i, c in enumerate(contexts)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=activations, text=texts, x=list(width), y=labels, colorscale="Oranges",
            zmin=0, texttemplate="%{text}", textfont={"size": 11}, colorbar={"title": "policy"},
            xgap=1, ygap=2, hovertemplate="%{text}<br>%{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    return layout(figure, title, height=130 + 26 * len(contexts))


def token_text(token: str | None) -> str:
    """A token as text: byte-level and sentencepiece spaces and line ends as one sees them."""
    return (token or "").replace("Ġ", " ").replace("▁", " ").replace("Ċ", "⏎").replace("\n", "⏎")
