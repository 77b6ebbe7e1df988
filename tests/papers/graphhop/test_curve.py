"""The retrieval curve: databases of the size asked for, recalls as a slow count has them."""

import numpy as np
import torch

import workbench as wb
from workbench.papers.graphhop import curve
from workbench.retrieval.lexical import Bm25

ENCODER = wb.load_encoder("lex", device="cpu")


def calls(name, key, compute):
    calls.names.append(name)
    return compute()


def test_a_database_has_about_as_many_sentences_and_every_question_its_facts():
    for size in (100, 1000, 10_000):
        facts, asked = curve.database(size)
        assert 0.85 * size < len(facts) < 1.2 * size
        assert len({q.question for q in asked}) == len(asked) == 3 * curve.EACH
        assert all(0 <= place < len(facts) for q in asked for place in q.places)


def test_recalls_are_those_of_a_slow_ranking(monkeypatch):
    facts, asked = curve.database(1000)
    vectors, bm25 = ENCODER.encode(facts).double(), Bm25(facts)
    slow = {"dense": [], "bm25": []}
    for q in asked:
        cosines = vectors @ ENCODER.encode([q.question]).double()[0]
        for name, scores in (("dense", cosines.numpy()), ("bm25", bm25.scores(q.question))):
            gold = scores[q.places[0]]
            # Places of the gold fact if it were last, or first, among those that equal it.
            slow[name].append((int((scores > gold + 1e-6).sum()),
                               int((scores > gold - 1e-6).sum()) - 1))  # fmt: skip
    monkeypatch.setattr(curve, "PART", 300)
    results = {"dense": curve.dense(ENCODER, 1000), "bm25": curve.lexical(1000)}
    for name, of_ranks in results.items():
        for rank in curve.RANKS:
            for value, (best, worst) in zip(of_ranks[str(rank)], slow[name], strict=True):
                assert int(worst < rank) <= value <= int(best < rank)
        assert 0 < np.mean(of_ranks["1"]) <= np.mean(of_ranks["20"]) <= 1


def test_each_database_is_a_step_and_bm25_goes_on():
    calls.names = []
    torch.set_num_threads(1)
    made = curve.run(ENCODER, 100, calls)
    assert calls.names == ["curve-bm25-100", "curve-100", "curve-bm25-1000", "curve-bm25-10000"]
    assert {method: [*sizes] for method, sizes in made.items()} == {
        "bm25": ["100", "1000", "10000"], "lex": ["100"],
    }  # fmt: skip
    assert curve.run(ENCODER, 0, calls) == {}
    assert [row["name"] for row in curve.metrics(made)][:2] == [
        "recall_1_bm25_100",
        "recall_5_bm25_100",
    ]
    assert len(curve.rows(made)) == 4
    assert len(curve.figure(made).data) == 6
    assert curve.figure({}).data == ()
