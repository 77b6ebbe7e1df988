"""Figures: chains by depth, of a study, and of runs with other pools or decoys."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.arguments import one_of
from workbench.papers.reasonchainqa import tables
from workbench.papers.reasonchainqa.paper import METHODS
from workbench.papers.reasonchainqa.study import ORACLE_K, ORACLE_M, Study
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout

DASHES = ("solid", "dash", "dot", "dashdot")
SCORES = {"chain_exact": "The very chain", "exact": "The very facts", "f1": "F1 of facts",
          "prefix": "Share of the chain before its first wrong fact"}  # fmt: skip
LEADING = ("bm25", "dense", "bm25_beam", "two_towers", "ssg", "one_hop", "forward", "greedy",
           "path")  # fmt: skip
"""A method of each kind, for a figure that can be read."""


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
        drawn.add_trace(_line(i, method, rows, bool(methods) or method in LEADING))
    return _laid_out(drawn, f"{SCORES[score]}, by depth")


def over_runs(
    runs: Mapping[str, dict[str, Any]], score: str = "chain_em", first: str = ""
) -> go.Figure:
    """`chain_em` or `set_em` by depth, of the run that is chosen above by its pool and decoys.

    `runs`: name → results (`runs.record.read_runs`); `first`: name of the one that is
    shown first, else the last. Raises `ValueError` for another score.

    >>> figures.over_runs(read_runs("runs/reasonchainqa", "reasonchainqa"))
    """
    one_of("score", score, ("chain_em", "set_em"))
    drawn, owners = go.Figure(), []
    for name, run in runs.items():
        by_method: dict[str, list[dict[str, Any]]] = {}
        for row in run["metrics"]:
            part = re.fullmatch(rf"{score}_(.+)_(\d+)", row["name"])
            if part and part[1] in METHODS:
                by_method.setdefault(part[1], []).append({**row, "name": part[2]})
        for method, rows in by_method.items():
            drawn.add_trace(_line(METHODS.index(method), method, rows, method in LEADING))
            owners.append(name)
    buttons, at = [], [*runs].index(first) if first in runs else len(runs) - 1
    for name, run in runs.items():
        of = run.get("parameters") or {}
        told = f"pool {of['pool']}, decoys {of['decoys']}" if "pool" in of else "own questions"
        pairs = zip(owners, drawn.data, strict=True)
        seen = [owner == name and line.visible for owner, line in pairs]
        buttons.append({"label": f"{told}; {run['preset']} ({name})", "method": "restyle",
                        "args": [{"visible": seen}]})  # fmt: skip
    now = buttons[at]["args"][0]["visible"] if runs else ()
    for line, state in zip(drawn.data, now, strict=True):
        line.visible = state
    menu = {"buttons": buttons, "active": at, "x": 1, "xanchor": "right", "y": 1.01,
            "yanchor": "bottom"}  # fmt: skip
    drawn.update_layout(updatemenus=[menu] if runs else [])
    return _laid_out(drawn, f"{score} by depth; runs to choose from: {len(runs)}")


def _line(i: int, method: str, rows: Sequence[dict[str, Any]], seen: bool) -> go.Scatter:
    """A method's line, of `measured` rows that are named by depth; intervals as bars."""
    values = [row["value"] for row in rows]
    ends = [row["ci95"] or (row["value"], row["value"]) for row in rows]
    return go.Scatter(
        x=[row["name"] for row in rows], y=values, name=method, mode="lines+markers",
        visible=seen or "legendonly",
        line={"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i // len(COLOURS) % 4]},
        error_y={"type": "data", "symmetric": False, "thickness": 1,
                 "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                 "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
    )  # fmt: skip


def _laid_out(drawn: go.Figure, title: str) -> go.Figure:
    drawn.update_yaxes(range=[0, 1.03], tickformat=".0%")
    drawn.update_xaxes(type="category", title="depth: facts on the longest path")
    return layout(drawn, title, 460, legend=LEGEND_BELOW)


def leading(study: Study) -> list[str]:
    """A method of each kind that was run."""
    return [method for method in LEADING if method in study.scores]
