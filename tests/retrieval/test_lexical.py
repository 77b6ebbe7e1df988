"""Rankings by words: against formulas written out, and scikit-learn."""

import math
import random

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from workbench.retrieval.lexical import K1, B, Bm25, TfIdf, ranked, words

WORDS = "gate door river bridge the of a 12 baker mends".split()


@pytest.fixture(scope="module")
def facts():
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 9))) + "." for _ in range(40)]


def slow_bm25(query, facts):
    texts = [words(fact) for fact in facts]
    mean = sum(map(len, texts)) / len(texts)
    scores = []
    for text in texts:
        total = 0.0
        for word in words(query):
            there = sum(word in other for other in texts)
            idf = math.log(1 + (len(texts) - there + 0.5) / (there + 0.5))
            count = text.count(word)
            total += idf * count / (count + K1 * (1 - B + B * len(text) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["The gate of the baker?", "river river", "12", "gate unheard"])
def test_bm25_is_its_formula_written_out(facts, query):
    np.testing.assert_allclose(Bm25(facts).scores(query), slow_bm25(query, facts), rtol=1e-5)


def test_the_weights_are_those_of_the_method():
    assert (K1, B) == (1.5, 0.75)


def test_bm25_of_a_longer_query_is_the_sum_of_its_parts(facts):
    index = Bm25(facts)
    parts = index.scores("the gate") + index.scores("a baker")
    np.testing.assert_allclose(index.scores("the gate a baker"), parts, rtol=1e-5)


@pytest.mark.parametrize("query", ["The gate of the baker?", "river river", "12", "gate unheard"])
def test_tf_idf_is_that_of_scikit_learn(facts, query):
    vectorizer = TfidfVectorizer(token_pattern=r"\w+").fit(facts)
    cosines = (vectorizer.transform(facts) @ vectorizer.transform([query]).T).toarray()[:, 0]
    np.testing.assert_allclose(TfIdf(facts).scores(query), cosines, atol=1e-12)


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize("query", ["", "unheard", "?!"])
def test_a_query_without_a_known_word_ranks_in_order_of_places(facts, index, query, caplog):
    scores = index(facts).scores(query)
    assert not scores.any()
    assert ranked(scores, 3) == [0, 1, 2]
    assert "no word of the facts" in caplog.text


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize("facts", [[], "a fact", ["a", ""], ["a", None], [" "]])
def test_facts_are_texts(index, facts):
    with pytest.raises(ValueError, match="facts"):
        index(facts)


@pytest.mark.parametrize("index", [Bm25, TfIdf])
def test_facts_without_a_word_are_scored_nothing(index):
    assert index(["?", "a gate"]).scores("gate").tolist()[0] == 0


def test_of_equal_scores_the_first_comes_first():
    assert ranked(np.array([1.0, 3, 1, 3, 0]), 4) == [1, 3, 0, 2]
