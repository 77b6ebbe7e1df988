"""A graph of evidence beside the gold one: what was right, missed and wrong, in colour and dash."""

from collections.abc import Iterable, Sequence

import networkx as nx
import plotly.graph_objects as go

from workbench.plots.style import GREEN, GREY, INK, LEGEND_BELOW, ORANGE, RED, layout

Edge = tuple[int, int]
"""(from, to): numbers of facts; a negative one is the question."""
STYLES = {
    "gold and predicted": (GREEN, "solid"),
    "gold, missed": (ORANGE, "dash"),
    "predicted, wrong": (RED, "dot"),
}


def kinds_of(gold: Iterable[Edge], predicted: Iterable[Edge]) -> dict[str, list[Edge]]:
    """Kind of `STYLES` → its edges, sorted.

    >>> kinds_of([(-1, 3)], [(-1, 3), (3, 7)])["predicted, wrong"]
    [(3, 7)]
    """
    gold, predicted = set(gold), set(predicted)
    parts = gold & predicted, gold - predicted, predicted - gold
    return {kind: sorted(edges) for kind, edges in zip(STYLES, parts, strict=True)}


def places(edges: Iterable[Edge]) -> dict[int, tuple[float, float]]:
    """Where each node stands: x by reading order, the longest way to it; y apart in its column.

    Nodes that lead to each other in a circle share a column.
    """
    graph = nx.DiGraph()
    graph.add_edges_from(sorted(edges))
    circles = nx.condensation(graph)
    columns = [
        sorted(node for circle in generation for node in circles.nodes[circle]["members"])
        for generation in nx.topological_generations(circles)
    ]
    return {
        node: (float(x), (len(column) - 1) / 2 - y)
        for x, column in enumerate(columns)
        for y, node in enumerate(column)
    }


def evidence_figure(
    question: str,
    facts: Sequence[str],
    gold: Sequence[Edge],
    predicted: Sequence[Edge],
    title: str = "",
) -> go.Figure:
    """The question and its facts from left to right in reading order; facts by their number.

    Hovering shows a fact's text. Raises `ValueError` for an edge that leads to no fact.

    >>> evidence_figure("Who?", ["A gate.", "A door."], [(-1, 0)], [(-1, 1)]).show()
    """
    for edge in (*gold, *predicted):
        if not (edge[0] < len(facts) and 0 <= edge[1] < len(facts)):
            raise ValueError(f"edge {tuple(edge)} leads out of the {len(facts)} facts")
    at = places([*gold, *predicted]) or {-1: (0.0, 0.0)}
    figure = go.Figure()
    for kind, edges in kinds_of(gold, predicted).items():
        colour, dash = STYLES[kind]
        x, y = ([c for u, v in edges for c in (at[u][i], at[v][i], None)] or [None] for i in (0, 1))
        arrow = {"symbol": "arrow", "angleref": "previous", "size": [0, 12, 0] * len(edges),
                 "standoff": 16, "color": colour}  # fmt: skip
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=f"{kind} ({len(edges)})", marker=arrow,
            line={"color": colour, "dash": dash, "width": 2.5}, hoverinfo="skip",
        )  # fmt: skip
    there = {-1, *(v for _, v in gold)}
    figure.add_scatter(
        x=[x for x, _ in at.values()], y=[y for _, y in at.values()], mode="markers+text",
        text=["Q" if node < 0 else str(node) for node in at], showlegend=False,
        textfont={"color": "white"}, hoverinfo="text",
        hovertext=[question if node < 0 else f"{node}: {facts[node]}" for node in at],
        marker={"size": 28, "color": [INK if node in there else GREY for node in at]},
    )  # fmt: skip
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    tall = max(abs(y) for _, y in at.values())
    title = ": ".join(part for part in (title, question) if part)
    return layout(figure, title[:90], height=int(240 + 90 * tall), legend=LEGEND_BELOW)
