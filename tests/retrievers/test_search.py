"""Search by levels, against a recursion over one question's states."""

import logging
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.retrievers.small import QUESTIONS, lexical, naive
from workbench.retrieval.graphs import ROOT
from workbench.retrievers import search

WIDE = {"states": 10_000, "edges": 10_000}


@torch.no_grad()
def apart(direction):
    """A retriever whose scores lie on both sides of any threshold, whatever was drawn."""
    retriever = lexical(direction)
    first = torch.tensor([z for q in QUESTIONS[:3] for z in naive(retriever, q)])
    retriever.out.bias -= first.mean()
    for weights in retriever.out.parameters():
        weights *= 4 / first.std()
    return retriever


def slow(retriever, question, above, depth, greedy=False):
    edges = {}

    def note(edge, p):
        edges[edge] = max(p, edges.get(edge, 0))

    def read(path):
        if len(path) == depth:
            return
        odds = [1 / (1 + pow(2.718281828459045, -z)) for z in naive(retriever, question, path)]
        left = sorted((-p, v) for v, p in enumerate(odds) if v not in path)
        if path and retriever.direction == "backward" and 1 + left[0][0] > above:
            note((ROOT, path[-1]), 1 + left[0][0])
        for p, v in left[:1] if greedy else left:
            if -p > above:
                last = path[-1] if path else ROOT
                if retriever.direction != "backward":
                    note((last, v), -p)
                elif path:
                    note((v, last), -p)
                read((*path, v))

    with torch.no_grad():
        read(())
    return edges


def same(edges, expected):
    assert [(u, v) for u, v, _ in edges] == sorted(expected)
    assert [p for _, _, p in edges] == pytest.approx(
        [expected[e] for e in sorted(expected)], abs=1e-4
    )


@pytest.mark.parametrize("direction", ["forward", "backward", "one_hop"])
@pytest.mark.parametrize("greedy", [False, True])
def test_edges_are_those_of_a_recursion(direction, greedy):
    retriever = apart(direction)
    above = 0.25 if greedy else 0.97
    depth = 1 if direction == "one_hop" else 3
    results = search.retrieved(
        retriever, QUESTIONS[:3], above=above, depth=3, greedy=greedy, **WIDE
    )
    assert any(any(u != ROOT for u, _, _ in edges) for edges in results) == (depth > 1)
    for question, edges in zip(QUESTIONS, results, strict=False):
        same(edges, slow(retriever, question, above, depth, greedy))


def test_results_do_not_depend_on_the_batch(monkeypatch):
    retriever = lexical()
    together = search.retrieved(retriever, QUESTIONS[:7], above=0.6)
    monkeypatch.setattr(search, "TOGETHER", 2)
    assert search.retrieved(retriever, QUESTIONS[:7], above=0.6) == [
        [(u, v, pytest.approx(p, abs=2e-5)) for u, v, p in edges] for edges in together
    ]


def test_the_best_are_kept_within_limits(caplog):
    retriever = lexical()
    with caplog.at_level(logging.WARNING):
        every = search.retrieved(retriever, QUESTIONS[:3], above=0.5, depth=2, **WIDE)
        assert not caplog.text
        few = search.retrieved(retriever, QUESTIONS[:3], above=0.5, depth=2, states=9999, edges=4)
        narrow = search.retrieved(retriever, QUESTIONS[:3], above=0.5, states=2, edges=999)
    assert "forward: 3 of 3 questions have more than 9999 states or 4 edges" in caplog.text
    assert "forward: 3 of 3 questions have more than 2 states or 999 edges" in caplog.text
    for edges, best in zip(every, few, strict=True):
        assert best == sorted(sorted(edges, key=lambda e: (-e[2], e[:2]))[:4])
    for edges, pair in zip(every, narrow, strict=True):
        first = max((e for e in edges if e[0] == ROOT), key=lambda e: e[2])
        assert {u for u, _, _ in pair} <= {ROOT, first[1]}


class Table:
    """A retriever of made-up probabilities, which hang on the whole path."""

    direction = "forward"
    encoder = SimpleNamespace(pool=lambda questions: questions)

    def odds(self, path):
        return [p / 100 for p in random.Random(str(path)).sample(range(5, 96), 6)]

    def start(self, pool):
        return SimpleNamespace(rows=torch.arange(len(pool)), paths=[()] * len(pool))

    def scores(self, level):
        return torch.tensor([self.odds(path) for path in level.paths]).logit()

    def step(self, level, parents, facts):
        rows = zip(parents.tolist(), facts.tolist(), strict=True)
        return SimpleNamespace(rows=level.rows, paths=[(*level.paths[i], v) for i, v in rows])


@pytest.mark.parametrize("states", range(2, 30, 3))
def test_within_a_limit_of_states_the_most_probable_of_a_level_are_read(states):
    table = Table()
    held, room, expected = [()], states - 1, {}
    for _ in range(3):
        children = []
        for path in held:
            last = path[-1] if path else ROOT
            for v, p in enumerate(table.odds(path)):
                if v not in path and p > 0.5:
                    expected[last, v] = max(p, expected.get((last, v), 0))
                    children.append((-p, held.index(path), (*path, v)))
        held = [path for *_, path in sorted(children)[:room]]
        room -= len(held)
    limits = {"depth": 3, "states": states, "edges": 9999}
    for edges in search.retrieved(table, QUESTIONS[:2], above=0.501, **limits):
        same(edges, expected)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_fact_that_is_as_probable_as_the_limit_is_not_read(direction):
    retriever = apart(direction)
    (every,) = search.retrieved(retriever, QUESTIONS[:1], above=0.0, depth=2, **WIDE)
    best = 1 / (1 + math.exp(-max(naive(retriever, QUESTIONS[0]))))
    for first in (True, False):
        # Below the best of the first round, so that something is read.
        above = max(p for u, _, p in every if (u == ROOT) == first and p < best - 1e-4)
        (edges,) = search.retrieved(retriever, QUESTIONS[:1], above=above, depth=2, **WIDE)
        assert edges or direction == "backward"
        assert all(p > above for _, _, p in edges)


@pytest.mark.parametrize("wrong", [{"above": 1.5}, {"depth": 0}, {"states": 0}, {"edges": 1.5}])
def test_limits_are_refused_by_name(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}="):
        search.retrieved(lexical(), QUESTIONS[:1], **wrong)


@pytest.mark.parametrize(
    "limits",
    [{"states": 2, "edges": 4}, {"states": 999, "edges": 1}, {"states": 20, "edges": 999}],
    ids=["both", "edges", "states"],
)
def test_a_question_that_is_cut_is_counted_once(monkeypatch, caplog, limits):
    monkeypatch.setattr(search, "TOGETHER", 2)
    every = search.retrieved(lexical(), QUESTIONS[:5], above=0.5, depth=2, **WIDE)
    caplog.clear()
    search.retrieved(lexical(), QUESTIONS[:5], above=0.5, depth=2, **limits)
    # Of paths of up to two facts each has an edge of its own.
    most = [len(e) + 1 > limits["states"] or len(e) > limits["edges"] for e in every]
    (record,) = caplog.records
    assert f"{sum(most)} of 5 questions" in record.getMessage()


def test_no_question_has_no_graph():
    assert search.retrieved(lexical(), []) == []


def test_a_question_without_facts_is_named():
    asked = [QUESTIONS[0], replace(QUESTIONS[1], facts=())]
    with pytest.raises(ValueError, match="no facts of question 'q1'"):
        search.retrieved(lexical(), asked)
    with pytest.raises(ValueError, match="questions="):
        search.retrieved(lexical(), QUESTIONS[0])
