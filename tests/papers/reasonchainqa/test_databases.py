"""A real encoder among a whole database: its questions, what it is fitted to, what is counted."""

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import save_bert
from workbench.papers.reasonchainqa import databases, handwritten
from workbench.papers.reasonchainqa.paper import Settings
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.graphs import Evidence
from workbench.retrieval.index import Index
from workbench.runs.cache import cached
from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.facts import World

SETTINGS = Settings(database=500)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert") / "bert"), device="cpu")


def test_a_database_has_so_many_facts_and_questions_of_each_depth():
    for facts, each in ((500, 15), (1000, 2), (3000, 2)):
        asked = databases.drawn("test", facts, each)
        assert Counter(len(q.chain) for q in asked) == dict.fromkeys(range(1, 8), each)
        (shared,) = {q.facts for q in asked}
        assert abs(len(shared) - facts) < 0.12 * facts
    names = {q.facts for split in ("dev", "test") for q in databases.drawn(split, 500, 1)}
    assert len(names) == 2


def test_both_copies_are_fitted_to_the_same_steps_of_the_same_chains():
    world = World("train", 3, 0.1, CHAINS)
    hop, each = (databases.pairs(world, 60, way) for way in ("iterated", "oneshot"))
    facts = {fact.text: {fact.head, fact.tail} for fact in world.facts}
    assert len(hop) == len(each) == 60
    for step, lone in zip(hop, each, strict=True):
        assert step.fact == lone.fact
        assert lone.query.endswith("?")
        assert step.query == " ".join([lone.query, *step.ignored])
        assert {*step.ignored} <= {*lone.ignored}
        assert not step.ignored or facts[step.ignored[-1]] & facts[step.fact]
    assert {len(p.ignored) for p in hop} == {len(p.ignored) for p in each} == set(range(7))
    # Whole chains would be of 15 questions.
    assert len({p.query for p in each}) > 28


def test_copies_are_fitted_to_worlds_of_a_size_of_their_own(encoder, monkeypatch):
    given = []

    def finetuned(current, draw, rounds, seed, *rest):
        given.append(([draw(number) for number in (100, 101)], rounds, seed, *rest))
        return current

    monkeypatch.setattr(databases.hops, "finetuned", finetuned)
    size = databases.Size(rounds=3, pairs=20, facts=800, asked=1, dev=1)
    databases.run(encoder, replace(SETTINGS, seed=2), lambda name, key, step: step(), size=size)
    assert [call[1:] for call in given] == [(3, 2, databases.FIT, databases.MINED)] * 2
    (first, second), (again, _) = given[0][0], given[1][0]
    assert len(first[1]) == len(second[1]) == 20
    assert abs(len(first[0]) - 800) < 0.12 * 800
    assert first[0] == again[0]
    assert not {*first[0]} & {*second[0]}


FACTS = tuple(f"Fact {i}." for i in range(12))


def asked(*chain, name=""):
    edges = tuple(pairwise((-1, *chain)))
    return Evidence(name or f"q{chain}", f"{chain}?", FACTS, edges, chain=chain)


def knowing(questions, wrong=()):
    """An encoder to which a query with what was read is the next fact, but for `wrong` ones."""
    rows = {fact: torch.eye(len(FACTS) + 1)[i] for i, fact in enumerate(FACTS)}
    for q in questions:
        for i, place in enumerate(q.chain):
            query = " ".join([q.question, *(FACTS[p] for p in q.chain[:i])])
            rows[query] = rows[FACTS[place]] if (q.chain, i) not in wrong else rows[FACTS[11]]
    nothing = torch.eye(len(FACTS) + 1)[-1]
    return SimpleNamespace(
        encode=lambda texts: torch.stack([rows.get(text, nothing) for text in texts])
    )


def test_counts_are_of_dev_and_the_oracle_knows_better():
    dev = [asked(3, 1), asked(5, 9)]
    test = [asked(2), asked(6, 4), asked(8, 10, 1)]
    encoder = knowing(dev + test, wrong={((8, 10, 1), 2)})
    index = Index(encoder.encode(FACTS).numpy(), encoder, FACTS)
    for form in ("iterated", "beam"):
        there = databases._chains(form, index, dev, index, test)
        # A third fact would gain nothing on dev, whatever the test question has.
        assert there["count"] == 2
        assert [len(chain) for chain in there["chosen"]] == [2, 2, 2]
        assert [*there["oracle"][:2]] == [(2,), (6, 4)]
        assert there["chosen"][0][0] == 2
        assert there["chosen"][1:] == [(6, 4), (8, 10)]
        assert there["oracle"][2] == (8, 10, 11)
    there = databases._chains("oneshot", index, dev, index, test)
    assert there["count"] == 1
    assert there["chosen"] == [(2,), (6,), (8,)]
    assert [row[0] for row in there["oracle"]] == [2, 6, 8]
    assert [len(row) for row in there["oracle"]] == [1, 2, 3]


def test_what_is_asked_does_not_change_what_dev_chooses():
    dev = [asked(4, 8, 6, 10), asked(3, 5, 7, 9)]
    for test in ([asked(1, 2, 3, 0)], [asked(1)]):
        encoder = knowing(dev + test)
        index = Index(encoder.encode(FACTS).numpy(), encoder, FACTS)
        assert databases._chains("iterated", index, dev, index, test)["count"] == 4


def test_a_run_is_kept_and_says_every_figure_once(encoder, tmp_path):
    size = databases.Size(rounds=1, pairs=14, asked=1, dev=1)
    text = handwritten.text()[::6]
    before = encoder.identity()
    keep = partial(cached, tmp_path)
    studies = databases.run(encoder, SETTINGS, keep, text, size)
    assert encoder.identity() == before

    def nothing_anew(name, key, compute):
        def refuse():
            raise AssertionError(f"{name} is computed again")

        return keep(name, key, refuse)

    again = databases.run(encoder, SETTINGS, nothing_anew, text, size)
    assert {base: s.predicted for base, s in studies.items()} == {
        base: s.predicted for base, s in again.items()
    }
    with pytest.raises(AssertionError, match="database-oneshot is computed again"):
        databases.run(encoder, replace(SETTINGS, seed=1), nothing_anew, text, size)
    forms = [f"{form}{end}" for form, oracle in (("oneshot", "k"), ("iterated", "m"), ("beam", "m"))
             for end in ("", f"_oracle_{oracle}")]  # fmt: skip
    fitted = [f"finetuned_{form}" for form in forms]
    methods = {"database": [f"zeroshot_{form}" for form in forms[:4]] + fitted, "text": fitted}
    assert {base: [*study.scores] for base, study in studies.items()} == methods
    rows = databases.metrics(studies)
    names = [row["name"] for row in rows]
    depths = {"database": range(1, 8), "text": sorted({len(q.chain) for q in text})}
    wanted = [
        f"{base}_{method}{end}"
        for base, of in depths.items()
        for end in ("", *(f"_{n}" for n in of))
        for method in methods[base]
    ] + [
        f"gain_{base}_iterated_oneshot{end}"
        for base, of in depths.items()
        for end in ("", "_deep", *(f"_{n}" for n in of))
    ]
    assert sorted(names) == sorted(wanted)
    value = {row["name"]: row["value"] for row in rows}
    for base, study in studies.items():
        for method in methods[base]:
            pairs = zip(study.test, study.predicted[method][0], strict=True)
            exact = [{*q.nodes} == {*chain} for q, chain in pairs]
            assert value[f"{base}_{method}"] == pytest.approx(sum(exact) / len(exact))
    table = databases.rows(studies["database"])
    assert len(table) == 10
    assert [*table[0]] == ["method", *(f"{n} (n 1)" for n in range(1, 8)), "all (n 7)", "in order",
                           "chosen on dev"]  # fmt: skip
    assert [row["chosen on dev"][:2] for row in table[:4]] == ["k ", "", "m ", ""]


def test_gains_are_of_the_copies_and_both_are_told_how_many():
    test = [asked(0), asked(1, 2), asked(3, 4)]
    study = Study(SETTINGS, "", "cpu", test, [])
    study.add("finetuned_iterated_oracle_m", [(0,), (1, 2), (3, 5)])
    study.add("finetuned_oneshot_oracle_k", [(0,), (1, 5), (3, 6)])
    rows = {row["name"]: row["value"] for row in databases.metrics({"text": study})}
    assert rows["gain_text_iterated_oneshot_1"] == 0
    assert rows["gain_text_iterated_oneshot_2"] == rows["gain_text_iterated_oneshot_deep"] == 0.5
    assert rows["gain_text_iterated_oneshot"] == pytest.approx(1 / 3)
    assert rows["text_finetuned_iterated_oracle_m"] == pytest.approx(2 / 3)
    assert rows["text_finetuned_oneshot_oracle_k_2"] == 0


def test_nothing_is_run_without_a_database_or_an_encoder_that_means_anything(encoder, caplog):
    def keep(*_):
        raise AssertionError("a step is begun")

    assert databases.run(encoder, replace(SETTINGS, database=0), keep) == {}
    assert caplog.text == ""
    for other in (None, wb.load_encoder("lex")):
        assert databases.run(other, SETTINGS, keep) == {}
    assert caplog.text.count("left out") == 2
    assert databases.metrics({}) == []
