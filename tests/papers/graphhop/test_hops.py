"""The demonstration of hops: its questions, its pairs, and who can hop by an encoder that knows."""

from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import save_bert
from workbench.errors import DatasetError
from workbench.papers.graphhop import hops
from workbench.papers.graphhop.readers import parsed
from workbench.retrieval.index import Index
from workbench.retrieval.towers import Contrast
from workbench.retrievers import hops as fitting
from workbench.runs.cache import cached
from workbench.worlds.facts import Fact, World

WORLD = World("train", 7)
FACTS = [fact.text for fact in WORLD.facts]


@pytest.mark.parametrize("count", hops.HOPS)
def test_chains_have_so_many_facts_each_about_the_end_of_the_one_before(count):
    asked = hops.chains(WORLD, 20, count)
    assert len({a.question for a in asked}) == 20
    for a in asked:
        triples = [parsed(FACTS[place]) for place in a.places]
        assert len({*a.places}) == count
        assert triples[0][1] in a.question
        assert all(after[1] == before[2] for before, after in pairwise(triples))
        assert all(later[1] not in a.question for later in triples[1:])
    assert asked == hops.chains(World("train", 7), 20, count)


def test_a_small_world_says_that_it_has_too_few(monkeypatch):
    monkeypatch.setattr(fitting, "TRIES", 20)
    with pytest.raises(DatasetError, match="questions of 1 hops: no 5000 different"):
        hops.chains(WORLD, 5000, 1)


@pytest.mark.parametrize("way", hops.WAYS)
def test_pairs_of_both_ways_are_as_many_and_no_negative_is_right(way):
    made, other = (hops.pairs(WORLD, 30, each) for each in (way, hops.WAYS[way == "oneshot"]))
    assert len(made) == len(other) == 30
    assert [pair.fact for pair in made] == [pair.fact for pair in other]
    for pair in made:
        assert not {*pair.negatives} & {pair.fact, *pair.ignored}
        relation = parsed(pair.fact)[0]
        assert [parsed(text)[0] for text in pair.negatives] == [relation] * fitting.DECOYS
        if way == "iterated":  # as `retrieval.iterate` asks
            assert pair.query.endswith(" ".join(["?", *pair.ignored])[1:])
        else:
            assert pair.query.endswith("?")
    assert {len(pair.ignored) for pair in made} == {0, 1, 2}


def test_no_decoy_is_of_the_chain_whose_relation_it_has(monkeypatch):
    facts = [Fact(f"Fact {i}.", "mentor", "a", "b") for i in range(3)]
    world = SimpleNamespace(name="w", facts=facts, of={"mentor": [0, 1, 2]})
    of_hops = {n: [hops.Asked(f"{n}?", tuple(range(n)))] for n in hops.HOPS}
    monkeypatch.setattr(hops, "chains", lambda world, count, n: of_hops[n])
    for way in hops.WAYS:
        of_one, *of_two, _, _, last = hops.pairs(world, 6, way)
        assert {*of_one.negatives} <= {"Fact 1.", "Fact 2."}
        assert [pair.negatives for pair in of_two] == [("Fact 2.",)] * 2
        assert last.negatives == ()
        # In one shot the rest of the chain is right as well; iterated, what is to come is not yet.
        later = ("Fact 1.",) if way == "oneshot" else ()
        assert [pair.ignored for pair in of_two] == [later, ("Fact 0.",)]


def knowing(facts, asked):
    """An encoder to which a query with what was read is the next fact, and nothing else."""
    rows = {fact: torch.eye(len(facts))[i] for i, fact in enumerate(facts)}
    for a in asked:
        for i, place in enumerate(a.places):
            query = " ".join([a.question, *(facts[p] for p in a.places[:i])])
            rows[query] = rows[facts[place]]
    return SimpleNamespace(encode=lambda texts: torch.stack([rows[text] for text in texts]))


def test_an_encoder_that_knows_the_next_fact_hops_and_in_one_shot_it_does_not():
    # Of a first fact that stands last, ties among all others go to the first in place.
    asked = [hops.Asked("a?", (5,)), hops.Asked("b?", (6, 3)), hops.Asked("c?", (4, 6, 2))]
    facts = FACTS[:7]
    encoder = knowing(facts, asked)
    index = Index(encoder.encode(facts).numpy(), encoder, facts)
    assert hops.exact(index, asked, "iterated") == [1, 1, 1]
    assert hops.exact(index, asked, "oneshot") == [1, 0, 0]


def test_the_lake_has_forty_questions_over_two_hundred_sentences():
    facts, asked = hops.lake()
    assert (len(facts), len(asked)) == (200, 40)
    assert all(a.places and max(a.places) < 200 for a in asked)


def test_a_run_says_every_figure_once_and_is_kept(tmp_path, caplog):
    encoder = wb.load_encoder(save_bert(tmp_path / "bert"), device="cpu")
    before = encoder.identity()
    size = hops.Size(rounds=1, pairs=12, worlds=2)
    keep = partial(cached, tmp_path / "cache")
    scores = hops.run(encoder, 0, 7, keep, size)
    assert scores == hops.run(encoder, 0, 7, keep, size)
    assert encoder.identity() == before
    assert [*scores] == [f"{name}_{way}" for name in hops.ENCODERS for way in hops.WAYS]
    assert all([*groups] == ["lake", "1", "2", "3"] for groups in scores.values())
    rows = {row["name"]: row for row in hops.metrics(scores, "minilm")}
    assert len(rows) == 16 + 5
    for method, groups in scores.items():
        for group, values in groups.items():
            row = rows[f"minilm_{method}_{group}"]
            assert (row["n"], row["value"]) == (len(values), sum(values) / len(values))
            assert len(values) == (40 if group == "lake" else 7)
    assert len(hops.rows(scores)) == len(hops.figure(scores).data) == 4
    assert hops.run(wb.load_encoder("lex"), 0, 7, keep) == hops.run(encoder, 0, 0, keep) == {}
    assert "left out" in caplog.text
    assert hops.metrics({}, "minilm") == hops.rows({}) == []


def test_gains_are_differences_on_the_same_questions():
    values = {"1": [1, 1], "2": [1, 0], "3": [0, 0], "lake": [1, 1]}
    nothing = {group: [0, 1] for group in values}
    scores = dict.fromkeys(("zeroshot_oneshot", "zeroshot_iterated", "finetuned_oneshot"), nothing)
    rows = {
        r["name"]: r["value"] for r in hops.metrics(scores | {"finetuned_iterated": values}, "x")
    }
    gains = [rows[f"gain_encoder_iterated_oneshot_{group}"] for group in values]
    assert gains == [0.5, 0, -0.5, 0.5]
    assert rows["gain_encoder_iterated_zeroshot_1"] == 0.5


def test_both_ways_are_fitted_otherwise(tmp_path):
    encoder = wb.load_encoder(save_bert(tmp_path / "bert"), device="cpu")
    size, settings = hops.Size(rounds=1, pairs=12), Contrast(batch=6, learning_rate=1e-3)
    made = {way: hops.finetuned(encoder, way, 0, size, settings).identity() for way in hops.WAYS}
    assert len({encoder.identity(), *made.values()}) == 3
    again = hops.finetuned(encoder, "iterated", 0, size, settings).identity()
    assert again == made["iterated"]


def test_every_round_seed_and_question_has_a_world_of_its_own(monkeypatch):
    drawn = []

    def world(split, number):
        drawn.append((split, number))
        return SimpleNamespace(facts=[], name="")

    monkeypatch.setattr(hops, "World", world)
    monkeypatch.setattr(hops, "pairs", lambda *_: [])
    monkeypatch.setattr(fitting, "hardest", lambda *_: [])
    monkeypatch.setattr(fitting, "fitted", lambda _, rounds, *__: [r(None) for r in rounds])
    for seed in range(2):
        hops.finetuned(None, "iterated", seed, hops.Size(rounds=3))
    assert {split for split, _ in drawn} == {"train"}
    assert len({*drawn}) == len(drawn) == 6
    drawn.clear()
    monkeypatch.setattr(hops, "chains", lambda *_: [])
    monkeypatch.setattr(hops, "exact", lambda *_: [])
    encoder = SimpleNamespace(encode=lambda facts: torch.zeros(len(facts), 2))
    hops.answered(encoder, "iterated", 6, 3)
    assert {split for split, _ in drawn} == {"test"}
    assert len({*drawn}) == len(drawn) == 3
