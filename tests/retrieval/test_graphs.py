"""The schema of evidence: what graphs are, against networkx and by hand."""

import random
from itertools import islice, permutations

import networkx as nx
import pytest

from tests.retrieval.graph_cases import random_edges
from workbench.errors import GraphError
from workbench.retrieval import graphs
from workbench.retrieval.graphs import ROOT, checked, checked_chain

SHAPES = {
    "SCSH": [(ROOT, 4)],
    "SCMH": [(ROOT, 4), (4, 2)],
    "MCSH": [(ROOT, 4), (ROOT, 2)],
    "MCMH": [(ROOT, 4), (ROOT, 2), (4, 1)],
}


@pytest.mark.parametrize("name", SHAPES)
def test_structures(name):
    assert graphs.structure(SHAPES[name]) == name


def test_a_fan_behind_one_fact_is_of_several_chains():
    assert graphs.structure([(ROOT, 0), (0, 1), (0, 2)]) == "MCMH"
    assert graphs.structure([(ROOT, 0), (0, 2), (ROOT, 1), (1, 2)]) == "MCMH"


def test_depth_order_and_paths_are_those_of_networkx():
    rng = random.Random(0)
    for _ in range(200):
        edges = random_edges(rng, rng.randint(1, 7))
        graph = nx.DiGraph(edges)
        assert graphs.depth(edges) == nx.dag_longest_path_length(graph)
        assert graphs.breadth(edges) == max(d for _, d in graph.out_degree())
        order = graphs.reading_order(edges)
        assert sorted([ROOT, *order]) == sorted(graph)
        assert all(u == ROOT or order.index(u) < order.index(v) for u, v in edges)
        every = {
            tuple(path[1:]) for node in order for path in nx.all_simple_paths(graph, ROOT, node)
        }
        paths = list(graphs.paths(edges, 10**6))
        assert len(paths) == len(every)
        assert set(paths) == every
        assert [len(path) for path in paths] == sorted(map(len, paths))
        assert list(graphs.paths(edges, 3)) == paths[:3]


def test_paths_of_a_dense_graph_end():
    dense = [(u, v) for v in range(40) for u in range(-1, v)]
    assert len(list(islice(graphs.paths(dense, 500), 1000))) == 500


@pytest.mark.parametrize(
    ("edges", "said"),
    [
        ([], "no edges"),
        ([(ROOT, 0), (0, 0)], r"edge \(0, 0\) leads from a fact to itself"),
        ([(ROOT, 0), (0, 5)], r"edge \(0, 5\) leaves the 5 facts"),
        ([(ROOT, 0), (5, 0)], r"edge \(5, 0\) leaves the 5 facts"),
        ([(0, ROOT)], r"edge \(0, -1\) leaves the 5 facts"),
        ([(-2, 0)], r"edge \(-2, 0\) leaves the 5 facts"),
        ([(ROOT, 0), (0, 1), (1, 2), (2, 0)], r"go in a circle"),
        ([(ROOT, 0), (0, 1), (1, 2), (2, 3), (3, 1)], r"edges \(1, 2\), \(2, 3\), \(3, 1\) go in"),
        ([(ROOT, 0), (3, 4)], r"nothing leads from the question to the edges \(3, 4\)"),
        ([(ROOT, 0), (1, 2), (2, 3), (2, 4)], r"\(1, 2\), \(2, 3\), \(2, 4\)"),
        ([(ROOT, "0")], "no pair of whole numbers"),
        ([(ROOT, True)], "no pair of whole numbers"),
        ([(ROOT, 0.0)], "no pair of whole numbers"),
        ([(ROOT, 0, 1)], "no pair of whole numbers"),
        ([7], "no pair of whole numbers"),
    ],
)
def test_what_is_no_graph_is_named(edges, said):
    with pytest.raises(GraphError, match=said):
        checked(edges, 5, "q7")


def test_facts_that_are_read_at_once_come_in_order_of_their_places():
    assert graphs.reading_order([(ROOT, 0), (ROOT, 1), (0, 5), (1, 2)]) == [0, 1, 2, 5]
    assert graphs.reading_order([(ROOT, 9), (9, 4), (ROOT, 2), (2, 3)]) == [2, 9, 3, 4]


def test_facts_of_edges_that_are_cut_off_are_facts_too():
    assert graphs.nodes([(3, 7), (ROOT, 5)]) == (3, 5, 7)
    assert graphs.nodes([]) == ()


def test_edges_come_back_sorted_and_once():
    assert checked([(0, 1), (ROOT, 0), (0, 1)], 2, "q") == ((ROOT, 0), (0, 1))


def test_the_kind_of_reasoning_is_that_of_the_last_function():
    kinds = {
        last: graphs.reasoning([{"function": "Find"}, {"function": last}])
        for last in ("What", "SelectBetween", "Count", "VerifyYear", "QueryAttrQualifier", "Jump")
    }
    assert list(kinds.values()) == ["Query", "Comparison", "Count", "Bool", "Qualifier", "Other"]
    assert graphs.reasoning([]) == "Other"


def test_chains_are_exactly_the_topological_orders():
    rng = random.Random(1)
    for _ in range(60):
        edges = random_edges(rng, rng.randint(1, 5))
        within = nx.DiGraph([(u, v) for u, v in edges if u != ROOT])
        within.add_nodes_from(graphs.nodes(edges))
        orders = {tuple(order) for order in nx.all_topological_sorts(within)}
        for order in permutations(graphs.nodes(edges)):
            if order in orders:
                assert checked_chain(list(order), edges, "q") == order
            else:
                with pytest.raises(GraphError, match=r"^q: chain reads fact"):
                    checked_chain(order, edges, "q")


@pytest.mark.parametrize(
    ("chain", "said"),
    [
        ([4, 1], r"q7: chain \[4, 1\]: fact 2 is missing"),
        ([4, 2, 1, 3], "fact 3 is no gold fact"),
        ([-1, 4, 2, 1], "fact -1 is no gold fact"),
        ([4, 2, 1, 2], "has fact 2 twice"),
        ([4, 1, 2], "chain reads fact 1 before fact 2, which leads to it"),
        ([4, 2.0, 1], "no list of whole numbers"),
        ([4, True, 2], "no list of whole numbers"),
        ("421", "no list of whole numbers"),
        (3, "no list of whole numbers"),
    ],
)
def test_what_is_no_chain_is_named(chain, said):
    with pytest.raises(GraphError, match=said):
        checked_chain(chain, [(ROOT, 4), (ROOT, 2), (2, 1)], "q7")
