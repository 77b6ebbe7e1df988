"""Figures of training: curves over steps with their spread over seeds, values by condition."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.plots.figures import mean_and_range
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout

Curve = Sequence[tuple[int, float]]


def training_curves(
    panels: Mapping[str, Mapping[str, Sequence[Curve]]], title: str, *, y_name: str = ""
) -> go.Figure:
    """Curves over steps, side by side: the mean over seeds as a line, their range as a band.

    `panels`: panel → name → one curve per seed, [(step, value)]. A name has the same colour in
    every panel. Steps that not every seed has are left out.
    """
    names = list(dict.fromkeys(n for curves in panels.values() for n in curves))
    figure = make_subplots(1, len(panels), subplot_titles=list(panels), shared_yaxes=True)
    for column, curves in enumerate(panels.values(), 1):
        for name, seeds in curves.items():
            by_seed = [dict(c) for c in seeds]
            steps = sorted(set.intersection(*map(set, by_seed)))
            shown = {t.name for t in figure.data if t.showlegend is not False}
            mean_and_range(
                figure, steps, [[curve[s] for curve in by_seed] for s in steps],
                COLOURS[names.index(name) % len(COLOURS)], row=1, col=column,
                name=name, mode="lines", legendgroup=name, showlegend=name not in shown,
            )  # fmt: skip
    figure.update_xaxes(title="step")
    figure.update_yaxes(title=y_name, row=1, col=1)
    return layout(figure, title, legend=LEGEND_BELOW)


def by_condition(
    values: Mapping[str, Mapping[str, Sequence[float]]], title: str, *, y_name: str, log: bool
) -> go.Figure:
    """One dot per seed over named conditions, a bar at their mean.

    `values`: name → condition → one value per seed. `log`: a logarithmic y axis.
    """
    figure = go.Figure()
    for (name, conditions), colour in zip(values.items(), cycle(COLOURS), strict=False):
        figure.add_scatter(
            x=[c for c, seeds in conditions.items() for _ in seeds],
            y=[v for seeds in conditions.values() for v in seeds],
            name=name, mode="markers", showlegend=True,
            marker={"color": colour, "size": 9, "line": {"color": "white", "width": 1}},
        )  # fmt: skip
        figure.add_scatter(
            x=list(conditions), y=[sum(s) / len(s) for s in conditions.values()],
            mode="markers", hoverinfo="skip", showlegend=False,
            marker={"symbol": "line-ew", "size": 26, "line": {"color": colour, "width": 2}},
        )  # fmt: skip
    figure.update_xaxes(type="category")
    figure.update_yaxes(title=y_name, type="log" if log else "linear")
    return layout(figure, title, legend=LEGEND_BELOW)
