"""k and m against slow enumeration; scorers that read on against loops."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from workbench.models.encoders import load_encoder
from workbench.papers.reasonchainqa import single
from workbench.retrieval.lexical import Bm25, TfIdf
from workbench.worlds.chains import questions

ENCODER = load_encoder("lex")
DEV = questions("dev", 6, worlds=1, pool=12, types=("What",), depths=(1, 2))
TEST = questions("test", 8, worlds=1, pool=12, types=("What",), depths=(3, 4))


def f1(gold, chain):
    return 2 * len({*gold} & {*chain}) / (len({*gold}) + len({*chain}))


def best(chains_by_count, asked):
    """The count whose chains have the highest mean F1; of equal ones the smallest."""
    means = {
        count: round(
            float(np.mean([f1(q.nodes, c) for q, c in zip(asked, chains, strict=True)])), 9
        )
        for count, chains in chains_by_count.items()
    }
    return min(count for count in means if means[count] == max(means.values()))


def scores_of(name, encoder):
    """(facts, query) → a score for each fact."""

    def scores(facts, query):
        if name == "dense":
            return (encoder.encode([*facts]).double() @ encoder.encode([query]).double()[0]).numpy()
        return {"bm25": Bm25, "tfidf": TfIdf}[name](facts).scores(query)

    return cache(scores)


@pytest.mark.parametrize("name", ["tfidf", "bm25", "dense"])
def test_k_is_the_best_on_dev_and_a_ranking_is_by_the_question_alone(name):
    rank, scores = single.rank_by(name, ENCODER), scores_of(name, ENCODER)
    rankings = {"dev": rank(DEV), "test": rank(TEST)}
    for asked, ranked in ((DEV, rankings["dev"]), (TEST, rankings["test"])):
        for q, row in zip(asked, ranked, strict=True):
            of_facts = scores(q.facts, q.question).astype(float).round(6)
            assert row == sorted(range(len(q.facts)), key=lambda i, of=of_facts: (-of[i], i))
    by_k = {k: [row[:k] for row in rankings["dev"]] for k in range(1, 11)}
    on_test = {k: [row[:k] for row in rankings["test"]] for k in range(1, 11)}
    k, chains, oracle = single.cut(DEV, TEST, rankings)
    assert k == best(by_k, DEV)
    assert k != best(on_test, TEST) or name != "bm25"
    assert chains == [tuple(row[:k]) for row in rankings["test"]]
    assert oracle == [
        tuple(row[: len(q.nodes)]) for q, row in zip(TEST, rankings["test"], strict=True)
    ]


def followed(scores, q, count, beam):
    """The best chain of each number of facts up to `count`, `beam` of them going on at once."""
    held, best_of = [((), 0.0)], {}
    for length in range(1, count + 1):
        longer = []
        for chain, total in held:
            row = scores(q.facts, " ".join([q.question, *(q.facts[i] for i in chain)]))
            longer += [
                ((*chain, i), total + round(float(row[i]), 6))
                for i in range(len(q.facts)) if i not in chain
            ]  # fmt: skip
        longer.sort(key=lambda entry: (-round(entry[1] / length, 6), entry[0]))
        held = longer[:beam]
        best_of[length] = held[0][0]
    return best_of


@pytest.mark.parametrize(("name", "form"), [
    ("bm25", "iterated"), ("bm25", "beam"), ("tfidf", "iterated"), ("dense", "iterated"),
    ("dense", "beam"),
])  # fmt: skip
def test_what_reads_on_is_a_loop_and_m_the_best_on_dev(name, form):
    scores, beam = scores_of(name, ENCODER), {"iterated": 1, "beam": 5}[form]
    m = single.steps(f"{name}_{form}", DEV, ENCODER)
    read = single.read_on(f"{name}_{form}", m, TEST, ENCODER)

    def by_m(asked):
        rows = [followed(scores, q, 7, beam) for q in asked]
        return {m: [row[m] for row in rows] for m in range(1, 8)}

    assert m == best(by_m(DEV), DEV)
    on_test = by_m(TEST)
    assert read["test"] == on_test[m]
    assert read["oracle"] == [
        on_test[len(q.nodes)][i] for i, q in enumerate(TEST)
    ]  # fmt: skip


def test_m_on_test_would_be_another():
    of_dev, of_test = (single.steps("bm25_iterated", of, None) for of in (DEV, TEST))
    assert of_dev < of_test


def test_no_chain_is_longer_than_its_pool():
    few = questions("test", 2, worlds=1, pool=12, types=("What",), depths=(1,))
    long = questions("dev", 3, worlds=1, pool=16, types=("What",), depths=(7,))
    small = [replace(q, facts=q.facts[:3], edges=((-1, 0),), chain=(0,)) for q in few]
    m = single.steps("bm25_beam", long, None)
    assert m > 3
    read = single.read_on("bm25_beam", m, small, None)
    assert [sorted(chain) for chain in read["test"]] == [[0, 1, 2]] * 2
