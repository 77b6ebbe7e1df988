"""Labels of states, by hand and by a slow recursion."""

import logging
import random
from itertools import pairwise

import pytest

from tests.retrieval.graph_cases import random_edges
from workbench.retrieval.graphs import ROOT
from workbench.retrievers.targets import MOST_DEPTH, MOST_STATES, reversed_edges, targets

JOIN = [(ROOT, 0), (ROOT, 1), (0, 2), (1, 2), (2, 3)]


def test_by_hand():
    assert targets(JOIN, "forward") == [
        {(): [0, 1]},
        {(0,): [2], (1,): [2]},
        {(0, 2): [3], (1, 2): [3]},
        {(0, 2, 3): [], (1, 2, 3): []},
    ]
    assert targets(JOIN, "backward") == [
        {(): [3]},
        {(3,): [2]},
        {(3, 2): [0, 1]},
        {(3, 2, 0): [], (3, 2, 1): []},
    ]
    assert targets(JOIN, "one_hop") == [{(): [0, 1, 2, 3]}]
    assert reversed_edges(reversed_edges(JOIN)) == JOIN


@pytest.mark.parametrize(
    ("edges", "forward", "backward"),
    [
        ([(ROOT, 4)], [], []),
        ([(ROOT, 1), (ROOT, 2)], [], []),
        ([(ROOT, 1), (ROOT, 2), (2, 3)], [2], [3]),
        (JOIN, [0, 1], [3]),
    ],
)
def test_the_labels_of_the_release_skip_facts_that_are_first_and_last(edges, forward, backward):
    assert targets(edges, "forward", official=True)[0] == {(): forward}
    assert targets(edges, "backward", official=True)[0] == {(): backward}
    assert targets(edges, "forward", official=True)[1:] == targets(edges, "forward")[1:]


def slow(edges, path=()):
    """Path → what comes next, by recursion."""
    last = path[-1] if path else ROOT
    after = sorted(v for u, v in edges if u == last)
    every = {path: after}
    for v in after:
        every |= slow(edges, (*path, v))
    return every


def test_states_of_random_graphs():
    rng = random.Random(3)
    for _ in range(100):
        edges = random_edges(rng, rng.randint(1, 5))
        for direction, graph in (("forward", edges), ("backward", reversed_edges(edges))):
            levels = targets(edges, direction)
            flat = {path: after for level in levels for path, after in level.items()}
            assert flat == slow(graph)
            assert all(len(path) == depth for depth, level in enumerate(levels) for path in level)


def test_states_of_a_dense_graph_are_limited_with_a_warning(caplog):
    dense = [(u, v) for u in range(ROOT, 12) for v in range(u + 1, 12)]
    with caplog.at_level(logging.WARNING):
        levels = targets(dense, "forward")
    assert "not all" in caplog.text
    assert max(map(len, levels)) == MOST_STATES
    for before, level in pairwise(levels):
        assert all(path[:-1] in before for path in level)


@pytest.mark.parametrize(("count", "told"), [(MOST_STATES, False), (MOST_STATES + 1, True)])
def test_one_state_too_many_is_told(caplog, count, told):
    levels = targets([(ROOT, i) for i in range(count)], "forward")
    assert len(levels[1]) == MOST_STATES
    assert ("not all" in caplog.text) == told


def test_a_path_whose_beginning_is_left_out_is_left_out():
    star = [(ROOT, i) for i in range(MOST_STATES + 4)]
    late = [(i, 100 + i) for i in range(MOST_STATES - 2, MOST_STATES + 4)]
    level = targets([*star, *late], "forward")[2]
    assert [*level] == [(i, 100 + i) for i in (MOST_STATES - 2, MOST_STATES - 1)]


def test_a_long_chain_is_learnt_to_its_limit(caplog):
    chain = [(i - 1, i) for i in range(MOST_DEPTH + 2)]
    levels = targets(chain, "forward")
    assert [len(level) for level in levels] == [1] * (1 + MOST_DEPTH)
    assert levels[-1] == {tuple(range(MOST_DEPTH)): [MOST_DEPTH]}
    assert "not all" in caplog.text
