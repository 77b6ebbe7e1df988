"""Colours, layout and lines with a band: what figures share."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

INK, GRID = "#22303c", "#e6eaee"
# Apart in normal sight and for the three kinds of colour blindness (tests/plots/test_style.py).
RED, BLUE, GREY, GREEN = "#b3260f", "#2a62e0", "#a6adb5", "#35bd70"
ORANGE, PURPLE = "#e4a820", "#74248e"
COLOURS = (BLUE, RED, INK, GREEN, ORANGE, PURPLE, GREY)


def layout(figure: go.Figure, title: str, height: int = 380, **more: Any) -> go.Figure:
    """The figure with our fonts, colours and margins; `more`: other layout properties."""
    figure.update_layout(
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 15}},
        template="plotly_white",
        font={"color": INK, "size": 12},
        colorway=COLOURS,
        height=height,
        margin={"l": 64, "r": 24, "t": 64, "b": 52},
        **more,
    )
    return figure


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
