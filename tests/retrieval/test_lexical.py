"""Rankings by words: against formulas written out, and scikit-learn."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize("read", [(3,), (5, 5), (0, 8, 21, 30), (40,), (40, 2)])
@pytest.mark.parametrize("query", ["the gate a baker", "river river", "unheard"])
def test_facts_read_after_a_query_score_as_its_text(facts, index, query, read):
    """Of repeated words, too; the last fact has none."""
    ranker = index([*facts, "?"])
    text = " ".join([query, *(ranker.facts[at] for at in read)])
    for _ in range(2):  # what the first call keeps does not wear off
        np.testing.assert_allclose(
            ranker.scores(query, read), index([*facts, "?"]).scores(text), rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("index", [Bm25, TfIdf])
def test_the_nearest_are_the_best_of_each_query(facts, index):
    ranker, read = index(facts), [(), (1, 2)]
    scores, places = ranker.nearest(["river gate", "a door"], 7, read)
    for i, query in enumerate(["river gate", "a door"]):
        rounded = ranker.scores(query, read[i]).round(5)
        order = sorted(range(len(facts)), key=lambda at: (-rounded[at], at))[:7]
        assert places[i].tolist() == order
        assert scores[i].tolist() == [rounded[at] for at in order]
    scores.zero_()
    assert ranker.scores("river gate").any()


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize(
    ("name", "queries", "k"), [("k", ["a"], 41), ("k", ["a"], 0), ("queries", [""], 1)]
)
def test_what_nearest_cannot_take_is_refused(facts, index, name, queries, k):
    with pytest.raises(ValueError, match=name):
        index(facts).nearest(queries, k)


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize(
    ("read", "why"),
    [([-1], r"read\[0\]=-1.*at least 0"), ([3, 40], r"read\[1\]=40.*at most 39"),
     ([1.0], r"read\[0\]=1.0"), ("12", "read must be a list")], ids=str,
)  # fmt: skip
def test_places_that_no_fact_has_are_refused(facts, index, read, why):
    with pytest.raises(ValueError, match=why):
        index(facts).scores("gate", read)
    with pytest.raises(ValueError, match=why):
        index(facts).nearest(["gate", "gate"], 2, [(), read])
    with pytest.raises(ValueError, match="read has places for 1 queries; there are 2"):
        index(facts).nearest(["gate", "gate"], 2, [(1,)])


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
def test_that_all_are_scored_0_is_told_once_and_only_where_they_are(facts, index, caplog):
    ranker = index([*facts, "?"])
    caplog.clear()  # of what the library tells of its index
    ranker.nearest(["unheard", "gate"], 2, [(3,), (40,)])
    assert not caplog.records
    ranker.nearest(["unheard", "heard of", "?"], 2, [(40,), (), ()])
    (told,) = caplog.messages
    assert told.startswith("'unheard' has no word of the facts; all are scored 0")


@pytest.mark.parametrize("index", [Bm25, TfIdf])
@pytest.mark.parametrize("facts", [[], "a fact", ["a", ""], ["a", None], [" "]])
def test_facts_are_texts(index, facts):
    with pytest.raises(ValueError, match="facts"):
        index(facts)


@pytest.mark.parametrize("index", [Bm25, TfIdf])
def test_facts_without_a_word_are_scored_nothing(index):
    assert index(["?", "a gate"]).scores("gate").tolist()[0] == 0


@given(
    st.lists(st.sampled_from([0.0, 1.0, 0.5, 0.504, 0.506, 3.0]), max_size=12),
    st.integers(0, 14),
    st.sampled_from([None, 2]),
)
def test_the_best_are_those_of_a_full_sort(scores, k, digits):
    values = scores if digits is None else [round(score, digits) for score in scores]
    order = sorted(range(len(scores)), key=lambda at: (-values[at], at))
    assert ranked(np.array(scores), k, digits) == order[:k]
