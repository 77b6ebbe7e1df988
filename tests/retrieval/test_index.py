"""Indexes on disk: of one encoder and one database, and of no other."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.errors import CacheCorrupt, CacheMismatch
from workbench.models.encoders import load_encoder
from workbench.retrieval import index as indexes
from workbench.retrieval.index import Remembering, index_of


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")


@pytest.fixture(scope="module")
def facts():
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(2, 9))) for _ in range(90)]


def test_the_nearest_facts_are_those_of_all_cosines(encoder, facts, tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "PART", 16)
    index = index_of(encoder, facts, tmp_path / "index")
    assert isinstance(index.vectors, np.memmap)
    queries = ["mend the gate", "old Mara"]
    scores, places = index.nearest(queries, 5)
    cosines = encoder.encode(queries) @ encoder.encode(facts).half().float().T
    expected = cosines.topk(5)
    torch.testing.assert_close(scores, expected.values)
    assert [{*row} for row in places.tolist()] == [{*row} for row in expected.indices.tolist()]


def test_what_is_there_is_not_encoded_again(encoder, facts, tmp_path, monkeypatch):
    index_of(encoder, facts, tmp_path / "index")
    monkeypatch.setattr(type(encoder), "encode", None)
    assert len(index_of(encoder, facts, tmp_path / "index").vectors) == 90


def test_an_index_of_something_else_is_refused(encoder, facts, tmp_path):
    index_of(encoder, facts, tmp_path / "index")
    with pytest.raises(CacheMismatch, match="facts is"):
        index_of(encoder, facts[:-1], tmp_path / "index")
    with pytest.raises(CacheMismatch, match="facts is"):
        index_of(encoder, facts[::-1], tmp_path / "index")
    other = wb.load_encoder(save_bert(tmp_path / "other", seed=1), device="cpu")
    with pytest.raises(CacheMismatch, match="encoder is"):
        index_of(other, facts, tmp_path / "index")
    with pytest.raises(CacheMismatch, match="encoder is"):  # weights tell, and no name does
        index_of(replace(other, name=encoder.name), facts, tmp_path / "index")


def test_a_damaged_index_is_refused(encoder, facts, tmp_path):
    folder = tmp_path / "index"
    index_of(encoder, facts, folder)
    whole = (folder / indexes.VECTORS).read_bytes()
    (folder / indexes.VECTORS).write_bytes(whole[:-10])
    with pytest.raises(CacheCorrupt, match=r"vectors.npy"):
        index_of(encoder, facts, folder)
    np.save(folder / indexes.VECTORS, np.zeros((90, 32), np.float32))
    with pytest.raises(CacheCorrupt, match=r"float32"):
        index_of(encoder, facts, folder)
    np.save(folder / indexes.VECTORS, np.zeros((89, 32), np.float16))
    with pytest.raises(CacheCorrupt, match=r"89, 32"):
        index_of(encoder, facts, folder)
    (folder / indexes.ABOUT).write_text("{")
    with pytest.raises(CacheCorrupt, match=r"index.json"):
        index_of(encoder, facts, folder)


def test_nothing_half_made_is_left(encoder, facts, tmp_path, monkeypatch):
    def encode(self, texts):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(encoder), "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        index_of(encoder, facts, tmp_path / "index")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("k", [0, 91])
def test_k_is_one_of_the_facts(encoder, facts, tmp_path, k):
    index = index_of(encoder, facts, tmp_path / "index")
    with pytest.raises(ValueError, match=f"k={k}"):
        index.nearest(["mend"], k)


@pytest.mark.parametrize(
    ("read", "why"), [([(), (-1,)], r"read\[0\]=-1"), ([(), (90,)], "at most 89"), ([()], "2$")]
)
def test_places_that_no_fact_has_are_refused(encoder, facts, tmp_path, read, why):
    index = index_of(encoder, facts, tmp_path / "index")
    with pytest.raises(ValueError, match=why):
        index.nearest(["mend", "the gate"], 3, read)


@pytest.mark.parametrize("queries", [[], "mend", [""], [None]])
def test_queries_are_texts(encoder, facts, tmp_path, queries):
    index = index_of(encoder, facts, tmp_path / "index")
    with pytest.raises(ValueError, match="queries"):
        index.nearest(queries, 3)


def test_a_text_is_encoded_once_and_has_its_vector():
    asked = []

    class Counting:
        def encode(self, texts):
            asked.append(list(texts))
            return load_encoder("lex").encode(texts)

    ranker, texts = Remembering(Counting()), ["A gate.", "A door.", "A gate."]
    assert torch.equal(ranker.encode(texts), load_encoder("lex").encode(texts))
    assert torch.equal(ranker.encode(["A door.", "So."])[1], load_encoder("lex").encode(["So."])[0])
    assert asked == [["A gate.", "A door."], ["So."]]
    assert ranker.encode([]).shape == load_encoder("lex").encode([]).shape
