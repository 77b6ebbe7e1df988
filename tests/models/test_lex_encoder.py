"""The encoder of hashed words is SplitMix64 over SHA-256, and stands where any other stands."""

import copy
import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.models.encoder_cache import cached
from workbench.models.lex_encoder import MOST_WORDS, WIDTH, words
from workbench.retrieval.index import index_of

MASK = 2**64 - 1


def signs(word):
    """By Python's own integers: the published algorithm, 64 signs of each of its numbers."""
    state = int(hashlib.sha256(word.encode("utf-8", "surrogatepass")).hexdigest()[:16], 16) >> 2
    out = []
    for _ in range(WIDTH // 64):
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        out += [2 * (z >> bit & 1) - 1 for bit in range(64)]
    return torch.tensor(out).float()


@pytest.fixture(scope="module")
def encoder():
    return wb.load_encoder("lex", device="cpu")


@given(st.text(st.characters(categories=["Ll", "Nd"]), min_size=1).map(str.lower))
@settings(max_examples=50, deadline=None)
def test_a_word_has_the_published_generators_signs(word):
    states = wb.load_encoder("lex", device="cpu").states([word])[0]
    for state, part in zip(states, words(word), strict=True):
        assert torch.equal(state, signs(part))


def test_a_vector_is_the_mean_of_its_words(encoder):
    texts = ["The gate of Ada.", "", "Ada's 1,200 [PAD] gates; ...", "über-Tor"]
    parts = [["the", "gate", "of", "ada"], [], ["ada", "s", "1", "200", "pad", "gates"],
             ["über", "tor"]]  # fmt: skip
    vectors, states = encoder.encode(texts), encoder.states(texts)
    assert vectors.dtype == states[0].dtype == torch.float32
    assert encoder.width == WIDTH
    for vector, of_text, names in zip(vectors, states, parts, strict=True):
        rows = [signs(name) for name in names]
        assert torch.equal(of_text, torch.stack(rows) if rows else torch.empty(0, WIDTH))
        mean = sum(rows, torch.zeros(WIDTH))
        torch.testing.assert_close(vector, mean / (mean.norm() + 1e-30), atol=1e-6, rtol=0)


def test_cosines_count_shared_words(encoder):
    a, b, c = encoder.encode(["ONE two three four", "four, three nine ten", "five six seven eight"])
    assert 0.35 < a @ b < 0.65
    assert abs(a @ c) < 0.15
    of_words = torch.stack([signs(f"w{i}") for i in range(300)]).numpy() / np.sqrt(WIDTH)
    nearness = (of_words @ of_words.T)[~np.eye(300, dtype=bool)]
    assert abs(nearness.mean()) < 0.001
    assert abs(nearness.std() - WIDTH**-0.5) < 0.002


def test_it_is_the_same_in_every_process(encoder):
    code = "import workbench as wb; print(wb.load_encoder('lex', device='cpu').identity())"
    for seed in ("0", "7"):
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path), "PATH": ""}
        ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        assert ran.stdout.strip() == encoder.identity(), ran.stderr


def test_long_texts_are_cut_with_a_warning(encoder, caplog):
    long = " ".join(f"w{i}" for i in range(MOST_WORDS + 9))
    assert len(encoder.states([long])[0]) == MOST_WORDS
    assert f"1 of 1 texts are cut to {MOST_WORDS} tokens" in caplog.text


def test_it_is_cached_and_indexed_as_any_other(encoder, tmp_path):
    facts = ["Ada mends the gate.", "Bo opens a door."]
    kept = cached(encoder, tmp_path / "cache")
    torch.testing.assert_close(kept.encode(facts), encoder.encode(facts), atol=1e-3, rtol=0)
    assert torch.equal(kept.states(facts)[0], encoder.states(facts)[0])
    _, places = index_of(encoder, facts, tmp_path / "index").nearest(["Who opens doors: Bo?"], 1)
    assert places.tolist() == [[1]]


def test_its_map_is_trained_as_weights_are(encoder):
    trained = copy.deepcopy(encoder.hf)
    batch = encoder.tokenizer(["ada", "a gate"], padding=True, return_tensors="pt")
    trained(**batch).last_hidden_state.square().mean().backward()
    (weight,) = trained.parameters()
    assert weight.grad.abs().sum() > 0
    with torch.no_grad():
        weight *= 2
    other = type(encoder)(trained, copy.deepcopy(encoder.tokenizer), "lex", MOST_WORDS)
    assert other.identity() != encoder.identity()
    assert torch.equal(other.states(["ada"])[0], 2 * signs("ada")[None])
