"""A cached encoder gives what the encoder gives, in float16, whatever is on the disk."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.models import encoder_cache
from workbench.models.encoder_cache import cached
from workbench.models.encoders import Encoder

TEXTS = ["mend the gate", "", "old Mara", "mend the gate", " ".join(WORDS)]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")


def same(got, expected):
    torch.testing.assert_close(
        list(got), [row.half().float() for row in expected], rtol=0, atol=2e-3
    )


def test_what_is_read_is_what_was_computed(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_cache, "PART", 2)
    first = cached(encoder, tmp_path)
    vectors, states = first.encode(TEXTS), first.states(TEXTS)
    same(vectors, encoder.encode(TEXTS))
    same(states, encoder.states(TEXTS))
    assert vectors.dtype == states[0].dtype == torch.float32
    for computed in (vectors, *states):  # rounded before it is written, not only once it is read
        assert torch.equal(computed, computed.half().float())
    assert len([*tmp_path.rglob("*.safetensors")]) == 4
    monkeypatch.setattr(Encoder, "_states", None)
    for again in (first, cached(encoder, tmp_path)):
        assert torch.equal(again.encode(TEXTS[::-1]), vectors.flip(0))
        for got, expected in zip(again.states(TEXTS), states, strict=True):
            assert torch.equal(got, expected)


def test_another_encoder_reads_nothing_of_it(encoder, tmp_path):
    other = wb.load_encoder(save_bert(tmp_path / "other", seed=1), device="cpu")
    cached(encoder, tmp_path / "cache").encode(TEXTS)
    same(cached(other, tmp_path / "cache").encode(TEXTS), other.encode(TEXTS))
    weight = next(iter(other.hf.parameters()))
    with torch.no_grad():
        weight += torch.randn_like(weight)
    same(cached(other, tmp_path / "cache").encode(TEXTS), other.encode(TEXTS))


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_file_is_named_and_made_anew(encoder, tmp_path, caplog, monkeypatch, damage):
    caplog.set_level(logging.WARNING)
    kept = cached(encoder, tmp_path).encode(TEXTS)
    (path,) = tmp_path.rglob("*.safetensors")
    content = path.read_bytes()
    flipped = content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]
    path.write_bytes({"cut": content[:-9], "bit": flipped, "empty": b""}[damage])
    same(cached(encoder, tmp_path).encode(TEXTS), encoder.encode(TEXTS))
    assert str(path) in caplog.text
    caplog.clear()
    monkeypatch.setattr(Encoder, "_states", None)
    same(cached(encoder, tmp_path).encode(TEXTS[:1]), kept[:1])
    assert not caplog.records


def test_a_damaged_file_is_named_once_whatever_is_asked_next(encoder, tmp_path, caplog):
    cached(encoder, tmp_path).encode(TEXTS)
    (path,) = tmp_path.rglob("*.safetensors")
    path.write_bytes(b"")
    for _ in range(2):
        cached(encoder, tmp_path).encode(TEXTS[:1])
    assert not path.exists()
    assert caplog.text.count("is damaged") == 1


def test_several_at_once_leave_whole_files(encoder, tmp_path):
    with ThreadPoolExecutor(4) as pool:
        every = list(pool.map(lambda i: cached(encoder, tmp_path).encode(TEXTS[i % 2 :]), range(8)))
    for i, vectors in enumerate(every):
        same(vectors, encoder.encode(TEXTS[i % 2 :]))
    assert not [*tmp_path.rglob("*.partial")]


def test_no_texts(encoder, tmp_path):
    assert cached(encoder, tmp_path).encode([]).shape == (0, 32)
    assert cached(encoder, tmp_path).states([]) == []
    with pytest.raises(ValueError, match="texts"):
        cached(encoder, tmp_path).encode("text")
