"""What is drawn, read back from the figures."""

import numpy as np
import pandas as pd
import torch

from workbench.plots import figures, training
from workbench.plots.features import penalty_waterfall, token_map, volcano


def test_training_curves_show_the_mean_and_the_band_of_the_seeds():
    seeds = {"a": [[(1, 0.0), (2, 4.0)], [(1, 2.0), (2, 8.0), (3, 1.0)]]}
    band, line = training.training_curves({"x": seeds}, "t").data
    assert list(line.x) == [1, 2]
    assert list(line.y) == [1.0, 6.0]
    assert list(band.y) == [2.0, 8.0, 4.0, 0.0]
    two = training.training_curves({"x": seeds, "y": {**seeds, "b": seeds["a"]}}, "t")
    shown = [t.name for t in two.data if t.name and t.showlegend is not False]
    assert shown == ["a", "b"]
    dots, mean = training.by_condition(
        {"D": {"α=0": [1.0, 3.0], "α=5": [0.5, 0.5]}}, "t", y_name="D", log=True
    ).data
    assert list(zip(dots.x, dots.y, strict=True)) == [
        ("α=0", 1.0), ("α=0", 3.0), ("α=5", 0.5), ("α=5", 0.5)
    ]  # fmt: skip
    assert list(mean.y) == [2.0, 0.5]


def test_figures_of_features_show_what_is_in_the_table():
    table = pd.DataFrame(
        {
            "q_policy": [0.001, 0.5, np.nan, 0.01],
            "dz_policy": [1.0, -0.2, 0.0, np.inf],
            "share_rejected": [3.0, 1.0, 0.0, 0.0],
        }
    )
    dots = volcano(table, "t").data[0]
    assert list(dots.text) == ["feature 0", "feature 1"]
    assert np.allclose(dots.y, [3.0, -np.log10(0.5)])
    assert list(dots.marker.color) == [0.75, 0.25]
    bars = penalty_waterfall(pd.Series({"7": 3.0, "rest": 1.0}), "t").data[0]
    assert list(bars.y) == [3.0, 1.0, 4.0]
    context = {"at": 1, "tokens": ["Ġa", "▁b", "c"], "policy": [0.0, 2.0, 1.0], "kind": "top",
               "pair": 3, "side": "chosen"}  # fmt: skip
    cells = token_map([context], "t", window=2).data[0]
    assert list(cells.text[0]) == ["", " a", " b", "c", ""]
    assert list(cells.z[0]) == [None, 0.0, 2.0, 1.0, None]


def test_a_dose_response_shows_the_mean_and_the_range_over_seeds():
    curves = {"a": {2.0: [0.5, 1.0], 0.0: [0.0, 0.5]}, "b": {0.0: [1.0], 2.0: [0.0]}}
    figure = figures.dose_response(curves, "t", chosen=2.0, reference=("r", 0.3))
    band, line, _, other = figure.data
    assert (list(line.x), list(line.y)) == ([0.0, 2.0], [0.25, 0.75])
    assert list(band.x) == [0.0, 2.0, 2.0, 0.0]
    assert list(band.y) == [0.5, 1.0, 0.5, 0.0]
    assert (line.name, other.name, list(other.y)) == ("a", "b", [1.0, 0.0])
    assert band.fillcolor == line.line.color != other.line.color
    assert [s.type for s in figure.layout.shapes] == ["line", "line"]
    assert figure.layout.yaxis.tickformat == ".0%"
    assert figures.dose_response(curves, "t", y_name="KL").layout.yaxis.title.text == "KL"


def test_a_map_of_heads_has_layers_up_and_heads_across():
    values = torch.tensor([[0.0, 0.25, 0.5], [1.0, 0.75, 0.5]])
    heat, dots = figures.head_map(values, "t", marked=[(1, 1)], center=0.5).data
    assert [list(row) for row in heat.z] == values.tolist()
    assert (list(heat.x), list(heat.y), heat.zmid) == ([0, 1, 2], [0, 1], 0.5)
    assert (list(dots.x), list(dots.y)) == ([1], [1])


def test_a_map_of_cells_keeps_its_order_and_its_gaps():
    (heat,) = figures.cell_map(
        [[0.5, None], [1.0, 0.0]], ["b", "a"], ["1", "0.5"], "t", axes=("rows", "columns"), name="n"
    ).data
    assert [list(row) for row in heat.z] == [[0.5, None], [1.0, 0.0]]
    assert (list(heat.x), list(heat.y), heat.zmin, heat.zmax) == (["1", "0.5"], ["b", "a"], 0, 1)


def test_cost_curves_are_means_with_bars_to_the_extremes():
    seeds = [[(10, 0.2), (20, 0.4)], [(30, 0.4), (40, 1.0), (50, 1.0)]]
    line, dot = figures.cost_curves({"a": seeds}, "t", points={"greedy": (15, 0.5)}).data
    assert list(line.x) == [20, 30]
    assert np.allclose(line.y, [0.3, 0.7])
    assert np.allclose(line.error_y.array, [0.1, 0.3])
    assert np.allclose(line.error_y.arrayminus, [0.1, 0.3])
    assert (list(dot.x), list(dot.y), dot.name) == ([15], [0.5], "greedy")


def test_a_radar_is_closed_and_cosines_are_drawn_by_pair():
    own, steered = figures.radar({"own": {"A": 1, "B": 5, "C": 3}, "s": {"A": 2}}, "t").data
    assert (list(own.r), list(own.theta)) == ([1, 5, 3, 1], ["A", "B", "C", "A"])
    assert (own.line.dash, steered.line.dash) == ("solid", "dot")
    (box,) = figures.cosine_bars({"base and level 1": {(2, 3): 0.9, (0, 1): -0.1}}, "t").data
    assert (list(box.y), box.name) == ([0.9, -0.1], "base and level 1 (2 heads)")
    assert list(box.text) == ["layer 2 head 3", "layer 0 head 1"]
