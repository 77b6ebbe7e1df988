"""Figures of probes, directions, dose and response, cost."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import plotly.graph_objects as go
import torch

from workbench.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    INK,
    LEGEND_BELOW,
    ORANGE,
    PURPLE,
    RED,
    layout,
)


def head_map(
    values: torch.Tensor,
    title: str,
    *,
    marked: Sequence[tuple[int, int]] = (),
    name: str = "accuracy",
    center: float | None = None,
) -> go.Figure:
    """Heat map of `values` `[layer, head]`, float; `marked` heads, (layer, head), carry a dot.

    `name`: what the values are. With `center` the colours diverge around it (and it is white); else
    they rise from low to high.
    """
    n_layers, n_heads = values.shape
    figure = go.Figure(
        go.Heatmap(
            z=values.tolist(),
            x=list(range(n_heads)),
            y=list(range(n_layers)),
            colorscale="RdBu" if center is not None else "Blues",
            zmid=center,
            colorbar={"title": name},
            hovertemplate=f"layer %{{y}} head %{{x}}<br>{name} %{{z:.3f}}<extra></extra>",
        )
    )
    if marked:
        figure.add_scatter(
            x=[h for _, h in marked],
            y=[i for i, _ in marked],
            mode="markers",
            marker={"color": "white", "size": 9, "line": {"color": INK, "width": 1.5}},
            hoverinfo="skip",
            showlegend=False,
        )
    figure.update_xaxes(title="head", dtick=max(1, n_heads // 16), showgrid=False)
    figure.update_yaxes(title="layer", dtick=max(1, n_layers // 16), showgrid=False)
    return layout(figure, title, height=170 + 34 * min(n_layers, 16))


def dose_response(
    curves: Mapping[str, Mapping[float, Sequence[float]]],
    title: str,
    *,
    chosen: float | None = None,
    y_name: str = "",
    reference: tuple[str, float] | None = None,
) -> go.Figure:
    """Rates against alpha: the mean over seeds as a line, their range as a band.

    `curves`: name → alpha → one value per seed. `chosen`: the alpha to mark; `reference`: a named
    horizontal line. With `y_name` the values are not shares but what it says.
    """
    figure = go.Figure()
    colours = cycle((RED, BLUE, GREY, GREEN, ORANGE, PURPLE, INK))
    for (name, curve), colour in zip(curves.items(), colours, strict=False):
        alphas = sorted(curve)
        mean_and_range(
            figure, alphas, [curve[a] for a in alphas], colour, name=name, mode="lines+markers"
        )
    if chosen is not None:
        figure.add_vline(x=chosen, line={"color": INK, "dash": "dot"}, annotation_text="chosen")
    figure.update_xaxes(title="alpha (units of σ)")
    if reference:
        figure.add_hline(y=reference[1], line={"color": INK, "dash": "dash"},
                         annotation_text=reference[0])  # fmt: skip
    if y_name:
        figure.update_yaxes(title=y_name)
    else:
        figure.update_yaxes(title="share of requests", range=[-0.03, 1.03], tickformat=".0%")
    return layout(figure, title, legend=LEGEND_BELOW)


def cosine_bars(cosines: Mapping[str, Mapping[tuple[int, int], float]], title: str) -> go.Figure:
    """One dot per head that two sets of directions share: the cosine of its two directions.

    `cosines`: pair of sets → (layer, head) → cosine.
    """
    figure = go.Figure()
    for name, heads in cosines.items():
        figure.add_box(
            y=list(heads.values()),
            name=f"{name} ({len(heads)} heads)",
            boxpoints="all",
            jitter=0.4,
            pointpos=0,
            marker={"size": 5},
            text=[f"layer {i} head {h}" for i, h in heads],
            line={"width": 1},
        )
    figure.update_yaxes(title="cosine", range=[-1.05, 1.05])
    return layout(figure, title, showlegend=False)


def radar(profiles: Mapping[str, Mapping[str, float]], title: str) -> go.Figure:
    """Closed lines over named axes, from 1 to 5; the first one solid, the others dotted.

    `profiles`: name → axis → value.
    """
    figure = go.Figure()
    colours = cycle((INK, RED, BLUE, GREEN, GREY, ORANGE, PURPLE))
    for (name, values), colour in zip(profiles.items(), colours, strict=False):
        axes = [*values, next(iter(values))]
        figure.add_scatterpolar(
            r=[values[a] for a in axes],
            theta=axes,
            name=name,
            mode="lines+markers",
            line={
                "color": colour,
                "width": 2,
                "dash": "solid" if name == next(iter(profiles)) else "dot",
            },
        )
    figure.update_polars(radialaxis={"range": [1, 5], "dtick": 1, "angle": 90, "tickangle": 90})
    return layout(figure, title, height=460, showlegend=len(profiles) > 1)


def scatter(
    x: Sequence[float],
    y: Sequence[float],
    title: str,
    *,
    axes: tuple[str, str],
    text: Sequence[str],
) -> go.Figure:
    """One labelled dot per (x, y). `axes`: titles of x and y; `text`: one label per dot."""
    figure = go.Figure(
        go.Scatter(
            x=list(x),
            y=list(y),
            text=list(text),
            mode="markers",
            marker={"color": BLUE, "size": 9, "line": {"color": "white", "width": 1}},
        )
    )
    figure.update_xaxes(title=axes[0])
    figure.update_yaxes(title=axes[1])
    return layout(figure, title)


def cell_map(
    z: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    title: str,
    *,
    axes: tuple[str, str],
    name: str,
    signed: bool = False,
) -> go.Figure:
    """Heat map of shares `z[row][column]` (0 to 1), the number written in each cell.

    `axes`: titles of rows and columns; `name`: what the shares are. None leaves a cell empty.
    `signed`: −1 to 1, colours diverging around 0.
    """
    figure = go.Figure(
        go.Heatmap(
            z=[list(line) for line in z],
            x=list(columns),
            y=list(rows),
            zmin=-1 if signed else 0,
            zmax=1,
            colorscale="RdBu" if signed else "Blues",
            texttemplate="%{z:.2f}",
            colorbar={"title": name},
        )
    )
    figure.update_xaxes(title=axes[1], type="category", showgrid=False)
    figure.update_yaxes(title=axes[0], type="category", showgrid=False, autorange="reversed")
    return layout(figure, title, height=170 + 34 * len(rows))


def cost_curves(
    curves: Mapping[str, Sequence[Sequence[tuple[float, float]]]],
    title: str,
    *,
    points: Mapping[str, tuple[float, float]],
) -> go.Figure:
    """Accuracy against generated tokens per question (log axis).

    `curves`: name → seed → [(tokens, accuracy)], as many points for each seed; line: mean over
    seeds, bars: their range. `points`: name → (tokens, accuracy) of methods without a curve.
    """
    figure = go.Figure()
    for (name, seeds), colour in zip(curves.items(), cycle(COLOURS), strict=False):
        n = min(map(len, seeds))
        xs = [sum(s[i][0] for s in seeds) / len(seeds) for i in range(n)]
        ys = [[s[i][1] for s in seeds] for i in range(n)]
        mean = [sum(y) / len(y) for y in ys]
        figure.add_scatter(
            x=xs,
            y=mean,
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [max(y) - m for y, m in zip(ys, mean, strict=True)],
                "arrayminus": [m - min(y) for y, m in zip(ys, mean, strict=True)],
                "thickness": 1,
            },
        )
    for name, (x, y) in points.items():
        figure.add_scatter(
            x=[x],
            y=[y],
            name=name,
            mode="markers",
            marker={"color": GREY, "size": 11, "symbol": "diamond"},
        )
    figure.update_xaxes(title="generated tokens a question (log)", type="log")
    figure.update_yaxes(title="accuracy", tickformat=".0%")
    return layout(figure, title, height=420, legend=LEGEND_BELOW)


def mean_and_range(
    figure: go.Figure,
    x: Sequence[float],
    values: Sequence[Sequence[float]],
    colour: str,
    *,
    row: int | None = None,
    col: int | None = None,
    **line: Any,
) -> None:
    """Add a line at the mean of `values[i]` at each `x[i]`, and a band from smallest to largest."""
    high, low = [max(v) for v in values], [min(v) for v in values]
    figure.add_scatter(
        x=[*x, *reversed(x)], y=[*high, *reversed(low)], fill="toself", fillcolor=colour,
        opacity=0.15, line={"width": 0}, hoverinfo="skip", showlegend=False, row=row, col=col,
    )  # fmt: skip
    figure.add_scatter(
        x=list(x), y=[sum(v) / len(v) for v in values], line={"color": colour, "width": 2},
        row=row, col=col, **line,
    )  # fmt: skip
