"""Figures of a study: accuracy by length, reading against computing, faster fit."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from workbench.papers.neural_comprehension import inspect_network
from workbench.papers.neural_comprehension.certificate import DTYPES
from workbench.papers.neural_comprehension.paper import TABLE_3
from workbench.papers.neural_comprehension.study import Cell, Study
from workbench.papers.neural_comprehension.tables import share
from workbench.papers.neural_comprehension.tasks import TASKS, WINDOWS, task
from workbench.plots.style import BLUE, COLOURS, GREEN, GREY, LEGEND_BELOW, RED, layout

BY_MODE = {"gated": BLUE, "ungated": RED, "transcribed": GREEN, "program": GREY}
WIDTHS = {"transcribed": 9, "gated": 5, "program": 2, "ungated": 2}
"""The first three often lie on each other."""
NAMES = {"gated": "with the gate", "ungated": "the model alone", "transcribed": "read right",
         "program": "a calculator"}  # fmt: skip


def by_length(study: Study) -> go.Figure:
    """Fig. 4: accuracy of every task by length, with the gate and without it."""
    tasks = list(study.settings.tasks)
    panels = {task: study.of(task) for task in tasks}
    title = f"Accuracy by length, {study.model} ({study.settings.rows} inputs each)"
    return _panels(panels, ("gated", "ungated"), title, "symbols, or digits of an operand")


def reading(study: Study) -> go.Figure:
    """Fig. 6 in miniature: what was read, and what was answered, by digits; AddSub+ beside it."""
    modes = ("transcribed", "gated", "program", "ungated")
    title = f"Reading against computing, {study.model}"
    kinds = {"word problems": "pens", "AddSub+": "addsub_plus"}
    panels = {name: cells for name, kind in kinds.items() if (cells := study.of(kind))}
    return _panels(panels, modes, title, "digits of each number")


def coins(study: Study) -> go.Figure:
    """Fig. 5 in miniature: coin flips at stages of training."""
    title = "Faster fit, no longer reading"
    return _panels(study.stages, ("transcribed", "gated", "ungated"), title, "people in the story")


def parity_margins(window: int) -> go.Figure:
    """How clearly the network of parity counts ones, up to a window, in each dtype."""
    parity = inspect_network.inspected(task("parity").program(window), window, "parity")
    figure, counts = go.Figure(), list(range(1, window + 1, 3))
    for dtype, colour in zip(DTYPES, COLOURS, strict=False):
        runs = [inspect_network.read(parity, "1" * n, None, getattr(torch, dtype)) for n in counts]
        margins = map(inspect_network.margin, runs)
        figure.add_scatter(x=counts, y=[*margins], name=dtype, line={"color": colour})
    figure.add_hline(y=0, line={"dash": "dash"}, annotation_text="wrong below")
    figure.update_xaxes(title="ones to be counted")
    figure.update_yaxes(title="margin (1: exact)", range=[-1.1, 1.1])
    return layout(figure, "How clearly the network of parity is right", legend=LEGEND_BELOW)


def growth(windows: Sequence[int] = WINDOWS) -> go.Figure:
    """How each task's network grows with its window; crosses are the published ones (Table 3)."""
    sizes = ("layers", "heads in a layer, at most", "width", "parameters")
    figure = make_subplots(rows=2, cols=2, subplot_titles=sizes, vertical_spacing=0.16)
    for (name, symbolic), colour in zip(TASKS.items(), COLOURS, strict=False):
        ours = [(len(n.config.heads), max(n.config.heads), n.config.d_model, n.num_parameters())
                for n in map(symbolic.network, windows)]  # fmt: skip
        layers, heads, _, place, width, _, parameters = TABLE_3[name]
        theirs = (layers, heads, width, parameters)
        for i, values in enumerate(zip(*ours, strict=True)):
            figure.add_scatter(
                x=[*windows, None, place], y=[*values, None, theirs[i]], name=name,
                mode="lines+markers", line={"color": colour}, legendgroup=name, showlegend=not i,
                marker={"size": 9, "symbol": ["circle"] * (len(windows) + 1) + ["x"]},
                row=i // 2 + 1, col=i % 2 + 1,
            )  # fmt: skip
    figure.update_xaxes(title="window, in symbols", row=2).update_yaxes(type="log", dtick=1, row=2)
    return layout(
        figure, "Our networks, and as crosses the published ones", 620, legend=LEGEND_BELOW
    )


def _panels(
    panels: Mapping[str, Sequence[Cell]], modes: Sequence[str], title: str, x: str
) -> go.Figure:
    """A panel per name, a line per mode with Wilson's intervals as bars."""
    columns = min(3, len(panels)) or 1
    figure = make_subplots(
        rows=-(-len(panels) // columns) or 1, cols=columns, shared_yaxes=True,
        subplot_titles=[name.replace("_", " ") for name in panels],
    )  # fmt: skip
    for place, cells in enumerate(panels.values()):
        row, col = place // columns + 1, place % columns + 1
        for mode in modes:
            if mode == "transcribed" and not cells[0].read[0]:
                continue  # what a reply has to write first is not known of published problems
            values = [c.transcribed() if mode == "transcribed" else c.right(mode) for c in cells]
            shares = [share(mode, value) for value in values]
            ends = [s["ci95"] or (s["value"], s["value"]) for s in shares]
            figure.add_scatter(
                x=[cell.size for cell in cells], y=[s["value"] for s in shares], name=NAMES[mode],
                mode="lines+markers", line={"color": BY_MODE[mode], "width": WIDTHS[mode]},
                legendgroup=mode, showlegend=place == 0, row=row, col=col,
                error_y={"type": "data", "symmetric": False, "thickness": 1,
                         "array": [e[1] - s["value"] for e, s in zip(ends, shares, strict=True)],
                         "arrayminus": [s["value"] - e[0]
                                        for e, s in zip(ends, shares, strict=True)]},
            )  # fmt: skip
        figure.update_xaxes(title=x, row=row, col=col)
    figure.update_yaxes(range=[-0.03, 1.05], tickformat=".0%")
    height = 150 + 250 * (-(-len(panels) // columns))
    return layout(figure, title, height=height, legend=LEGEND_BELOW)
