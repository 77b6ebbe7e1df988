"""Rankings without training: k from dev, oracle k, stars."""

import random
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.retrieval.metrics import scored
from workbench.retrievers import baselines
from workbench.worlds.pools import questions


@pytest.fixture(scope="module")
def asked():
    return questions("dev", 48)


@pytest.mark.parametrize("ranker", [Bm25, TfIdf])
def test_a_fact_of_the_questions_own_words_comes_first(ranker):
    facts = ("A door hangs.", "The gate of Ada is red.", "Nobody sings.")
    q = Evidence("a", "Is the gate of Ada red?", facts, ((ROOT, 1),))
    assert baselines.lexical(ranker)([q]) == [[1, 0, 2]]


def test_k_is_the_one_of_the_best_mean_f1(asked):
    rng = random.Random(0)
    rankings = [rng.sample(range(25), 25) for _ in asked]
    means = {
        k: np.mean([scored(q.edges, baselines.star(ranking[:k])).f1
                    for q, ranking in zip(asked, rankings, strict=True)])
        for k in range(1, 11)
    }  # fmt: skip
    best = max(means.values())
    assert means[baselines.best_k(asked, rankings)] == pytest.approx(best, abs=1e-9)
    perfect = [[*q.nodes, *(i for i in range(25) if i not in q.nodes)] for q in asked]
    assert baselines.best_k(asked[:1], perfect[:1]) == len(asked[0].nodes)


def test_dense_ranks_by_cosine(asked):
    generator = torch.Generator().manual_seed(0)
    vector = {}

    def encode(texts):
        for text in texts:
            vector.setdefault(text, torch.randn(8, generator=generator))
        return torch.stack([vector[text] for text in texts])

    rankings = baselines.dense(SimpleNamespace(encode=encode))(asked)
    for q, ranking in zip(asked, rankings, strict=True):
        products = [float(vector[q.question] @ vector[q.facts[place]]) for place in ranking]
        assert sorted(ranking) == list(range(len(q.facts)))
        assert all(a >= b - 1e-5 for a, b in pairwise(products))


def test_a_star_is_sorted_and_from_the_question():
    assert baselines.star([5, 2]) == [(ROOT, 2), (ROOT, 5)]
    assert baselines.star([]) == []
