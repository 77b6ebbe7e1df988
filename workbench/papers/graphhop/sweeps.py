"""What makes it hard, one thing at a time: more decoy chains, more hops (§8), nothing trained anew.

Questions are fresh ones of the test split; the networks, thresholds and k are the study's own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.evaluation.intervals import SHARE
from workbench.evaluation.metrics import measured, over_seeds
from workbench.papers.graphhop.paper import Settings
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout
from workbench.retrieval.graphs import Edge, Evidence
from workbench.retrieval.metrics import overlap
from workbench.worlds.pools import questions as drawn

SWEPT = ("bm25", "dense", "one_hop", "forward", "bgr")
HOPPING = ("bridge_of_two", "bridge_of_three", "intersect", "compare_bridge")
"""Families of which a decoy chain has as many hops as the gold one."""
POOL = 40
"""At every number of decoys, so that they all fit in and only they change."""
HOPS = {
    1: ("lookup_attribute", "lookup_relation", "verify_number"),
    2: ("bridge_of_two",),
    3: ("bridge_of_three",),
}
"""Hops → single chains of that many; no family has longer ones."""
DECOYS = (0, 1, 2, 3, 4)
DASHES = ("dot", "dashdot", "solid", "dash", "longdash")
Predicted = Mapping[str, Sequence[Sequence[Sequence[Edge]]]]
"""Method → `[seed][question]` → edges."""


def questions(settings: Settings) -> dict[str, list[Evidence]]:
    """Point of a sweep (`"decoys_0"` to `"hops_3"`) → `settings.sweep` questions; none for 0."""
    if not settings.sweep:
        return {}
    # One world more than the test questions have, so that they are drawn by other numbers.
    given = {"worlds": settings.worlds[2] + 1}
    return {
        f"decoys_{n}": drawn("test", settings.sweep, pool=POOL, decoys=n, families=HOPPING, **given)
        for n in DECOYS
    } | {
        f"hops_{n}": drawn("test", settings.sweep, pool=settings.pool, decoys=settings.decoys,
                           families=families, **given)
        for n, families in HOPS.items()
    }  # fmt: skip


def metrics(
    asked: Mapping[str, Sequence[Evidence]], predicted: Mapping[str, Predicted]
) -> list[dict[str, Any]]:
    """`sweep_<point>_<method>`: mean F1 of facts, 95 % interval over questions and seeds."""
    rows = []
    for point, of_methods in predicted.items():
        ids = [q.id for q in asked[point]]
        for method, seeds in of_methods.items():
            values = [[_f1(*pair) for pair in zip(asked[point], graphs, strict=True)]
                      for graphs in seeds]  # fmt: skip
            units = over_seeds(values, questions=[ids] * len(values))
            rows.append(measured(f"sweep_{point}_{method}", *units, limits=SHARE))
    return rows


def figure(rows: Sequence[Mapping[str, Any]], sweep: str) -> go.Figure:
    """A line per method over the points of a sweep (`"decoys"`, `"hops"`), intervals as bars."""
    title = {"decoys": "F1 of facts by complete decoy chains of each branch",
             "hops": "F1 of facts by hops of a single chain"}[sweep]  # fmt: skip
    out = go.Figure()
    for i, method in enumerate(SWEPT):
        line = {
            row["name"].split("_")[2]: row for row in rows
            if row["name"].startswith(f"sweep_{sweep}_") and row["name"].endswith(f"_{method}")
        }  # fmt: skip
        if not line:
            continue
        values = [row["value"] for row in line.values()]
        ends = [row["ci95"] or (row["value"],) * 2 for row in line.values()]
        out.add_scatter(
            x=[*line], y=values, name=method, mode="lines+markers",
            line={"color": COLOURS[i], "dash": DASHES[i]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                     "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
        )  # fmt: skip
    n = next((row["n"] for row in rows if row["name"].startswith(f"sweep_{sweep}_")), 0)
    out.update_yaxes(range=[0, 1.03], tickformat=".0%").update_xaxes(type="category")
    return layout(out, f"{title} (n = {n} each)", 420, legend=LEGEND_BELOW)


def _f1(question: Evidence, edges: Sequence[Edge]) -> float:
    return overlap({*question.nodes}, {v for _, v in edges})[2]
