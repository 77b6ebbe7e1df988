"""The real small model, where it is at hand; elsewhere the skip says how to get it."""

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

import workbench as wb
from workbench.errors import ModelError
from workbench.hub import place_of
from workbench.models.prompts import encode

CHAT = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def source():
    try:
        return place_of("smollm2")[0]
    except ModelError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(source):
    return wb.load("smollm2", dtype="float32", device="cpu")


def test_it_answers_as_plain_generate_does(model):
    ids = torch.tensor([encode(model, CHAT).ids])
    with torch.no_grad():
        out = model.hf.generate(ids, max_new_tokens=12, do_sample=False)[0, ids.shape[1] :]
    reply = model.tokenizer.decode(out, skip_special_tokens=True)
    assert wb.generate(model, [CHAT], max_new_tokens=12) == [[reply]]
    assert "Paris" in reply


def test_it_is_what_it_is_named(model, source, caplog):
    assert model.sizes == {
        "n_layers": 30, "n_heads": 9, "n_kv_heads": 3, "d_head": 64, "d_model": 576
    }  # fmt: skip
    # A blank line before a number is one token, and each digit is.
    assert model.tokenizer.tokenize("one.\n\n12") == ["one", ".", "ĊĊ", "1", "2"]
    caplog.set_level(logging.INFO, "workbench")
    again = wb.load("smollm2", dtype="float32", device="cpu")
    assert source in caplog.text
    assert again.identity() == model.identity()


@pytest.mark.slow
def test_its_weights_and_logits_are_those_that_transformers_reads(model, source):
    if not source.endswith(".gguf"):
        pytest.skip("not from the package")
    folder, _, file = source.rpartition("/")
    own = {"pretrained_model_name_or_path": folder, "gguf_file": file}
    hf = AutoModelForCausalLM.from_pretrained(
        **own, quantization_config=GgufConfig(dequantize=True)
    ).eval()
    ours = dict(model.hf.named_parameters())
    assert all(torch.equal(weight, ours.pop(name)) for name, weight in hf.named_parameters())
    assert not ours
    ids = AutoTokenizer.from_pretrained(**own)("A gate, old and grey.", return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(hf(**ids).logits, model.hf(**ids).logits)


@pytest.mark.slow
def test_it_is_saved_and_reloaded_without_a_difference(model, tmp_path):
    assert wb.save_checkpoint(model, tmp_path / "out") == 0.0
