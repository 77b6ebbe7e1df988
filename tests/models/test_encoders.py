"""Sentence encoders: each vector is that of plain transformers on the one text alone."""

import json
import logging
import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.errors import ModelError
from workbench.hub import place_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_bert(tmp_path_factory.mktemp("bert"))


def texts(count, most):
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, most))) for _ in range(count)]


def by_hand(folder, prompts, most):
    """Each text by itself, without padding."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    hf = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for prompt in prompts:
        inputs = tokenizer(
            [prompt], truncation=True, max_length=most, padding=False, return_tensors="pt"
        )
        with torch.no_grad():
            mean = hf(**inputs).last_hidden_state[0].mean(0)
        rows.append(mean / mean.norm())
    return torch.stack(rows)


def test_ragged_texts_have_the_vectors_they_have_alone(folder, caplog):
    prompts = ["", *texts(150, 38), WORDS[0]]
    vectors = wb.load_encoder(folder, device="cpu").encode(prompts)
    assert vectors.shape == (152, 32)
    assert not vectors.is_inference()  # a head may be trained on them
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, by_hand(folder, prompts, 40), atol=1e-5, rtol=0)
    assert not caplog.records


def test_what_is_cut_is_said(folder, caplog):
    prompts = [*texts(5, 38), " ".join(WORDS * 4), " ".join(WORDS * 200)]
    vectors = wb.load_encoder(folder, device="cpu").encode(prompts)
    torch.testing.assert_close(vectors, by_hand(folder, prompts, 40), atol=1e-5, rtol=0)
    (record,) = caplog.records
    assert record.getMessage().endswith("2 of 7 texts are cut to 40 tokens")


def test_states_are_those_of_each_text_alone(folder, caplog):
    prompts = ["", *texts(60, 38), " ".join(WORDS * 9)]
    encoder = wb.load_encoder(folder, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    states = encoder.states(prompts)
    for prompt, of_text in zip(prompts, states, strict=True):
        ids = tokenizer(
            [prompt], truncation=True, max_length=40, padding=False, return_tensors="pt"
        )
        with torch.no_grad():
            alone = encoder.hf(**ids).last_hidden_state[0]
        torch.testing.assert_close(of_text, alone, atol=1e-5, rtol=0)
    assert "1 of 62 texts are cut" in caplog.text


def test_an_identity_is_that_of_weights_tokenizer_and_limit(folder, tmp_path):
    encoder = wb.load_encoder(folder, device="cpu")
    same = wb.load_encoder(folder, device="cpu")
    assert encoder.identity() == same.identity()
    same.tokenizer.add_tokens(["hoe"])
    others = {
        encoder.identity(),
        same.identity(),
        replace(encoder, max_tokens=39).identity(),
        wb.load_encoder(save_bert(tmp_path / "other", seed=1), device="cpu").identity(),
    }
    assert len(others) == 4


def test_no_texts_and_no_list_of_texts(folder):
    encoder = wb.load_encoder(folder, device="cpu")
    assert encoder.encode([]).shape == (0, 32)
    assert encoder.states([]) == []
    for wrong in ("text", None, ["a", 5], [None], {"a": "b"}):
        with pytest.raises(ValueError, match="texts"):
            encoder.encode(wrong)


PARTS = {
    "modules.json": [{"type": "sentence_transformers.models.Dense"}],
    "1_Pooling/config.json": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
}


@pytest.mark.parametrize("file", PARTS)
def test_another_pooling_is_refused(file, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.iterdir():
        (other / path.name).symlink_to(path)
    (other / file).parent.mkdir(exist_ok=True)
    (other / file).write_text(json.dumps(PARTS[file]))
    with pytest.raises(ModelError, match=r"has (Dense|pooling_mode_cls_token); only means"):
        wb.load_encoder(other)


def test_what_is_no_encoder(tmp_path, folder):
    with pytest.raises(ModelError, match="nobody/nothing cannot be reached"):
        wb.load_encoder("nobody/nothing")
    other = tmp_path / "other"
    other.mkdir()
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            (other / path.name).symlink_to(path)
    (other / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(ModelError, match=r"model.safetensors is damaged"):
        wb.load_encoder(other)


def test_minilm_is_plain_minilm(caplog):
    try:
        source, where = place_of("minilm")
    except ModelError as error:
        pytest.skip(str(error))
    caplog.set_level(logging.INFO, "workbench")
    encoder = wb.load_encoder("minilm", device="cpu")
    assert where in caplog.text
    assert encoder.max_tokens == 256
    prompts = [*texts(6, 20), "The gate is broken.", "Somebody broke the gate.", "I like tea."]
    vectors = encoder.encode(prompts)
    torch.testing.assert_close(vectors, by_hand(source, prompts, 256), atol=1e-5, rtol=0)
    assert vectors.shape == (9, 384)
    assert vectors[6] @ vectors[7] > 0.8 > 0.3 > vectors[6] @ vectors[8]
