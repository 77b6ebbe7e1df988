"""A model's copies are the same function, and its fingerprint sees every change."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.families import build
from workbench.errors import ModelError, ShardError


@torch.no_grad()
def test_clone_is_independent(tokenizer):
    model = build("llama", tokenizer)
    ids = torch.tensor([[3, 1, 4]])
    before, copied = model.hf(ids).logits, model.clone("copy")
    torch.testing.assert_close(copied.hf(ids).logits, before)
    for parameter in copied.hf.parameters():
        parameter.data.zero_()
    assert torch.equal(model.hf(ids).logits, before)
    assert copied.hf(ids).logits.abs().max() == 0


@torch.no_grad()
def test_a_half_precision_clone_is_the_same_function(tokenizer):
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    model.hf.model.rotary_emb.inv_freq = model.hf.model.rotary_emb.inv_freq.float() * 1.01
    model.hf.generation_config.eos_token_id = [1, 2, 3]
    copied = model.clone("copy")
    ids = torch.arange(1, 200)[None]
    assert torch.equal(copied.hf(ids).logits, model.hf(ids).logits)
    assert copied.hf.generation_config.eos_token_id == [1, 2, 3]
    assert copied.fingerprint() == model.fingerprint()


def test_the_same_weights_have_the_same_fingerprint(tokenizer):
    assert build("llama", tokenizer).fingerprint() == build("llama", tokenizer).fingerprint()
    half = build("llama", tokenizer, dtype=torch.float16)
    assert half.fingerprint() != build("llama", tokenizer).fingerprint()


def zeroed_head(model, head):
    model.o_proj(1).weight.data[:, head * model.d_head : (head + 1) * model.d_head] = 0


def zeroed_neuron(model, neuron):
    model.layer(2).mlp.down_proj.weight.data[:, neuron] = 0


@torch.no_grad()
def swapped_values(model, row):
    weight = model.layer(0).mlp.up_proj.weight
    weight[row, [3, 7]] = weight[row, [7, 3]]


def swapped_rows(model, row):
    weight = model.hf.get_input_embeddings().weight
    weight.data[[row, row + 1]] = weight.data[[row + 1, row]]


def last_bit(model, index):
    bits = model.layer(1).self_attn.k_proj.weight.data.view(torch.int32).flatten()
    bits[index * 7] ^= 1


def minus_zero(model, index):
    norm = model.hf.model.norm.weight.data
    norm[index] = 0.0
    model.before = model.fingerprint()
    norm[index] = -0.0


def buffer(model, index):
    model.hf.model.rotary_emb.inv_freq[index] *= 1.01


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "edit",
    [zeroed_head, zeroed_neuron, swapped_values, swapped_rows, last_bit, minus_zero, buffer],
)
def test_the_fingerprint_sees_every_edit(tokenizer, edit, index):
    model = build("llama", tokenizer)
    model.before = model.fingerprint()
    edit(model, index)
    assert model.fingerprint() != model.before


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_the_fingerprint_sees_one_value_anywhere(tiny, data):
    parameters = dict(tiny.hf.named_parameters())
    values = parameters[data.draw(st.sampled_from(sorted(parameters)))].data.flatten()
    index = data.draw(st.integers(0, len(values) - 1))
    before, value = tiny.fingerprint(), values[index].clone()
    values[index] = torch.nextafter(value, torch.tensor(torch.inf))
    try:
        assert tiny.fingerprint() != before
    finally:
        values[index] = value
    assert tiny.fingerprint() == before


@torch.no_grad()
def test_samples_and_captures_of_an_edited_model_are_made_anew(tokenizer, tmp_path):
    model = build("llama", tokenizer)
    requests, chats = [wb.GenRequest("Mend the gate", max_new_tokens=4)], ["Mend the gate"]
    with wb.SampleStore(tmp_path / "samples.sqlite") as store:
        wb.complete(model, requests, store=store)
        before = wb.capture(model, chats, site="resid", out=tmp_path / "acts")
        zeroed_head(model, 5)
        wb.complete(model, requests, store=store)
        assert store.written == 2
    with pytest.raises(ShardError, match="another"):
        wb.capture(model, chats, site="resid", out=tmp_path / "acts")
    assert not torch.equal(wb.capture(model, chats, site="resid").values, before.values)


def other_epsilon(model):
    model.layer(1).input_layernorm.variance_epsilon = 0.5


def other_activation(model):
    model.layer(0).mlp.act_fn = torch.nn.ReLU()


def other_config(model):
    model.hf.config.hidden_act = "relu"


def other_scaling(model):
    model.layer(2).self_attn.scaling *= 2


def own_hook(model):
    model.layer(1).register_forward_hook(lambda _, __, output: output)


@pytest.mark.parametrize(
    "change", [other_epsilon, other_activation, other_config, other_scaling, own_hook]
)
def test_a_copy_that_would_be_another_function_is_refused(change, tokenizer):
    model = build("llama", tokenizer)
    change(model)
    with pytest.raises(ModelError):
        model.clone("copy")


def test_a_copy_is_in_evaluation_mode(tokenizer):
    model = build("llama", tokenizer)
    model.hf.train()
    assert not any(module.training for module in model.clone("copy").hf.modules())


@pytest.mark.parametrize("family", ["gemma3", "phi3", "gpt_neox", "qwen2"])
def test_saving_and_loading_leaves_the_fingerprint(family, tokenizer, tmp_path):
    model = build(family, tokenizer)
    wb.save_checkpoint(model, tmp_path / "saved")
    assert wb.load(str(tmp_path / "saved")).fingerprint() == model.fingerprint()
