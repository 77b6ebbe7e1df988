"""Figures of a compiled network at work."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.papers.neural_comprehension.inspect_network import Run, attention
from workbench.plots.style import COLOURS, INK, LEGEND_BELOW, ORANGE, layout


def attention_maps(run: Run, variable: str) -> go.Figure:
    """A head's attention beside the table that the reference predicts; the title says how far off.

    Raises `ValueError` for a variable that no head writes.
    """
    measured, predicted = attention(run, variable)
    queries = [f"{i} {symbol}" for i, symbol in enumerate(run.symbols)]
    figure = make_subplots(cols=2, subplot_titles=("the head", "the reference"), shared_yaxes=True)
    for col, table in enumerate((measured, predicted), 1):
        figure.add_heatmap(
            z=table.tolist(), x=["BOS", *queries], y=queries, zmin=0, zmax=1, colorscale="Blues",
            showscale=col == 2, xgap=1, ygap=1, row=1, col=col,
            hovertemplate="query %{y}<br>key %{x}<br>%{z:.6f}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title="key", type="category", tickangle=0, row=1, col=col)
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_yaxes(title="query", col=1)
    apart = float((measured - predicted).abs().max())
    title = f"Attention of {variable}: {apart:.2g} from the reference at most"
    return layout(figure, title, height=170 + 24 * len(queries))


def stream_map(run: Run, step: int) -> go.Figure:
    """The residual stream after a step, positions × dimensions in blocks of variables.

    Numbers are drawn as a share of the largest that they can be; what the step wrote is framed.
    """
    inspected, stream = run.inspected, run.streams[step]
    compiled, labels = inspected.compiled, inspected.network.config.labels
    scale, frames, middles = stream.new_ones(len(labels)), [], {}
    for name, node in inspected.variables.items():
        dims = list(compiled.of[node].values())
        if None in compiled.of[node]:
            scale[dims] = max(1.0, *map(abs, compiled.domain[node]))
        middle = (min(dims) + max(dims)) / 2
        close = next((place for place in middles if abs(place - middle) < len(labels) / 50), middle)
        middles[close] = f"{middles[close]}, {name}" if close in middles else name
        line = {"color": ORANGE, "width": 2} if compiled.depth[node] == step else {"width": 0.5}
        frames.append({"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "line": line,
                       "x0": min(dims) - 0.5, "x1": max(dims) + 0.5})  # fmt: skip
    rows = ["BOS", *(f"{i} {symbol}" for i, symbol in enumerate(run.symbols))]
    figure = go.Figure(go.Heatmap(
        z=(stream / scale).tolist(), y=rows, customdata=[[*zip(labels, row, strict=True)]
        for row in stream.tolist()], zmin=-1, zmax=1, colorscale="RdBu", showscale=False, ygap=1,
        hovertemplate="position %{y}<br>%{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
    ), layout={"shapes": frames})  # fmt: skip
    figure.update_xaxes(tickvals=list(middles), ticktext=list(middles.values()), tickangle=-60)
    figure.update_yaxes(title="position", type="category", autorange="reversed")
    title = f"Residual stream after {inspected.steps[step]}"
    return layout(figure, title, height=230 + 22 * len(rows))


def margin_curves(margins: Mapping[str, Mapping[int, float]], x_name: str) -> go.Figure:
    """Margins by dtype against what grows along x (`x_name`); below the line at 0 it is wrong."""
    figure = go.Figure()
    for (name, curve), colour in zip(margins.items(), COLOURS, strict=False):
        figure.add_scatter(x=list(curve), y=list(curve.values()), name=name, line={"color": colour})
    figure.add_hline(y=0, line={"color": INK, "dash": "dash"}, annotation_text="wrong below")
    figure.update_xaxes(title=x_name)
    figure.update_yaxes(title="margin (1: exact)", range=[-1.1, 1.1])
    return layout(figure, "How clearly the network is right", legend=LEGEND_BELOW)
