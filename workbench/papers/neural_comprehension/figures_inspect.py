"""Figures of a compiled network at work."""

from itertools import groupby

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.arguments import whole
from workbench.papers.neural_comprehension.inspect_network import Run, attention
from workbench.plots.style import ORANGE, layout


def attention_maps(run: Run, variable: str) -> go.Figure:
    """A head's attention beside the table that the reference predicts; the title says how far off.

    Raises `ValueError` for a variable that no head writes.
    """
    measured, predicted = attention(run, variable)
    queries = [f"{i} {symbol}" for i, symbol in enumerate(run.symbols)]
    gap, angle, row = (1, 0, 24) if len(queries) < 13 else (0, -90, 14)
    figure = make_subplots(cols=2, subplot_titles=("the head", "the reference"), shared_yaxes=True)
    for col, table in enumerate((measured, predicted), 1):
        figure.add_heatmap(
            z=table.tolist(), x=["BOS", *queries], y=queries, zmin=0, colorscale="Blues",
            zmax=float(predicted.max()), showscale=col == 2, xgap=gap, ygap=gap, row=1, col=col,
            hovertemplate="query %{y}<br>key %{x}<br>%{z:.6f}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title="key", type="category", tickangle=angle, row=1, col=col)
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_yaxes(title="query", col=1)
    apart = float((measured - predicted).abs().max())
    title = f"Attention of {variable}, at most {apart:.2g} away from the reference"
    return layout(figure, title, height=180 + row * len(queries))


def stream_map(run: Run, step: int) -> go.Figure:
    """The residual stream after a step, positions × dimensions in blocks of variables.

    Numbers are drawn as a share of the largest that they can be; what the step wrote is framed.
    Raises `ValueError` for no step.
    """
    step = whole("step", step, 0, len(run.streams) - 1)
    inspected, stream = run.inspected, run.streams[step]
    compiled, labels = inspected.compiled, inspected.network.config.labels
    names = {node: name for name, node in inspected.variables.items()} | {None: "constants"}
    scale, frames, middles = stream.new_ones(len(labels)), [], {}
    for node, block in groupby(range(len(labels)), key=lambda dim: compiled.labels[dim][0]):
        dims, name = list(block), names.get(node, "index")
        if None in compiled.of.get(node, ()):
            scale[dims] = max(1.0, *map(abs, compiled.domain[node]))
        middle = (min(dims) + max(dims)) / 2
        close = next((place for place in middles if abs(place - middle) < len(labels) / 50), middle)
        middles[close] = f"{middles[close]}, {name}" if close in middles else name
        line = {"color": ORANGE, "width": 2} if compiled.depth.get(node) == step else {"width": 0.5}
        frames.append({"type": "rect", "yref": "paper", "y0": 0, "y1": 1, "line": line,
                       "x0": min(dims) - 0.5, "x1": max(dims) + 0.5})  # fmt: skip
    rows = ["BOS", *(f"{i} {symbol}" for i, symbol in enumerate(run.symbols))]
    figure = go.Figure(go.Heatmap(
        z=(stream / scale).tolist(), y=rows, customdata=[[*zip(labels, row, strict=True)]
        for row in stream.tolist()], zmin=-1, zmax=1, colorscale="RdBu", showscale=False, ygap=1,
        hovertemplate="position %{y}<br>%{customdata[0]}: %{customdata[1]:.4g}<extra></extra>",
    ), layout={"shapes": frames})  # fmt: skip
    figure.update_xaxes(tickvals=list(middles), ticktext=list(middles.values()), tickangle=-60,
                        title="blue: 1; a number as a share of its largest, red below 0; framed: "
                        "written by this step")  # fmt: skip
    figure.update_yaxes(title="position", type="category", autorange="reversed")
    title = f"Residual stream after {inspected.steps[step]}"
    return layout(figure, title, height=250 + (22 if len(rows) < 40 else 14) * len(rows))
