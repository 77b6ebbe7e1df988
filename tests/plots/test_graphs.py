"""Evidence graphs as figures: kinds of edges, their look, and where nodes stand."""

import random

import pytest

from workbench.plots import graphs

GOLD, PREDICTED = [(-1, 0), (0, 1)], [(-1, 0), (0, 2)]


def test_right_missed_and_wrong():
    assert graphs.kinds_of(GOLD, PREDICTED) == {
        "gold and predicted": [(-1, 0)],
        "gold, missed": [(0, 1)],
        "predicted, wrong": [(0, 2)],
    }


def test_kinds_differ_in_colour_and_dash():
    colours, dashes = zip(*graphs.STYLES.values(), strict=True)
    assert len(set(colours)) == len(set(dashes)) == 3
    figure = graphs.evidence_figure("Who?", ["a", "b", "c"], GOLD, PREDICTED, "bgr")
    lines = {t.name: t for t in figure.data if t.mode == "lines+markers"}
    for (kind, look), count in zip(graphs.STYLES.items(), (1, 1, 1), strict=True):
        trace = lines[f"{kind} ({count})"]
        assert (trace.line.color, trace.line.dash) == look
    assert figure.layout.title.text == "bgr: Who?"
    nodes = figure.data[-1]
    assert list(nodes.text) == ["Q", "0", "1", "2"]
    assert nodes.hovertext[1] == "0: a"


def test_each_node_stands_right_of_all_that_lead_to_it():
    rng = random.Random(3)
    for _ in range(50):
        count = rng.randint(1, 9)
        edges = [(-1, 0)] + [
            (u, v) for v in range(1, count) for u in range(-1, v) if rng.random() < 0.3
        ]
        at = graphs.places(edges)
        assert set(at) == {n for edge in edges for n in edge}
        assert len(set(at.values())) == len(at)
        assert all(at[u][0] < at[v][0] for u, v in edges)
    # By the longest way, not the shortest.
    assert graphs.places([(-1, 0), (0, 1), (-1, 1)])[1][0] == 2


def test_a_circle_and_nothing_are_drawn_too():
    at = graphs.places([(-1, 0), (0, 1), (1, 0)])
    assert at[0][0] == at[1][0] == 1
    assert graphs.evidence_figure("Who?", ["a"], [], []).data[-1].text == ("Q",)


def test_an_edge_to_no_fact_is_named():
    for edge in ((-1, 1), (3, 0), (0, -1)):
        with pytest.raises(ValueError, match="out of the 1 facts"):
            graphs.evidence_figure("Who?", ["a"], [(-1, 0)], [edge])
