"""Shapes and distances: against networkx, which tries all mappings."""

import random

import networkx as nx

from tests.retrieval.graph_cases import random_edges
from workbench.retrieval.graphs import ROOT
from workbench.retrieval.shapes import edit_distance, same_shape


def test_distances_are_those_of_networkx():
    rng = random.Random(1)
    for _ in range(60):
        a, b = (random_edges(rng, rng.randint(1, 4)) for _ in range(2))
        assert edit_distance(a, b) == nx.graph_edit_distance(nx.DiGraph(a), nx.DiGraph(b)), (a, b)


def test_shapes_are_those_of_networkx():
    rng, alike = random.Random(2), 0
    for _ in range(400):
        a, b = (random_edges(rng, rng.randint(1, 5)) for _ in range(2))
        same = nx.is_isomorphic(nx.DiGraph(a), nx.DiGraph(b))
        assert same_shape(a, b) == same
        assert (edit_distance(a, b) == 0) == same
        alike += same
    assert alike > 20


def test_a_graph_under_other_labels_has_its_shape():
    rng = random.Random(3)
    for _ in range(50):
        edges = random_edges(rng, 8)
        names = dict(enumerate(rng.sample(range(100), 16)))
        other = [(u if u == ROOT else names[u], names[v]) for u, v in edges]
        assert same_shape(edges, other)
        assert edit_distance(edges, other) == 0


def test_a_wrong_star_has_the_shape_of_the_right_one():
    assert same_shape([(ROOT, 0), (ROOT, 1)], [(ROOT, 5), (ROOT, 9)])


def test_nothing_predicted_is_as_far_as_the_graph_is_large():
    assert edit_distance([(ROOT, 0), (0, 1)], []) == 4


def test_an_edge_that_is_cut_off_is_none_from_the_question():
    rng = random.Random(6)
    for _ in range(60):
        a, b = (random_edges(rng, rng.randint(1, 4)) for _ in range(2))
        b = rng.sample(b, rng.randint(0, len(b)))  # some of it is cut off, and so may the question
        plain = [nx.DiGraph(edges) for edges in (a, b)]
        for graph in plain:
            graph.add_node(ROOT)
        assert same_shape(a, b) == nx.is_isomorphic(*plain)
        assert edit_distance(a, b) == nx.graph_edit_distance(*plain), (a, b)
    assert not same_shape([(ROOT, 0)], [(3, 7)])


def test_an_edge_that_is_there_twice_is_one():
    assert same_shape([(ROOT, 0), (0, 1)], [(ROOT, 0), (0, 1), (0, 1)])
    assert edit_distance([(ROOT, 0), (0, 1)], [(ROOT, 0), (0, 1), (0, 1)]) == 0


def test_a_distance_that_takes_too_long_is_none():
    rng = random.Random(4)
    a, b = (random_edges(rng, 12, 0.4) for _ in range(2))
    assert edit_distance(a, b, 50) is None


def test_degrees_at_either_end_bound_what_is_tried():
    """Without the bound of one end, these take more than eight times as many steps."""
    star, chain = [(ROOT, i) for i in range(9)], [(i - 1, i) for i in range(9)]
    assert edit_distance(star, chain, 100) == 16
    join = [(ROOT, 1), (ROOT, 6), (ROOT, 7), (5, 1), (6, 5), (7, 1)]
    tree = [(ROOT, 0), (ROOT, 6), (ROOT, 10), (0, 1), (1, 8), (6, 5)]
    assert edit_distance(join, tree, 60) == 6


def test_a_prediction_may_go_in_a_circle():
    circle, chain = [(ROOT, 3), (3, 7), (7, 3)], [(ROOT, 3), (3, 7)]
    assert same_shape(circle, [(2, 9), (9, 2), (ROOT, 9)])
    assert not same_shape(circle, chain)
    assert edit_distance(chain, circle) == 1
