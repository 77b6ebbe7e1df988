"""Metrics and tables of a study made by hand."""

import pytest

from workbench.evaluation.metrics import measured
from workbench.papers.neural_comprehension import figures, tables
from workbench.papers.neural_comprehension.autoconn import Candidate
from workbench.papers.neural_comprehension.costs import Costs
from workbench.papers.neural_comprehension.paper import TASKS, Settings
from workbench.papers.neural_comprehension.study import Cell, Study
from workbench.papers.neural_comprehension.tasks import TASKS as TASKS_OF


@pytest.fixture
def made():
    sums = Cell("addition", 30, ["1+1", "2+2", "3+3", "4+4"], ["2", "4", "6", "8"],
                {"gated": ["2.", "4", "6", "8"], "ungated": ["2.", "40", "", "-8"],
                 "observed": ["2.", "41"]})  # fmt: skip
    pens = Cell("pens", 2, ["a", "b"], ["3", "5"],
                {"gated": ["1+2=3.", "9+9=18."], "ungated": ["1+2=4.", "9+9=5"],
                 "program": ["1+2", "9+9"]}, ["1+2", "2+3"])  # fmt: skip
    hard = Cell("hard_mixed", 0, ["c"], ["7"], {"ungated": ["7"], "program": ["3+4"]}, [""])
    replies = {"ungated": ["7"], "gated": ["3+4=7"]}
    plus = [Cell("addsub_plus", size, ["c"], ["7"], {**replies, "program": [f"3+{size}"]}, [""])
            for size in (2, 4)]  # fmt: skip
    coins = Cell("coins", 3, ["d"], ["0"],
                 {"gated": ["1 0 1 -> 0"], "ungated": ["1 0 1 -> 1"], "program": ["1 0 1"]},
                 [" 1 0 1"])  # fmt: skip
    limits = {task: {"float32": 96, "bfloat16": 64, "float16": 96} for task in TASKS}
    costs = Costs([1.2, 1.1, 1.3], [1.0, 1.0, 1.1],
                  {"model": 0.1, "asking the gate": 0.02, "network": 0.08}, [0, 0, 2])  # fmt: skip
    return Study("m", "cpu", Settings().tiny(), [sums, pens, hard, *plus], {"early": [coins]},
                 {"addition": [True, False, False, False], "copy": []}, costs, limits,
                 dict.fromkeys(TASKS, 100))  # fmt: skip


def test_metrics_count_what_the_replies_say(made):
    rows = {m["name"]: m for m in tables.metrics(made)}
    value = {name: m["value"] for name, m in rows.items()}
    assert (value["acc_gated_addition_30"], value["acc_ungated_addition_30"]) == (1, 0.25)
    assert rows["acc_ungated_addition_30"]["published"] == 0.85
    assert (value["transcription_2"], value["reading_gated_2"]) == (0.5, 0.5)
    assert (value["reading_ungated_2"], value["reading_program_2"]) == (0.5, 0.5)
    assert (value["solved_ungated_hard_mixed"], value["solved_program_hard_mixed"]) == (0, 1)
    assert "transcription_0" not in value
    assert (value["solved_program_addsub_plus_2"], value["solved_program_addsub_plus_4"]) == (0, 1)
    assert (value["coins_gated_early_3"], value["coins_ungated_early_3"]) == (1, 0)
    assert value["coins_transcription_early_3"] == 1
    assert value["forced_disagreement_addition"] == 0.25
    assert "forced_disagreement_copy" not in value
    assert value["observed_changes"] == 0.5
    assert value["exact_limit_parity_bfloat16"] == 64
    assert (value["params_parity"], rows["params_parity"]["published"]) == (100, 2_200_000)
    assert (value["gate_ratio"], value["gate_ratio_idle"]) == (1.2, 1.0)
    assert (value["gate_false_firings"], rows["gate_false_firings"]["n"]) == (2, 3)
    wilson = measured("share", [1, 0, 0, 0], "inputs")["ci95"]
    assert rows["acc_ungated_addition_30"]["ci95"] == wilson
    assert len(rows) == len(tables.metrics(made))
    assert rows["solved_program_hard_mixed"]["published"] == 0.111


def test_tables_show_the_same(made):
    (row,) = tables.reading(made.of("pens"))
    assert row["read right"].startswith("0.50 [")
    assert tables.disagreement(made)[0]["share"].startswith("0.25 [")
    assert tables.disagreement(made)[-1]["share"].startswith("0.33 [")
    assert [r["share"] for r in tables.costs(made)] == pytest.approx([0.5, 0.1, 0.4])
    assert len(tables.table_2()) == 9
    assert [(r["set"], r["stories"], r["right, program"][:4]) for r in tables.solved(made)] == [
        ("hard_mixed", 1, "1.00"), ("addsub_plus", 1, "0.00"), ("addsub_plus", 1, "1.00"),
    ]  # fmt: skip
    assert tables.figure_1()[0]["30 digits"] == 85
    assert tables.table_4()[0] == {"task": "parity", "1 examples": 5, "2 examples": 10,
                                   "5 examples": 10}  # fmt: skip
    rows = tables.candidates([Candidate("a = 1\nb", "text", "no"), Candidate("")])
    assert [(r["program"], r["failed"]) for r in rows] == [("a = 1", "text"), (None, None)]
    assert tables.sizes(made)[0]["exact to, bfloat16"] == 64
    assert tables.parameters(made)["lengths"] == made.settings.lengths


def test_networks_grow_with_their_window_beside_the_published():
    lines = {task: [] for task in TASKS}
    for line in figures.growth((16, 48)).data:
        assert list(line.x)[:3] == [16, 48, None]
        assert line.marker.symbol[-1] == "x" != line.marker.symbol[0]
        lines[line.name].append((list(line.y)[:2], line.x[-1], line.y[-1]))
    networks = [TASKS_OF["addition"].network(window) for window in (16, 48)]
    sizes = [sum(weight.numel() for weight in network.parameters()) for network in networks]
    assert lines["addition"] == [
        ([4, 4], 40, 10), ([3, 3], 40, 1),
        ([network.config.d_model for network in networks], 40, 535), (sizes, 40, 51_917_000),
    ]  # fmt: skip
    assert [each for _, *each in lines["copy"]] == [[16, n] for n in (1, 1, 69, 8_800)]


def test_figures_hold_every_share(made):
    figure = figures.reading(made)
    assert [(line.name, line.y) for line in figure.data] == [
        ("read right", (0.5,)), ("with the gate", (0.5,)), ("a calculator", (0.5,)),
        ("the model alone", (0.5,)),
        ("with the gate", (1.0, 1.0)), ("a calculator", (0.0, 1.0)),
        ("the model alone", (0.0, 0.0)),
    ]  # fmt: skip
    assert figures.coins(made).data[0].y == (1.0,)
    lines = {line.name: line.y for line in figures.parity_margins(100).data}
    assert set(lines) == {"float32", "bfloat16", "float16"}
    assert lines["bfloat16"][0] > 0.5 > 0 > min(lines["bfloat16"])
    assert min(lines["float32"]) > 0.9
    assert len(figures.by_length(made).layout.annotations) >= 6
