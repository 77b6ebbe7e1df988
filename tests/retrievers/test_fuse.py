"""Graphs from scored edges: by hand, and by a slow search for what is reached."""

import random
from itertools import product

import networkx as nx
import pytest

import workbench as wb
from tests.retrieval.graph_cases import random_edges
from tests.retrievers.small import QUESTIONS, lexical
from workbench.retrieval.graphs import ROOT, nodes
from workbench.retrievers import fuse
from workbench.retrievers.search import retrieved


def sure(edges):
    return [(u, v, 0.9) for u, v in edges]


def test_agreement_takes_the_backward_graph_alone():
    forward, backward = [(ROOT, 1), (1, 2)], [(ROOT, 1), (1, 3)]
    assert fuse.official(sure(forward), sure(backward)) == backward
    assert fuse.official(sure(forward), []) == forward
    assert fuse.official([], sure(backward)) == backward
    assert fuse.official([], []) == []


@pytest.mark.parametrize(("others", "agree"), [(24, True), (25, False)])
def test_agreement_is_a_share_of_all_edges(others, agree):
    """One edge in common of 49 is more than a fiftieth, and of 50 it is not, by the release's ε."""
    forward = [(ROOT, 0), *((ROOT, i) for i in range(1, 25))]
    backward = [(ROOT, 0), *((ROOT, 50 + i) for i in range(others))]
    fused = fuse.official(sure(forward), sure(backward))
    assert fused == (backward if agree else sorted({*forward, *backward}))


def test_without_agreement_edges_lead_to_new_facts_and_to_leaves():
    # In order: (-1, 1), (-1, 2), (1, 2) skipped, (2, 3), (4, 1) skipped; 1 and 3 are leaves.
    forward, backward = [(ROOT, 1), (2, 3)], [(ROOT, 2), (1, 2), (4, 1)]
    assert fuse.official(sure(forward), sure(backward)) == [(ROOT, 1), (ROOT, 2), (2, 3), (4, 1)]
    # A fact that another was read from is there, too: (5, 4) leads to none that is new.
    assert fuse.official(sure([(4, 2), (5, 4)]), sure([(ROOT, 1)])) == [(ROOT, 1), (4, 2)]


def test_soft_fusion_keeps_likely_edges_that_are_reached():
    rng = random.Random(5)
    for _ in range(100):
        drawn = [
            {(u, v): rng.choice((0.1, 0.5, 0.9)) for u, v in random_edges(rng, 6)} for _ in range(2)
        ]
        one, other = drawn
        w, tau = rng.choice((0.0, 0.3, 0.6, 1.0)), rng.choice((0.2, 0.35, 0.7))
        likely = [e for e in sorted({*one, *other})
                  if w * one.get(e, 0) + (1 - w) * other.get(e, 0) > tau]  # fmt: skip
        graph = nx.DiGraph([*likely, (ROOT, "end")])
        reached = nx.descendants(graph, ROOT) | {ROOT}
        lists = [[(u, v, p) for (u, v), p in edges.items()] for edges in drawn]
        assert fuse.soft(*lists, w, tau) == [e for e in likely if e[0] in reached]


@pytest.mark.parametrize(("w", "tau"), [(-0.1, 0.5), (1.1, 0.5), (0.5, 2), (0.5, "x")])
def test_shares_are_shares(w, tau):
    with pytest.raises(ValueError, match=r"w=|tau="):
        fuse.soft([], [], w, tau)


def test_tuned_is_the_best_of_all_and_the_first_of_equals():
    rng = random.Random(2)
    gold = [random_edges(rng, 4) for _ in range(30)]

    def noisy(edges):
        every = {*edges, (ROOT, 2), (0, 3)}
        return [(u, v, rng.random() / 2 + ((u, v) in edges) / 3) for u, v in sorted(every)]

    forward, backward = ([noisy(edges) for edges in gold] for _ in range(2))
    for view in (sorted, nodes):
        right = dict.fromkeys(product(fuse.WEIGHTS, fuse.THRESHOLDS), 0)
        for at in right:
            for edges, one, other in zip(gold, forward, backward, strict=True):
                right[at] += view(edges) == view(fuse.soft(one, other, *at))
        best = fuse.tuned(gold, forward, backward, view=view)
        assert best == next(at for at, count in right.items() if count == max(right.values()))
    assert fuse.tuned([[(ROOT, 0)]], [[]], [[]]) == (0.3, 0.2)
    with pytest.raises(ValueError, match="argument"):
        fuse.tuned(gold, forward, backward[1:])
    with pytest.raises(ValueError, match="gold"):
        fuse.tuned([], [], [])


def test_scores_stand_beside_the_edges():
    forward, backward = [(ROOT, 3, 0.9), (3, 7, 0.4), (8, 1, 0.9)], [(3, 7, 0.8), (8, 1, 0.9)]
    got = fuse.soft_scored(forward, backward, 0.5, 0.4)
    assert (
        [edge[:2] for edge in got] == [(ROOT, 3), (3, 7)] == fuse.soft(forward, backward, 0.5, 0.4)
    )
    assert [edge[2] for edge in got] == pytest.approx([0.45, 0.6])


def test_two_networks_explain_a_text_as_they_search():
    networks, q = [lexical("forward"), lexical("backward", 1)], QUESTIONS[0]
    got = wb.explain(q.question, q.facts, fuse.retriever_of(*networks, 0.5, 0.1))
    edges = fuse.soft(*(retrieved(network, [q])[0] for network in networks), 0.5, 0.1)
    assert {v for _, v, _ in got.edges} == {v for _, v in edges}
    assert {(u, v) for u, v, _ in got.edges} <= {*edges}
    assert len(got.edges) > 2
    assert [word for word, _ in got.words(got.edges[0][:2])] == q.question.split()


def test_networks_that_stand_in_each_others_place_are_refused():
    forward, backward = lexical("forward"), lexical("backward")
    with pytest.raises(ValueError, match="direction of forward='backward'"):
        fuse.retriever_of(backward, forward, 0.5, 0.1)
    with pytest.raises(ValueError, match="direction of backward='one_hop'"):
        fuse.retriever_of(forward, lexical("one_hop"), 0.5, 0.1)
    with pytest.raises(ValueError, match="w=7"):
        fuse.retriever_of(forward, backward, 7, 0.1)
