"""BM25 that reads on, beside one that scores each query anew."""

import statistics

import pytest

from workbench.papers.reasonchainqa import costs
from workbench.retrieval.lexical import Bm25

SMALL = {"FACTS": 120, "ASKED": 3, "STEPS": 2, "ROUNDS": 3}


@pytest.fixture
def small(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(costs, name, value)


def test_each_round_has_a_ratio_and_the_median_is_recorded(small):
    ratios = costs.measure()
    assert len(ratios) == 3
    assert all(ratio > 0 for ratio in ratios)
    (row,) = costs.metrics(ratios)
    assert row["name"] == "bm25_incremental_ratio"
    assert row["value"] == statistics.median(ratios)
    assert (row["n"], row["unit"], row["published"]) == (3, "rounds", None)
    assert row["ci95"][0] <= row["value"] <= row["ci95"][1]
    assert row["published_setting"] == "facts 120, questions 3, beam 5, steps 2"


def test_both_are_asked_what_a_search_asks_and_no_index_is_used_twice(small, monkeypatch):
    asked, plain = [], Bm25.scores

    def scores(self, query, read=()):
        if type(self) is Bm25:
            asked.append((id(self), query, tuple(read)))
        return plain(self, query, read)

    monkeypatch.setattr(Bm25, "scores", scores)
    costs.measure()
    by_index = {}
    for index, query, read in asked:
        by_index.setdefault(index, []).append((query, read))
    assert len(by_index) == 2 * (SMALL["ROUNDS"] + 1)
    whole = [rows for rows in by_index.values() if not any(read for _, read in rows)]
    added = [rows for rows in by_index.values() if any(read for _, read in rows)]
    assert len(whole) == len(added) == 4
    # A question, then each of its five best facts read.
    assert {len(rows) for rows in by_index.values()} == {3 * (1 + 5)}
    assert {len(read) for _, read in added[0]} == {0, 1}


def test_scores_that_differ_are_refused(small, monkeypatch):
    plain = Bm25.scores
    monkeypatch.setattr(Bm25, "scores", lambda self, query, read=(): (
        plain(self, query, read) + 0.01 * len(read)
    ))  # fmt: skip
    with pytest.raises(ArithmeticError, match=r"off by 0\.01, limit 0\.001"):
        costs.measure()
