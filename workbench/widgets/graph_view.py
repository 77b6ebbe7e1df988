"""A graph of facts as SVG, and the part of a UI that shows one with nodes to pick."""

import html
import math
from collections.abc import Mapping, Sequence

import anywidget
import traitlets

from workbench.plots.graphs import STYLES, kinds_of, places
from workbench.plots.style import BLUE, GREY, INK
from workbench.retrieval.graphs import ROOT, Edge
from workbench.widgets.head_map import STATIC

ACROSS, DOWN, RADIUS, TEXT = 190, 64, 14, 26
"""Pixels between nodes and of one, and letters of a fact below it."""
DASHES = {"solid": "", "dash": "9 5", "dot": "2 4"}
UNKNOWN = {"read": (BLUE, "solid")}
"""The style of edges where no gold graph is known."""


class GraphView(anywidget.AnyWidget):
    """A graph as `graph_svg` draws it. `selected`: the node picked, `ROOT` for the question."""

    _esm = STATIC / "evidence.js"
    _css = STATIC / "evidence.css"
    svg = traitlets.Unicode().tag(sync=True)
    selected = traitlets.Int(ROOT).tag(sync=True)


def graph_svg(
    question: str,
    facts: Sequence[str],
    edges: Mapping[Edge, float],
    gold: Sequence[Edge] | None,
    shown: set[Edge],
    selected: int,
) -> str:
    """SVG of a graph from left to right: its edges, and those missed of a gold one where known.

    `edges`: with their probabilities; only those `shown` are drawn, the others keep their place.
    """
    at = places([*edges, *(gold or ())]) or {ROOT: (0.0, 0.0)}
    top = max(y for _, y in at.values())
    spot = {v: (ACROSS * (x + 0.5), DOWN * (top - y) + 28) for v, (x, y) in at.items()}
    lines, legend = [], []
    kinds = {"read": sorted(edges)} if gold is None else kinds_of(gold, edges)
    for kind, of_kind in kinds.items():
        colour, dash = (UNKNOWN | STYLES)[kind]
        drawn = [edge for edge in of_kind if edge in shown or kind == "gold, missed"]
        for u, v in drawn:
            title = f"{_name(u)} to {v}: {kind}" + (
                f", {edges[u, v]:.2f}" if (u, v) in edges else ""
            )
            lines.append(_arrow(spot[u], spot[v], colour, DASHES[dash], title))
        x = 10 + 175 * len(legend)
        legend.append(
            f'<line x1="{x}" x2="{x + 28}" y1="8" y2="8" stroke="{colour}" stroke-width="3" '
            f'stroke-dasharray="{DASHES[dash]}"/>'
            f'<text x="{x + 34}" y="12">{kind} ({len(drawn)})</text>'
        )
    there = {v for edge in (*shown, *(gold or ())) for v in edge} | {ROOT}
    read = {v for _, v in edges}
    marks = [
        _node(v, spot[v], question if v == ROOT else facts[v], v in read, v == selected)
        for v in sorted(at, key=lambda v: spot[v])
        if v in there
    ]
    width = max(ACROSS * (1 + max(x for x, _ in at.values())), 175 * len(legend))
    height = DOWN * (top - min(y for _, y in at.values())) + 96
    body = (
        "".join(lines + marks)
        + f'<g transform="translate(0 {height - 24:g})">{"".join(legend)}</g>'
    )
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="group" font-size="11" '
        f'fill="currentColor" aria-label="graph of evidence">{body}</svg>'
    )


def _node(v: int, spot: tuple[float, float], text: str, read: bool, selected: bool) -> str:
    x, y = spot
    short = text if len(text) <= TEXT else text[: TEXT - 1] + "…"
    fill = INK if read or v == ROOT else GREY
    return (
        f'<g data-node="{v}" tabindex="0" role="button" aria-pressed="{str(selected).lower()}" '
        f'aria-label="{html.escape(f"{_name(v)}: {text}")}"><title>{html.escape(text)}</title>'
        f'<circle cx="{x:g}" cy="{y:g}" r="{RADIUS}" fill="{fill}"/>'
        f'<text class="wb-number" fill="white" x="{x:g}" y="{y + 4:g}" text-anchor="middle">'
        f'{_name(v)}</text><text x="{x:g}" y="{y + RADIUS + 13:g}" text-anchor="middle">'
        f"{html.escape(short)}</text></g>"
    )


def _arrow(
    start: tuple[float, float], end: tuple[float, float], colour: str, dash: str, title: str
) -> str:
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    ahead = (math.cos(angle), math.sin(angle))
    x1, y1 = (c + RADIUS * a for c, a in zip(start, ahead, strict=True))
    x2, y2 = (c - (RADIUS + 9) * a for c, a in zip(end, ahead, strict=True))
    return (
        f'<g><title>{html.escape(title)}</title><line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
        f'y2="{y2:.1f}" stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
        f'<polygon points="0,-5 9,0 0,5" fill="{colour}" transform="translate({x2:.1f} {y2:.1f}) '
        f'rotate({math.degrees(angle):.1f})"/></g>'
    )


def _name(v: int) -> str:
    return "Q" if v == ROOT else str(v)
