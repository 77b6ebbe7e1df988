"""The logit lens against what a strong direction does to the logits."""

import numpy as np
import pytest
import torch
from scipy.stats import kurtosis, skew
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from tests.helpers.feature_toys import HOOK, REFERENCE, SAE, TOKENIZER
from tests.helpers.fpo_toys import M, llama
from workbench.errors import FeatureError
from workbench.sae.lens import lens, norm_gain


def gemma():
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=63, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0,
        )
    )  # fmt: skip
    return model.eval()


def gpt2():
    torch.manual_seed(0)
    sizes = {"vocab_size": 63, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
    return GPT2LMHeadModel(GPT2Config(**sizes)).eval()


@pytest.mark.parametrize("make", [llama, gemma, gpt2])
def test_the_lens_is_what_a_strong_direction_does_to_the_logits(make):
    """For a long vector along d the final norm's output is gain ⊙ d over its size, and bias."""
    model = make().eval()
    for name, weight in model.named_parameters():
        if name.endswith(("norm.weight", "ln_f.weight", "ln_f.bias")):
            weight.data += 0.5 * torch.randn(weight.shape)
    norm = model.transformer.ln_f if hasattr(model, "transformer") else model.model.norm
    found = lens(model, SAE, HOOK, TOKENIZER, [0, 7], top=63)
    names = TOKENIZER.convert_ids_to_tokens(range(63))
    for i in (0, 7):
        with torch.no_grad():
            long = 1e4 * SAE.W_dec[i]
            logits = model.lm_head(norm(long) - norm(-long)).double() / 2
        expected = [names[t] for t in logits.argsort(descending=True)]
        assert found.loc[i, "up"] == expected
        assert found.loc[i, "down"] == expected[::-1]
        falling, seen = np.sort(logits.numpy())[::-1], np.array(found.loc[i, "up_logits"])
        assert np.allclose(seen / seen[0], falling / falling[0], atol=1e-4)
        assert found.loc[i, "skew"] == pytest.approx(skew(logits), abs=1e-3)
        assert found.loc[i, "kurtosis"] == pytest.approx(kurtosis(logits), abs=1e-3)


def test_gains_are_the_families_own():
    model = gemma()
    model.model.norm.weight.data = torch.linspace(-0.5, 2, 32)
    assert torch.allclose(norm_gain(model), 1 + model.model.norm.weight, atol=1e-5)
    model = llama()
    model.model.norm.weight.data = torch.linspace(-0.5, 2, 32)
    assert torch.allclose(norm_gain(model), model.model.norm.weight.data, atol=1e-5)


def test_parts_of_a_lens_are_the_whole_and_heads_pass_through_o_proj():
    whole = lens(REFERENCE, SAE, HOOK, TOKENIZER)
    parts = lens(REFERENCE, SAE, HOOK, TOKENIZER, budget=4 * 63 * 5)
    assert list(whole["up"]) == list(parts["up"])
    assert whole.index.tolist() == list(range(M))
    z = lens(REFERENCE, SAE, "blocks.1.attn.hook_z", TOKENIZER, [3], top=63)
    written = REFERENCE.model.layers[1].self_attn.o_proj.weight @ SAE.W_dec[3]
    logits = REFERENCE.lm_head.weight @ (written * REFERENCE.model.norm.weight)
    names = TOKENIZER.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    assert z.loc[3, "up"] == names
    model = gpt2()  # whose projection has a bias, and whose norm centres
    model.transformer.h[1].attn.c_proj.bias.data = torch.randn(32)
    z = lens(model, SAE, "blocks.1.attn.hook_z", TOKENIZER, [3], top=63)
    written = SAE.W_dec[3] @ model.transformer.h[1].attn.c_proj.weight
    logits = model.lm_head.weight @ ((written - written.mean()) * model.transformer.ln_f.weight)
    names = TOKENIZER.convert_ids_to_tokens(logits.argsort(descending=True).tolist())
    assert z.loc[3, "up"] == names
    with pytest.raises(FeatureError, match=r"feature=99: .* at most 63"):
        lens(REFERENCE, SAE, HOOK, TOKENIZER, [99])
