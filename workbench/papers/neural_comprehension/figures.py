"""Figures of a study: accuracy by length, reading against computing, faster fit."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from workbench.papers.neural_comprehension import inspect_network
from workbench.papers.neural_comprehension.certificate import DTYPES
from workbench.papers.neural_comprehension.figures_inspect import margin_curves
from workbench.papers.neural_comprehension.study import Cell, Study
from workbench.papers.neural_comprehension.tables import share
from workbench.papers.neural_comprehension.tasks import task
from workbench.plots.style import BLUE, GREEN, GREY, LEGEND_BELOW, RED, layout

COLOURS = {"gated": BLUE, "ungated": RED, "transcribed": GREEN, "program": GREY}
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
    runs = {n: inspect_network.read(parity, "1" * n) for n in range(1, window + 1, 3)}
    margins = {name: {n: inspect_network.margin(run, getattr(torch, name))
                      for n, run in runs.items()} for name in DTYPES}  # fmt: skip
    return margin_curves(margins, "ones to be counted")


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
                mode="lines+markers", line={"color": COLOURS[mode], "width": WIDTHS[mode]},
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
