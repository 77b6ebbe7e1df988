"""Figures of a study: exact evidence by structure, evidence by hops, one question's graphs."""

import plotly.graph_objects as go

from workbench.papers.graphhop import tables
from workbench.papers.graphhop.paper import ABLATIONS, OFFICIAL_LABELS
from workbench.papers.graphhop.study import ORACLE, Study
from workbench.plots.graphs import evidence_figure
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout
from workbench.retrieval.graphs import depth

DASHES = ("solid", "dash", "dot")


def by_structure(study: Study) -> go.Figure:
    """Share of questions with exactly the right facts, by structure, 95 % intervals as bars."""
    return _drawn(study, "exact", tables.BY_STRUCTURE, "Exactly the gold facts, by structure")


def by_hops(study: Study) -> go.Figure:
    """Evidence F1 by the hops of the longest chain: where one query is enough, and where not."""
    hops = sorted({depth(q.edges) for q in study.test})
    groups = {str(n): lambda q, n=n: depth(q.edges) == n for n in hops}
    return _drawn(study, "f1", groups, "F1 of facts, by the hops of the longest chain")


def _drawn(study: Study, score: str, groups: dict[str, tables.Which], title: str) -> go.Figure:
    """A line per method, oracles and what is trained otherwise left out, in colour and dash."""
    figure = go.Figure()
    left_out = (*ABLATIONS, OFFICIAL_LABELS)
    for i, method in enumerate(m for m in study.scores if ORACLE not in m and m not in left_out):
        rows = [
            row for n, of in groups.items() for row in tables.share(n, study, method, score, of)
        ]
        values = [row["value"] for row in rows]
        ends = [row["ci95"] or (row["value"], row["value"]) for row in rows]
        figure.add_scatter(
            x=[row["name"] for row in rows], y=values, name=method, mode="lines+markers",
            line={"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i % 3]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                     "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
        )  # fmt: skip
    figure.update_yaxes(range=[0, 1.03], tickformat=".0%")
    return layout(figure.update_xaxes(type="category"), title, 420, legend=LEGEND_BELOW)


def example(study: Study, method: str, structure: str = "MCMH") -> go.Figure:
    """The graph of the first test question of a structure, predicted beside gold, first seed."""
    for q, edges in zip(study.test, study.predicted[method][0], strict=True):
        if q.structure == structure:
            return evidence_figure(q.question, q.facts, q.edges, edges, title=method)
    return layout(go.Figure(), f"No test question is {structure}")
