"""Two towers: what they are fitted to, that they rank better then, and the same again."""

import random
from dataclasses import replace
from functools import partial

import pytest

import workbench as wb
from workbench.papers.graphhop import paper, study
from workbench.retrieval.graphs import ROOT, Evidence
from workbench.retrieval.towers import Contrast
from workbench.retrievers import baselines, towers
from workbench.runs.cache import cached

NAMES = "abo bel cid dov eno fay gil hal ida jon kim leo".split()
FIT = towers.TowerFit(Contrast(batch=4, learning_rate=1e-3), rounds=12, questions=8)


def asked(i: int, edges=((ROOT, 2),)) -> Evidence:
    """The gold fact has but the name in common with its question, and others have more."""
    name, other = NAMES[i], NAMES[i - 1]
    facts = (
        f"Who mends the gate, asks {name}.", f"The gate of {name} is red.",
        f"{name} was repaired by hand.", f"{other} was repaired by hand.",
        f"{name} lies on a river.", f"{other} lies on a river.", f"A ferry calls at {name}.",
    )  # fmt: skip
    return Evidence(name, f"Who mends the gate of {name}?", facts, edges)


PLACES = {"train": range(8), "dev": (8, 9), "test": (10, 11)}
QUESTIONS = {split: [asked(i) for i in places] for split, places in PLACES.items()}
SEVERAL = [asked(0, ((ROOT, 2), (2, 3))), replace(asked(1), facts=asked(1).facts[:4]),
           asked(2, ((ROOT, 1), (1, 4), (1, 6)))]  # fmt: skip


@pytest.fixture(scope="module")
def lex():
    return wb.load_encoder("lex", device="cpu")


def test_fitted_towers_find_the_gold_fact_of_a_new_name(lex):
    before = baselines.dense(lex)(QUESTIONS["test"])
    after = towers.rankings(QUESTIONS, lex, FIT, 0)
    for split, rows in after.items():
        assert [sorted(ranking) for ranking in rows] == [list(range(7))] * len(QUESTIONS[split])
    assert all(ranking.index(2) >= 2 for ranking in before)
    assert [ranking[0] for ranking in after["test"]] == [2, 2]
    assert after == towers.rankings(QUESTIONS, lex, FIT, 0)


def test_pairs_are_each_gold_fact_with_the_nearest_wrong_ones_of_its_pool(lex):
    made = iter(towers.pairs(SEVERAL, lex))
    for q in SEVERAL:
        gold = [q.facts[place] for place in q.nodes]
        (query,) = lex.encode([q.question]).double()
        cosine = {fact: float(query @ lex.encode([fact])[0].double()) for fact in q.facts}
        wrong = sorted((f for f in q.facts if f not in gold), key=cosine.get, reverse=True)
        for fact in gold:
            pair = next(made)
            assert (pair.query, pair.fact, {*pair.ignored}) == (q.question, fact, {*gold} - {fact})
            # Of equal cosines any may come first.
            assert [cosine[f] for f in pair.negatives] == pytest.approx(
                [cosine[f] for f in wrong[: towers.MINED]], abs=1e-5
            )
            assert not {*pair.negatives} & {*gold}
    assert next(made, None) is None


def test_each_round_mines_with_the_encoder_as_it_is_by_then(lex, monkeypatch):
    seen = []

    def seeing(questions, encoder, true=towers.pairs):
        seen.append((len(questions), encoder.identity()))
        return true(questions, encoder)

    monkeypatch.setattr(towers, "pairs", seeing)
    towers.rankings(QUESTIONS, lex, replace(FIT, rounds=3, questions=5), 0)
    assert [count for count, _ in seen] == [5, 5, 5]  # the first questions, once a round
    assert len({identity for _, identity in seen}) == 3


def test_what_fits_an_encoder_and_a_preset(lex):
    bert = replace(lex, name="bert")
    made = [towers.fit_of(paper.settings(preset).reads, encoder)
            for preset, encoder in (("tiny", lex), ("tiny", bert), ("paper", bert))]  # fmt: skip
    assert made == [towers.WORDS, towers.SUBSET, towers.TUNED]


def test_a_study_cuts_each_seeds_ranking_and_takes_up_where_it_stopped(lex, tmp_path, monkeypatch):
    questions = QUESTIONS | {"dev": SEVERAL, "test": QUESTIONS["test"] + SEVERAL}
    settings = replace(paper.settings("tiny", methods="dense,two_towers"), seeds=2)
    keep = partial(cached, tmp_path)
    monkeypatch.setattr(towers, "WORDS", FIT)
    seen = {}

    def drawn(asked, encoder, fit, seed):
        rng = random.Random(seed)
        seen[seed] = {split: [rng.sample(range(len(q.facts)), len(q.facts)) for q in asked[split]]
                      for split in ("dev", "test")}  # fmt: skip
        return seen[seed]

    monkeypatch.setattr(towers, "rankings", drawn)
    ran = study.run(questions, settings, keep, lex)
    assert [*ran.predicted] == ["dense", "dense_oracle_k", "two_towers", "two_towers_oracle_k"]
    assert [*seen] == [0, 1]
    for seed, ranks in seen.items():
        k = baselines.best_k(SEVERAL, ranks["dev"])
        assert ran.tuned["two_towers"][seed] == f"k {k}"
        rows = ranks["test"]
        assert ran.predicted["two_towers"][seed] == [baselines.star(row[:k]) for row in rows]
        assert ran.predicted["two_towers_oracle_k"][seed] == [
            baselines.star(row[: len(q.nodes)])
            for q, row in zip(questions["test"], rows, strict=True)
        ]
    with pytest.raises(ValueError, match="sentence encoder"):
        study.run(questions, settings, keep)
    monkeypatch.setattr(towers, "rankings", lambda *_: 1 / 0)
    assert study.run(questions, settings, keep, lex).predicted == ran.predicted
    others = (
        (QUESTIONS, settings, lex, FIT), (questions, settings, lex, replace(FIT, rounds=2)),
        (questions, replace(settings, seed=5), lex, FIT),
        (questions, settings, replace(lex, max_tokens=20), FIT),
    )  # fmt: skip
    for of, chosen, encoder, fit in others:
        monkeypatch.setattr(towers, "WORDS", fit)
        with pytest.raises(ZeroDivisionError):
            study.run(of, chosen, keep, encoder)
