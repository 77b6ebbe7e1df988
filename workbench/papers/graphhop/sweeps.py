"""What makes it hard, one thing at a time: more decoy chains, more hops (§8), nothing trained anew.

The same questions stand in pools of one size with 0 to 4 complete decoy chains for each branch,
which take the place of other wrong facts. Networks are those of the first seed, weights and
thresholds those of dev.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from workbench.evaluation.intervals import GAIN, SHARE
from workbench.evaluation.metrics import measured, spelled
from workbench.papers.graphhop.paper import SWEPT, Settings
from workbench.papers.graphhop.study import Study
from workbench.plots.style import COLOURS, LEGEND_BELOW, layout
from workbench.retrieval.graphs import Evidence, depth, nodes
from workbench.retrieval.metrics import overlap
from workbench.worlds.pools import questions as drawn

DECOYS = (0, 1, 2, 3, 4)
EACH = 40
"""Questions, the same for each number of decoys."""
POOL = 25
"""Facts at every number, as many as ReasonGraphQA has: room for the gold ones and four chains of
each branch (23 at most)."""
FAMILIES = ("bridge_of_two", "bridge_of_three", "intersect", "count_bridge", "most_of_heads")
"""Those of more than one hop but `compare_bridge`, which would take 30 facts."""
DASHES = ("dot", "solid", "dash")
SCORES = {"exact": "", "f1": "f1_"}
"""Score → how a metric's name tells it."""
Asked = Mapping[str, Sequence[Evidence]]
"""Name of a sweep's point (`decoys_0`) → its questions."""


def questions(settings: Settings, each: int = EACH) -> dict[str, list[Evidence]]:
    """Name of a point → `each` questions of the test worlds, at the same place the same ones.

    >>> asked = sweeps.questions(settings)
    >>> study.run(presets.questions(settings) | asked, settings, keep)
    """
    return {
        f"decoys_{n}": drawn(
            "test", each, worlds=settings.worlds[2], pool=POOL, decoys=n, families=FAMILIES
        )
        for n in DECOYS
    }


def metrics(study: Study, asked: Asked) -> list[dict[str, Any]]:
    """`sweep_decoys_<n>_<method>`: share of questions with exactly the gold facts, of the networks'
    first seed; `sweep_decoys_f1_<n>_<method>`: F1 of facts; `sweep_hops_…`: both, of the test
    questions by hops of the longest chain. `gain_…_forward_one_hop`: differences on the same
    questions. 95 % intervals over questions.
    """
    rows = []
    for point, (of, by_method) in _points(study, asked).items():
        sweep, n = point.split("_")
        scores = {
            method: [
                overlap({*q.nodes}, {*nodes(edges)}) for q, edges in zip(of, graphs, strict=True)
            ]
            for method, graphs in by_method.items()
        }
        for score, end in SCORES.items():
            values = {method: [float(s[2] == 1) if score == "exact" else s[2] for s in of_method]
                      for method, of_method in scores.items()}  # fmt: skip
            start = f"sweep_{sweep}_{end}{n}"
            for method, row in values.items():
                rows.append(measured(f"{start}_{method}", row, "questions", limits=SHARE))
            if {"forward", "one_hop"} <= values.keys():
                gain = [a - b for a, b in zip(values["forward"], values["one_hop"], strict=True)]
                name = f"gain_{start}_forward_one_hop"
                rows.append(measured(name, gain, "questions", limits=GAIN))
    return rows


def _points(study: Study, asked: Asked) -> dict[str, tuple[Sequence[Evidence], Mapping[str, Any]]]:
    """Name of a point → its questions, and each method's graphs, of the first seed."""
    points: dict[str, tuple[Sequence[Evidence], Mapping[str, Any]]] = {
        point: (of, study.swept[point]) for point, of in asked.items() if study.swept.get(point)
    }
    for hops in sorted({depth(q.edges) for q in study.test} if points else {}):
        at = [i for i, q in enumerate(study.test) if depth(q.edges) == hops]
        graphs = {method: [study.predicted[method][0][i] for i in at]
                  for method in SWEPT if method in study.predicted}  # fmt: skip
        points[f"hops_{hops}"] = [study.test[i] for i in at], graphs
    return points


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table of `metrics`: a row for each point, exactly the gold facts, percent."""
    out: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = row["name"].removeprefix("gain_")
        _, sweep, n, *method = name.split("_")
        if n == "f1":
            continue
        column = " ".join(method) if name == row["name"] else "forward less one hop"
        ends = row["ci95"] and [100 * end for end in row["ci95"]]
        cells = out.setdefault(f"{sweep} {n}", {"sweep": sweep, "at": int(n)})
        cells |= {column: f"{100 * row['value']:.0f} {spelled(ends, '.0f')}", "n": row["n"]}
    return [*out.values()]


def figure(rows: Sequence[Mapping[str, Any]], sweep: str = "decoys") -> go.Figure:
    """F1 of facts by method over a sweep's points (`decoys`, `hops`), 95 % intervals as bars."""
    drawn = go.Figure()
    start = f"sweep_{sweep}_f1_"
    points = [(*row["name"].removeprefix(start).split("_", 1), row)
              for row in rows if row["name"].startswith(start)]  # fmt: skip
    for i, method in enumerate(dict.fromkeys(method for _, method, _ in points)):
        line = {n: row for n, of, row in points if of == method}
        values = [row["value"] for row in line.values()]
        ends = [row["ci95"] or [row["value"]] * 2 for row in line.values()]
        drawn.add_scatter(
            x=[*line], y=values, name=method, mode="lines+markers",
            line={"color": COLOURS[i], "dash": DASHES[i % 3]},
            error_y={"type": "data", "symmetric": False, "thickness": 1,
                     "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
                     "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)]},
        )  # fmt: skip
    title = {"decoys": "F1 of facts by complete decoy chains of each branch",
             "hops": "F1 of facts by hops of the longest chain"}[sweep]  # fmt: skip
    drawn.update_yaxes(range=[0, 1.03], tickformat=".0%").update_xaxes(type="category")
    return layout(drawn, title, 420, legend=LEGEND_BELOW)
