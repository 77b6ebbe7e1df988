"""Metrics of chains: against slow ones, scipy's τ, and what must hold of every prediction."""

import random
from dataclasses import astuple, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from tests.retrieval import slow_chains
from tests.retrieval.graph_cases import random_edges
from workbench.errors import GraphError
from workbench.retrieval.chain_metrics import (
    KS,
    chain_scored,
    full_chain_at,
    recall_at,
    right_start,
    step_accuracy,
    stop_table,
)
from workbench.retrieval.chains import chain_of, depth_first
from workbench.retrieval.graphs import ROOT, Evidence

FACTS = tuple(f"Fact {i}." for i in range(12))


def asked(edges, chain=()):
    return Evidence("q", "?", FACTS, tuple(sorted(edges)), chain=tuple(chain))


CHAIN = asked([(ROOT, 4), (4, 1), (1, 7)])


def drawn(rng):
    """A question, a predicted chain near its own, and a predicted graph or none."""
    gold = asked(random_edges(rng, rng.randint(1, 5)))
    chain = list(chain_of(gold))
    if rng.random() < 0.5:
        gold = replace(gold, chain=tuple(chain))
    for _ in range(rng.randint(0, 2)):
        kind, i = rng.randrange(4), rng.randrange(len(chain) + 1)
        if kind == 0:
            chain = chain[:i]
        elif kind == 1:
            chain = list(dict.fromkeys([*chain[:i], rng.randrange(12), *chain[i:]]))
        elif kind == 2:
            rng.shuffle(chain)
    edges = rng.choice([gold.edges, gold.edges[:-1], random_edges(rng, 4), [], None])
    return gold, chain, edges


def test_scores_are_the_slow_ones():
    rng = random.Random(3)
    seen = []
    for _ in range(1500):
        gold, chain, edges = drawn(rng)
        scores = chain_scored(gold, chain, edges)
        slow = slow_chains.scored(gold, chain, edges)
        assert (scores.order is None) == (slow.order is None)
        fast, slow = (replace(s, order=0 if s.order is None else s.order) for s in (scores, slow))
        assert astuple(fast) == pytest.approx(astuple(slow))
        seen.append(scores)
    # Every score takes values besides 0 and 1, so that the comparison is one.
    assert len({s.prefix for s in seen}) > 5
    assert len({s.order for s in seen}) > 5
    assert len({s.chain_f1 for s in seen}) > 5


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 11), unique=True, max_size=8), st.permutations(range(12)))
def test_what_must_hold_of_every_prediction(predicted, renamed):
    gold = CHAIN
    scores = chain_scored(gold, predicted)
    assert scores.chain_exact <= scores.exact <= min(scores.precision, scores.recall)
    assert scores.chain_exact <= scores.chain_f1
    assert scores.prefix <= scores.recall
    assert (scores.prefix == 1) == (tuple(predicted[:3]) == chain_of(gold))
    assert (scores.order is not None) == bool(scores.exact)
    assert scores.chain_exact == (scores.order == 1)
    assert scores.excess == len(predicted) - 3
    moved = asked([(u if u == ROOT else renamed[u], renamed[v]) for u, v in gold.edges])
    assert chain_scored(moved, [renamed[i] for i in predicted]) == scores


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(6)))
def test_the_score_of_order_is_scipys_tau(predicted):
    gold = asked([(i - 1, i) for i in range(6)])
    tau = kendalltau(range(6), [predicted.index(i) for i in range(6)]).statistic
    assert chain_scored(gold, predicted).order == pytest.approx(tau)


def test_by_hand():
    scores = chain_scored(CHAIN, [4, 7, 1])
    assert (scores.exact, scores.chain_exact, scores.excess) == (1, 0, 0)
    assert (scores.prefix, scores.order) == pytest.approx((1 / 3, 1 / 3))
    assert chain_scored(CHAIN, [4, 1]).prefix == pytest.approx(2 / 3)
    assert chain_scored(CHAIN, [4, 1, 7, 0]).prefix == 1
    assert chain_scored(asked([(ROOT, 4)]), [4]).order == 1


def test_an_empty_prediction_is_worth_nothing():
    scores = chain_scored(CHAIN, [])
    assert astuple(replace(scores, order=0)) == (0,) * 8 + (-3,)
    assert scores.order is None
    assert chain_scored(CHAIN, [], []) == scores


def test_facts_that_do_not_lead_to_each_other_are_read_in_any_order():
    heads = [(ROOT, 3), (3, 1), (3, 5), (3, 7)]
    for gold in (asked(heads), asked(heads, (3, 7, 5, 1))):
        scores = chain_scored(gold, [3, 5, 1, 7])
        assert (scores.chain_exact, scores.prefix, scores.order) == (1, 1, 1)
        # Of three pairs that have an order, two are read in it.
        scores = chain_scored(gold, [7, 3, 1, 5])
        assert (scores.exact, scores.chain_exact, scores.prefix) == (1, 0, 0)
        assert scores.order == pytest.approx(1 / 3)
        assert step_accuracy([gold], [[3, 5, 0, 1]]) == [(1, 1), (1, 1), (0, 1)]
    apart = asked([(ROOT, 3), (ROOT, 5)])
    assert chain_scored(apart, [5, 3]) == chain_scored(apart, [3, 5])
    branches = asked([(ROOT, 0), (0, 1), (ROOT, 2), (2, 3)])
    assert chain_scored(branches, [2, 0, 3, 1]).chain_exact == 1
    assert right_start(branches.edges, [2, 0, 1, 1]) == right_start(branches.edges, [2, 0, 1]) == 3


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 6), st.randoms(use_true_random=False))
def test_every_order_of_reading_is_right_and_no_other(count, rng):
    gold = asked(random_edges(rng, count))
    allowed = slow_chains.orders(gold.edges)
    read = rng.choice(allowed)
    scores = chain_scored(gold, read)
    assert (scores.chain_exact, scores.prefix, scores.order, scores.excess) == (1, 1, 1, 0)
    assert step_accuracy([gold], [read]) == [(1, 1)] * count
    shuffled = tuple(rng.sample(gold.nodes, count))
    scores = chain_scored(gold, shuffled)
    assert scores.chain_exact == (shuffled in allowed) == (scores.order == 1)
    assert scores.chain_exact == (scores.prefix == 1) <= scores.exact


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(7)), st.integers(1, 6), st.lists(st.integers(0, 6), unique=True))
def test_of_a_plain_chain_only_the_very_sequence_is_right(places, length, other):
    chain = [*places[:length]]
    gold = asked(pairwise([ROOT, *chain]))
    for predicted in (other, [*chain[: length // 2], *(p for p in other if p not in chain)]):
        same = [a == b for a, b in zip(chain, predicted, strict=False)]
        start = [*same, False].index(False)
        scores = chain_scored(gold, predicted)
        assert scores.chain_exact == (predicted == chain)
        assert scores.prefix == start / length
        steps = [(1.0, 1)] * start + [(0.0, 1)] * (start < length)
        assert step_accuracy([gold], [predicted]) == steps


@pytest.mark.parametrize(
    ("edges", "told"),
    [
        ([], "question q: no edges: a question needs one fact at least"),
        ([(ROOT, 1), (2, 3)], r"question q: nothing leads from the question to the edges \(2, 3\)"),
        ([(ROOT, 1), (1, 2), (2, 1)], "question q: the edges .* go in a circle"),
        ([(ROOT, 12)], "leaves the 12 facts"),
    ],
)
def test_gold_that_is_no_graph_is_refused(edges, told):
    gold = asked(edges, chain=(1,))
    for call in (chain_scored, lambda q, p: step_accuracy([q], [p]),
                 lambda q, p: stop_table([q], [p])):  # fmt: skip
        with pytest.raises(GraphError, match=told):
            call(gold, [1])


def test_several_chains_are_compared_path_by_path():
    gold = asked([(ROOT, 0), (0, 1), (ROOT, 2), (2, 3)])
    assert chain_scored(gold, [0, 1, 2, 3]).chain_f1 == 0  # one path, of four facts
    assert chain_scored(gold, [0, 1]).chain_f1 == pytest.approx(2 / 3)
    assert chain_scored(gold, [0, 1], gold.edges).chain_f1 == 1
    assert chain_scored(gold, [0, 1], [*map(list, gold.edges * 2)]).chain_f1 == 1
    # A path that goes on past the gold leaf, and one that ends before it, are other paths.
    assert chain_scored(gold, [], [*gold.edges, (3, 4)]).chain_f1 == 0.5
    assert chain_scored(gold, [], gold.edges[:-1]).chain_f1 == 0.5
    assert chain_scored(gold, [], [*gold.edges, (4, 5), (5, 4)]).chain_f1 == 0


def test_paths_without_number_are_counted_all_the_same():
    """A ladder of 60 steps, each of two facts, has 2^60 paths to its end."""
    steps = [(2 * i, 2 * i + 1) for i in range(60)]
    edges = [(u, v) for u_s, v_s in pairwise([(ROOT,), *steps]) for u in u_s for v in v_s]
    gold = Evidence("q", "?", tuple(map(str, range(120))), tuple(sorted(edges)))
    half = [edge for edge in gold.edges if edge[1] != 119]
    assert chain_scored(gold, [], gold.edges).chain_f1 == 1
    # All of its 2^59 paths are right, half of the gold ones.
    assert chain_scored(gold, [], half).chain_f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        ([4, 4], "predicted: 4 is there twice"),
        ([12], r"predicted\[0\]=12: .* at most 11"),
        ([-1], r"predicted\[0\]=-1"),
        ([True], r"predicted\[0\]=True"),
        ([1.0], r"predicted\[0\]=1.0"),
        (4, "predicted=4: it must be a list"),
    ],
)
def test_what_is_no_chain_is_refused(predicted, message):
    with pytest.raises(ValueError, match=message):
        chain_scored(CHAIN, predicted)
    with pytest.raises(ValueError, match=message.replace("predicted", "prediction of q")):
        step_accuracy([CHAIN], [predicted])


def test_arrays_are_chains_too():
    assert chain_scored(CHAIN, np.array([4, 1, 7])).chain_exact == 1
    assert chain_scored(CHAIN, np.array([])).excess == -3


def test_steps_are_those_of_right_prefixes():
    rng = random.Random(4)
    for _ in range(200):
        cases = [drawn(rng) for _ in range(rng.randint(1, 30))]
        golds, predictions = [gold for gold, *_ in cases], [chain for _, chain, _ in cases]
        steps = step_accuracy(golds, predictions)
        assert steps == slow_chains.step_accuracy(golds, predictions)
    assert step_accuracy([CHAIN] * 2, [[4, 1], [4, 1, 7, 9]]) == [(1, 2), (1, 2), (0.5, 2)]
    assert step_accuracy([CHAIN], [[]]) == [(0, 1)]


def test_where_chains_end():
    single = asked([(ROOT, 4)])
    golds = [CHAIN, single, CHAIN, CHAIN, CHAIN]
    rows = stop_table(golds, [[4], [4, 5], [0, 1, 2], [4, 1, 7, 0], []])
    assert [row["length"] for row in rows] == [1, 3]
    assert rows[0] == {"length": 1, "n": 1, "short": 0, "right": 0, "long": 1, "excess": 1}
    assert rows[1] == {
        "length": 3, "n": 4, "short": 0.5, "right": 0.25, "long": 0.25, "excess": -1.0,
    }  # fmt: skip
    with pytest.raises(ValueError, match="1 predictions for 5 questions"):
        stop_table(golds, [[]])


def test_recall_of_rankings():
    rng = random.Random(6)
    for _ in range(200):
        ranking = rng.sample(range(30), 24)
        gold = set(rng.sample(range(30), rng.randint(1, 7)))
        for k in KS:
            there = [fact in ranking[:k] for fact in sorted(gold)]
            assert recall_at(ranking, gold, k) == pytest.approx(sum(there) / len(gold))
            assert full_chain_at(ranking, gold, k) == all(there)
    assert recall_at(np.array([3, 1, 2]), (1, 1, 3), 2) == 1
    for k in (0, 4, 1.0):
        with pytest.raises(ValueError, match=r"k=.*at least 1 and at most 3"):
            recall_at([1, 2, 3], [1], k)
    with pytest.raises(ValueError, match="ranking: 2 is there twice"):
        recall_at([1, 2, 2], [1], 1)
    with pytest.raises(ValueError, match="no gold fact"):
        full_chain_at([1, 2], [], 1)


def test_a_fact_that_reads_like_an_end_is_a_fact():
    gold = replace(CHAIN, facts=("<eos>",) * 12)
    assert chain_scored(gold, depth_first(gold.edges)).chain_exact == 1
