"""A graph of evidence beside the gold one: what was right, missed and wrong, in colour and dash."""

from collections.abc import Iterable, Mapping, Sequence

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
_WRAP = 60


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
    scores: Mapping[Edge, float] | None = None,
) -> go.Figure:
    """The question and its facts from left to right in reading order; facts by their number.

    Hovering shows a fact's text, and over the middle of an edge its score, where there is one.
    Raises `ValueError` for an edge that leads to no fact.

    >>> evidence_figure("Who?", ["A gate.", "A door."], [(-1, 0)], [(-1, 1)]).show()
    """
    for edge in (*gold, *predicted):
        if not (edge[0] < len(facts) and 0 <= edge[1] < len(facts)):
            raise ValueError(f"edge {tuple(edge)} leads out of the {len(facts)} facts")
    at = places([*gold, *predicted]) or {-1: (0.0, 0.0)}
    figure = go.Figure()
    for kind, edges in kinds_of(gold, predicted).items():
        x, y, said = [], [], []
        for u, v in edges:
            (x0, y0), (x1, y1) = at[u], at[v]
            x += [x0, (x0 + x1) / 2, x1, None]
            y += [y0, (y0 + y1) / 2, y1, None]
            score = (scores or {}).get((u, v))
            said += ["", f"{kind}: {score:.2f}" if score is not None else kind, "", ""]
        colour, dash = STYLES[kind]
        arrow = {"symbol": "arrow", "angleref": "previous", "size": [0, 0, 12, 0] * len(edges),
                 "standoff": 16, "color": colour}  # fmt: skip
        figure.add_scatter(
            x=x or [None], y=y or [None], mode="lines+markers", name=f"{kind} ({len(edges)})",
            line={"color": colour, "dash": dash, "width": 2.5}, marker=arrow, text=said,
            hoverinfo="text",
        )  # fmt: skip
    gold_nodes = {v for _, v in gold}
    figure.add_scatter(
        x=[x for x, _ in at.values()], y=[y for _, y in at.values()], mode="markers+text",
        text=["Q" if node < 0 else str(node) for node in at], showlegend=False,
        textfont={"color": "white"}, hoverinfo="text",
        hovertext=[question if node < 0 else f"{node}: {facts[node]}" for node in at],
        marker={"size": 28, "color": [INK if n < 0 or n in gold_nodes else GREY for n in at]},
    )  # fmt: skip
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    tall = max(abs(y) for _, y in at.values())
    title = question if len(question) <= _WRAP else question[:_WRAP] + "…"
    return layout(figure, title, height=int(240 + 90 * tall), legend=LEGEND_BELOW)
