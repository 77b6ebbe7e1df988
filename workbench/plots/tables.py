"""Tables as figures: no word broken, no row left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.plots.style import GRID, layout

PAGE = 760
"""Pixels across a table in a notebook 1280 pixels wide."""


def table(rows: Sequence[Mapping[str, Any]], title: str) -> go.Figure:
    """Rows, all with the keys of the first, as a table; long cells wrap, the page is filled.

    Floats have three decimals, none from 100,000 on, and a power of ten where they would be 0.000;
    None is a dash.
    """
    columns = list(rows[0])
    text = [[_text(row[c]) for row in rows] for c in columns]
    cells = [[c, *col] for c, col in zip(columns, text, strict=True)]
    # Long cells wrap, but words are not broken: no column is narrower than its longest one.
    words = [max(_text_width(w) for v in col for w in v.split() or [""]) for col in cells]
    wanted = [min(max(map(_text_width, col)), 280) for col in cells]
    shrink = min((PAGE - 20 * len(cells)) / sum(wanted), 1)
    widths = [max(w * shrink, n) + 20 for w, n in zip(wanted, words, strict=True)]
    header = {"values": [f"<b>{c}</b>" for c in columns], "align": "left", "fill_color": GRID}
    body = {"values": text, "align": "left", "height": 26, "fill_color": "white"}
    figure = go.Figure(go.Table(columnwidth=widths, header=header, cells=body))
    room = [max(w * PAGE / sum(widths) - 18, 1) for w in widths]
    tall = [
        max(_wrapped_lines(cell, r) for cell, r in zip(line, room, strict=True))
        for line in zip(*cells, strict=True)
    ]
    figure = layout(figure, title, height=86 + 30 * tall[0] + sum(10 + 16 * n for n in tall[1:]))
    return figure.update_layout(margin_b=12)


def metrics_table(metrics: Sequence[Mapping[str, Any]], title: str) -> go.Figure:
    """The metrics of `results.json` beside the published values.

    `over`: the units that the interval varies over. A published value has its setting in its cell.
    """
    rows = [
        {
            "metric": m["name"],
            "this run": m["value"],
            "95 % CI": "[{:.4g}, {:.4g}]".format(*m["ci95"]) if m["ci95"] else "–",
            "over": m["unit"],
            "n": m["n"],
            "published": None
            if m["published"] is None
            else f"{m['published']:g} ({m['published_setting']})",
        }
        for m in metrics
    ]
    return table(rows, title)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    if abs(value) >= 1e5:
        return f"{value:,.0f}"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.0005 else f"{value:.1e}"


def _text_width(text: str) -> float:
    """About how wide a text is at 12 points."""
    return sum(3.6 if c in " .,:;'|()[]ilt" else 7.0 for c in text)


def _wrapped_lines(text: str, room: float) -> int:
    """How many lines a text takes in `room` pixels; words are not broken."""
    count, at = 1, 0.0
    for width in map(_text_width, text.split()):
        count, at = (count + 1, width) if at and at + width > room else (count, at + width)
        at += _text_width(" ")
    return count
