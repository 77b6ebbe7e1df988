"""Depth curves of runs with other pools or decoys, a run at a time."""

import pytest

from workbench.papers.reasonchainqa import figures


def row(name, value, interval=None):
    return {"name": name, "value": value, "ci95": interval}


METRICS = [
    row("chain_em_bm25", 0.3), row("chain_em_bm25_1", 0.6, [0.5, 0.8]),
    row("chain_em_bm25_2", 0.1), row("chain_em_bm25_oracle_k_1", 0.9),
    row("chain_em_one_hop_deep", 0.2), row("chain_em_one_hop_1", 0.7, [0.6, 0.7]),
    row("set_em_bm25_1", 0.65), row("set_em_tfidf_1", 0.4), row("gain_chain_em_path_greedy_1", 0.1),
    row("held_out_chain_em_path_1", 0.1), row("chain_em_tfidf_2", 0.25),
]  # fmt: skip
RUNS = {
    "a": {"preset": "paper", "parameters": {}, "metrics": METRICS[:3]},
    "b": {"preset": "tiny", "parameters": {"pool": 16, "decoys": 2}, "metrics": METRICS},
    "c": {"preset": "tiny", "parameters": {"pool": 100, "decoys": 0}, "metrics": METRICS[3:]},
}


def curves(drawn):
    return {(line.name, place): dict(zip(line.x, line.y, strict=True))
            for place, line in enumerate(drawn.data)}  # fmt: skip


def test_each_run_has_its_methods_by_depth():
    drawn = figures.over_runs(RUNS)
    assert curves(drawn) == {
        ("bm25", 0): {"1": 0.6, "2": 0.1},
        ("bm25", 1): {"1": 0.6, "2": 0.1}, ("one_hop", 2): {"1": 0.7}, ("tfidf", 3): {"2": 0.25},
        ("one_hop", 4): {"1": 0.7}, ("tfidf", 5): {"2": 0.25},
    }  # fmt: skip
    bars = drawn.data[1].error_y
    assert [*bars.array, *bars.arrayminus] == pytest.approx([0.2, 0, 0.1, 0])
    # A method has one colour in all runs.
    assert drawn.data[2].line == drawn.data[4].line
    assert drawn.data[2].line != drawn.data[3].line
    assert curves(figures.over_runs({"b": RUNS["b"]}, "set_em")) == {
        ("bm25", 0): {"1": 0.65}, ("tfidf", 1): {"1": 0.4},
    }  # fmt: skip


def test_the_menu_shows_one_run_and_the_last_at_first():
    drawn = figures.over_runs(RUNS)
    (menu,) = drawn.layout.updatemenus
    labels = [button.label for button in menu.buttons]
    assert labels == ["own questions; paper (a)", "pool 16, decoys 2; tiny (b)",
                      "pool 100, decoys 0; tiny (c)"]  # fmt: skip
    off, some = [False], "legendonly"
    shown = [button.args[0]["visible"] for button in menu.buttons]
    assert shown == [[True, *off * 5], [*off, True, True, some, *off * 2], [*off * 4, True, some]]
    assert menu.active == 2
    assert [line.visible for line in drawn.data] == shown[2]
    chosen = figures.over_runs(RUNS, first="b")
    assert chosen.layout.updatemenus[0].active == 1
    assert [line.visible for line in chosen.data] == shown[1]
    with pytest.raises(ValueError, match="score='exact'"):
        figures.over_runs(RUNS, "exact")


def test_without_a_run_nothing_is_drawn():
    drawn = figures.over_runs({})
    assert not drawn.data
    assert not drawn.layout.updatemenus
