"""Colours and layout that every figure shares."""

from typing import Any

import plotly.graph_objects as go

INK, GRID = "#22303c", "#e6eaee"
# Apart in normal sight and for the three kinds of colour blindness (tests/plots/test_style.py).
RED, BLUE, GREY, GREEN = "#b3260f", "#2a62e0", "#a6adb5", "#35bd70"
ORANGE, PURPLE = "#e4a820", "#74248e"
COLOURS = (BLUE, RED, INK, GREEN, ORANGE, PURPLE, GREY)
# From the top: lines that do not fit beside each other grow away from the axis title.
LEGEND_BELOW = {"orientation": "h", "y": -0.22, "yanchor": "top"}


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
