"""The hand-written text is asked by what was trained elsewhere, and nothing is trained for it."""

from functools import partial

import pytest

from workbench.papers.reasonchainqa import databases, handwritten, presets, study
from workbench.papers.reasonchainqa.paper import Settings
from workbench.papers.reasonchainqa.study import Study
from workbench.retrieval.iterate import iterated
from workbench.retrieval.lexical import Bm25
from workbench.retrievers import train
from workbench.runs.cache import cached

SETTINGS = Settings(
    methods=("bm25", "bm25_iterated", "two_towers", "one_hop", "forward", "greedy"),
    types=("What",), depths=(1, 2), train=24, dev=12, test=12, worlds=(1, 1, 1), pool=10,
    held_out=0, d=16, heads=2, epochs=1, batch=8, learning_rate=3e-3, seeds=1, reads="words",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def trained(folder):
    questions = presets.questions(SETTINGS)
    study.run(questions, SETTINGS, partial(cached, folder / "cache"), None, folder / "networks")
    return questions


TEXT = handwritten.text()[::8]
"""One of each depth."""


@pytest.fixture
def read(folder, trained, monkeypatch):
    monkeypatch.setattr(handwritten, "text", lambda: TEXT)

    def refuse(*_, **__):
        raise AssertionError("a network is trained for the text")

    monkeypatch.setattr(train, "trained", refuse)
    monkeypatch.setattr(study.networks, "trained", refuse)
    keep = partial(cached, folder / "cache")
    return lambda **given: handwritten.run(
        trained, SETTINGS, keep, None, folder / "networks", **given
    )


def test_networks_are_asked_and_not_trained_again(read):
    ran = read()
    assert [*ran.scores] == ["bm25", "bm25_oracle_k", "bm25_iterated", "bm25_iterated_oracle_m",
                               "one_hop", "one_hop_oracle_k", "forward", "greedy"]  # fmt: skip
    assert ran.test == TEXT
    assert all(len(seed) == 4 for seeds in ran.predicted.values() for seed in seeds)
    assert ran.unseen == {}
    rows = {row["name"]: row for row in databases.metrics({"text": ran})}
    assert rows["text_greedy_4"]["n"] == 1


def test_an_untrained_row_is_what_reading_the_text_gives(read):
    ran, questions = read(), TEXT
    index = Bm25(questions[0].facts)
    counts = [len(q.chain) for q in questions]
    chains = [held[0].facts for held in iterated(index, [q.question for q in questions], counts)]
    assert [*ran.predicted["bm25_iterated_oracle_m"][0]] == [tuple(chain) for chain in chains]


def test_fitted_copies_are_rows_beside_them(read):
    copies = Study(SETTINGS, "minilm", "cpu", TEXT, [])
    gold = [q.chain for q in copies.test]
    copies.add("finetuned_iterated", gold, "m 4")
    ran = read(copies=copies)
    assert [*ran.scores][-1] == "finetuned_iterated"
    assert ran.tuned["finetuned_iterated"] == ["m 4"]
    assert all(score.chain_exact for score in ran.scores["finetuned_iterated"][0])
