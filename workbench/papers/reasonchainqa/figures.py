"""Figures of a study: chains by depth, and how many facts of a ranking a chain takes."""

from collections.abc import Sequence

import plotly.graph_objects as go

from workbench.papers.reasonchainqa import tables
from workbench.papers.reasonchainqa.study import ORACLE_K, ORACLE_M, Study
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout

DASHES = ("solid", "dash", "dot", "dashdot")
SCORES = {"chain_exact": "The very chain", "exact": "The very facts", "f1": "F1 of facts",
          "prefix": "Share of the chain before its first wrong fact"}  # fmt: skip


def by_depth(study: Study, score: str = "chain_exact", methods: Sequence[str] = ()) -> go.Figure:
    """A score by the depth of the chain, a line per method, 95 % intervals as bars.

    `methods`: those drawn; where it is empty all but the oracles, of which those that are not
    `leading` are to be picked in the legend.
    """
    drawn = go.Figure()
    names = methods or [m for m in study.scores if ORACLE_K not in m and ORACLE_M not in m]
    for i, method in enumerate(names):
        rows = [row for n, of in tables.depths(study).items()
                for row in tables.share(n, study, method, score, of)]  # fmt: skip
        values = [row["value"] for row in rows]
        ends = [row["ci95"] or (row["value"], row["value"]) for row in rows]
        drawn.add_scatter(
            x=[row["name"] for row in rows], y=values, name=method, mode="lines+markers",
            visible=True if methods or method in leading(study) else "legendonly",
            line={"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i // len(COLOURS) % 4]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                     "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
        )  # fmt: skip
    drawn.update_yaxes(range=[0, 1.03], tickformat=".0%")
    drawn.update_xaxes(type="category", title="depth: facts on the longest path")
    return layout(drawn, f"{SCORES[score]}, by depth", 460, legend=LEGEND_BELOW)


def leading(study: Study) -> list[str]:
    """A method of each kind, for a figure that can be read."""
    wanted = ("bm25", "dense", "bm25_beam", "two_towers", "ssg", "one_hop", "forward", "greedy",
              "path")  # fmt: skip
    return [method for method in wanted if method in study.scores]
