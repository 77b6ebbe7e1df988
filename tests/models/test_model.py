"""A model's copies are the same function, and its fingerprint sees every change."""

import torch

from tests.helpers.families import build


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


def test_fingerprint_sees_one_changed_weight_matrix(tokenizer):
    model = build("llama", tokenizer)
    before = model.fingerprint()
    assert build("llama", tokenizer).fingerprint() == before
    model.layer(2).mlp.up_proj.weight.data += 1e-3
    assert model.fingerprint() != before
