"""Metrics of graphs: against slow, obvious ones on 500 random graphs."""

import random

import pytest
from sklearn.metrics import precision_recall_fscore_support

from tests.retrieval.graph_cases import random_edges
from workbench.retrieval.graphs import ROOT, nodes
from workbench.retrieval.metrics import scored


def slow(gold, predicted, every):
    truth, chosen = ([int(x in part) for x in every] for part in (gold, predicted))
    if not any(chosen):
        return 0.0, 0.0, 0.0
    return precision_recall_fscore_support(truth, chosen, average="binary", zero_division=0)[:3]


def test_scores_are_those_of_scikit_learn():
    rng = random.Random(5)
    for _ in range(500):
        gold = random_edges(rng, rng.randint(1, 4))
        predicted = rng.choice([random_edges(rng, rng.randint(1, 4)), gold, gold[:-1], []])
        scores = scored(gold, predicted)
        facts = slow(nodes(gold), nodes(predicted), range(20))
        edges = slow(gold, predicted, sorted({*gold, *predicted}))
        assert (scores.precision, scores.recall, scores.f1) == pytest.approx(facts)
        measured = (scores.edge_precision, scores.edge_recall, scores.edge_f1)
        assert measured == pytest.approx(edges)
        assert scores.exact == (nodes(gold) == nodes(predicted))
        assert scores.structure == (sorted(gold) == sorted(predicted))
        assert scores.structure <= min(scores.exact, scores.shape)


def test_facts_of_edges_that_are_cut_off_count():
    """Both ends of a predicted edge are predicted facts, also where nothing leads there."""
    scores = scored([(ROOT, 1), (1, 7)], [(3, 7)])
    assert (scores.precision, scores.recall) == (0.5, 0.5)


def test_edges_as_files_have_them_are_edges_and_each_once():
    assert scored([[ROOT, 1], [1, 7]], [[1, 7], [ROOT, 1], [1, 7]]) == scored(
        [(ROOT, 1), (1, 7)], [(ROOT, 1), (1, 7)]
    )


def test_the_right_facts_in_the_wrong_order():
    scores = scored([(ROOT, 0), (0, 1)], [(ROOT, 1), (1, 0)])
    assert (scores.exact, scores.structure, scores.shape, scores.distance) == (1, 0, 1, 0)
    assert scores.edge_f1 == 0
