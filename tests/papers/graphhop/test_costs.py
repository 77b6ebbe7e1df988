"""Ratios of a run: one a round, which of the two is slower shows, and logits that differ refuse."""

import time

import pytest

from workbench.evaluation.ratios import alternated
from workbench.papers.graphhop import costs


def test_a_ratio_is_of_one_round_and_says_which_is_slower():
    calls = []

    def act(name, seconds):
        calls.append(name)
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    ratios = alternated(lambda: act("slow", 0.02), lambda: act("fast", 0.002), 3)
    assert len(ratios) == 3
    assert all(ratio > 3 for ratio in ratios)
    assert calls == ["slow", "fast", "fast", "slow", "slow", "fast", "fast", "slow"]


def test_both_are_measured_and_have_their_sizes():
    ratios = {"shortcut_ratio": costs.shortcut(2, 5, 8, 16, rounds=2),
              "topk_ratio": costs.topk(300, 8, 3, 5, rounds=2)}  # fmt: skip
    rows = costs.metrics(ratios)
    assert [row["name"] for row in rows] == [*ratios]
    for row in rows:
        assert row["published"] is None
        assert row["value"] > 0
        assert (row["n"], row["unit"]) == (2, "rounds")
    assert rows[1]["published_setting"] == "facts 100,000, width 384, queries 32, k 10"


def test_logits_that_differ_are_refused(monkeypatch):
    plain = costs.Retriever.logits
    monkeypatch.setattr(costs.Retriever, "logits", lambda *given: plain(*given) + 1e-3)
    with pytest.raises(ArithmeticError, match=r"off by 0.001"):
        costs.shortcut(2, 5, 8, 16, rounds=1)
