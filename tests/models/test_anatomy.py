"""One anatomy for every family: sizes, standard names, and refusals right after loading."""

from dataclasses import replace

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.families import build, multimodal_gemma3
from workbench.errors import ModelError
from workbench.models.anatomy_check import STEERED_RESID, check_anatomy
from workbench.models.prompts import encode


@torch.no_grad()
def test_sizes_are_those_of_the_forward_pass(family_model):
    """Grouped and multi-query heads, head widths that do not add up to the residual stream."""
    model = family_model
    ids = torch.tensor([[1, 2, 3]])
    out = model.hf(ids, use_cache=True, output_hidden_states=True)
    assert model.n_layers == len(out.hidden_states) - 1 == len(out.past_key_values.layers)
    assert model.d_model == out.hidden_states[1].shape[-1]
    keys = out.past_key_values.layers[0].keys[0]
    # Falcon repeats the keys of a group before it caches them.
    assert model.n_kv_heads == len(keys.unique(dim=0))
    assert model.d_head == keys.shape[-1]
    assert model.n_heads * model.d_head == model.o_proj(0).weight.numel() // model.d_model
    assert model.context_length >= 256


@torch.no_grad()
def test_standard_names_reach_the_same_modules(family_model):
    model = family_model
    ids = torch.tensor([[1, 2, 3]])
    with model.trace(input_ids=ids):
        z = model.layers[1].attn.o_proj.input.save()
        mlp = model.layers[1].mlp.output.save()
    seen = {}
    layer = model.layer(1)
    hooks = [
        model.o_proj(1).register_forward_pre_hook(lambda _, a: seen.__setitem__("z", a[0])),
        layer.get_submodule(model.anatomy.mlp).register_forward_hook(
            lambda _, __, o: seen.__setitem__("mlp", o)
        ),
    ]
    model.hf(ids)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(z, seen["z"])
    torch.testing.assert_close(mlp, seen["mlp"])


@torch.no_grad()
def test_the_text_part_of_a_multimodal_gemma3(tokenizer):
    hf = multimodal_gemma3(tokenizer)
    model = wb.load(hf, tokenizer)
    acts = wb.capture(model, ["mend the gate"], "resid", wb.all_tokens(), layers=[0])
    ids = torch.tensor([encode(model, "mend the gate").ids])
    states = hf(ids, output_hidden_states=True).hidden_states
    torch.testing.assert_close(acts.values[0, :, 0], states[1][0], atol=1e-5, rtol=1e-5)
    direction = wb.ResidualDirection.contrast(
        wb.capture(model, ["mend the gate", "the bone"], "resid"), [0, 1], [1]
    )
    plain = wb.generate(model, ["mend the gate"], max_new_tokens=4)
    with wb.steer(model, direction, 50.0, mode="generated"):
        assert wb.generate(model, ["mend the gate"], max_new_tokens=4) != plain
        model.hf.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=2)


def test_unknown_family_lists_the_known_ones(tokenizer):
    config = transformers.BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2)
    hf = transformers.BloomForCausalLM(config)
    with pytest.raises(ModelError, match=r"'bloom' is unknown. Known: llama, mistral.*Anatomy\("):
        wb.load(hf, tokenizer)
    by_hand = wb.Anatomy("transformer.h", "self_attention", "dense")
    assert wb.load(hf, tokenizer, anatomy=by_hand).d_head == 16


def test_a_residual_module_behind_which_a_norm_comes_fails_at_load(tokenizer):
    hf = build("gemma2", tokenizer).hf
    wrong = wb.Anatomy("model.layers", "self_attn", "o_proj", resid="mlp.down_proj")
    with pytest.raises(ModelError, match=r"'mlp.down_proj' does not arrive unchanged.*resid=…"):
        wb.load(hf, tokenizer, anatomy=wrong)


def test_wrong_anatomy_fails_at_load(tokenizer):
    hf = build("llama", tokenizer).hf
    with pytest.raises(ModelError, match="does not hold"):
        wb.load(hf, tokenizer, anatomy=wb.Anatomy("model.layers", "attention", "o_proj"))
    with pytest.raises(ModelError, match="does not hold in a forward pass"):
        wb.load(hf, tokenizer, anatomy=wb.Anatomy("model.layers", "mlp", "down_proj"))


def test_an_mlp_that_adds_the_residual_itself_is_no_site(tokenizer):
    """BLOOM's module returns stream and contribution in one."""
    config = transformers.BloomConfig(
        vocab_size=len(tokenizer), hidden_size=48, n_layer=2, n_head=6
    )
    hf = transformers.BloomForCausalLM(config)
    model = wb.load(hf, tokenizer, anatomy=wb.Anatomy("transformer.h", "self_attention", "dense"))
    with pytest.raises(ModelError, match="'mlp' holds the residual stream"):
        wb.capture(model, ["mend the gate"], "mlp")
    with pytest.raises(ModelError, match="'mlp' holds the residual stream"):
        wb.capture(model.clone("copy"), ["mend the gate"], "mlp")
    wb.capture(model, ["mend the gate"], "resid")
    assert list(model.refused_sites) == ["mlp"]


def test_known_families_have_every_site(family_model):
    assert family_model.refused_sites == {}


def test_a_scaled_residual_is_refused(tokenizer):
    config = transformers.GraniteConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, residual_multiplier=0.22, pad_token_id=1,
    )  # fmt: skip
    hf = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(ModelError, match="does not arrive unchanged"):
        wb.load(hf, tokenizer, anatomy=wb.ANATOMIES["llama"])


LLAMA = wb.ANATOMIES["llama"]
WHOLE_MLP = wb.Anatomy("model.layers", "self_attn", "o_proj")


def small_granite(tokenizer):
    config = transformers.GraniteConfig(
        vocab_size=len(tokenizer), hidden_size=48, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, residual_multiplier=0.9, pad_token_id=1,
    )  # fmt: skip
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("zeros", [False, True])
def test_what_a_scaled_family_still_has(tokenizer, dtype, zeros):
    """Weights that are zero show nothing by themselves; what is added to outputs does."""
    hf = small_granite(tokenizer).to(dtype)
    if zeros:
        for parameter in hf.parameters():
            parameter.data.zero_()
    model = wb.load(hf, tokenizer, anatomy=WHOLE_MLP)
    assert sorted(model.refused_sites) == ["mlp", STEERED_RESID]
    with pytest.raises(ModelError, match=r"no site 'mlp': .*does not enter the residual stream as"):
        wb.capture(model, ["mend the gate"], "mlp")
    wb.capture(model, ["mend the gate"], "heads")
    acts = wb.capture(model, ["mend the gate", "the bone"], "resid")
    acts = replace(acts, shards=(torch.randn_like(acts.values),))
    direction = wb.ResidualDirection.contrast(acts, [0, 1], [1])
    for how in ("hook", "fold"):
        with (
            pytest.raises(ModelError, match="no site 'steered resid'"),
            wb.steer(model, direction, 1.0, how=how),
        ):
            pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gemma2", "olmo2", "falcon_alibi", "opt_post_norm"])
def test_half_precision_and_empty_weights_are_no_reason(tokenizer, family, dtype):
    hf = build(family, tokenizer, dtype=dtype).hf
    assert check_anatomy(hf, wb.load(hf, tokenizer).anatomy, family) == {}
    for parameter in hf.parameters():
        parameter.data.zero_()
    assert check_anatomy(hf, wb.load(hf, tokenizer).anatomy, family) == {}


def test_an_mlp_with_the_stream_in_it_shows_without_weights(tokenizer):
    config = transformers.BloomConfig(
        vocab_size=len(tokenizer), hidden_size=48, n_layer=2, n_head=6
    )
    hf = transformers.BloomForCausalLM(config)
    for parameter in hf.parameters():
        parameter.data.zero_()
    bloom = wb.Anatomy("transformer.h", "self_attention", "dense")
    assert list(check_anatomy(hf, bloom, "bloom")) == ["mlp"]


@pytest.mark.parametrize("change", ["scaled", "skipped", "multiplier"])
def test_one_layer_of_another_kind_is_found(tokenizer, change):
    """Every kind of layer is tried, not the first one alone."""
    wrapped = build("llama", tokenizer).hf
    hf = type(wrapped)(wrapped.config).eval()
    layer = hf.model.layers[2]
    if change == "multiplier":
        hf = small_granite(tokenizer)
        for block, factor in zip(hf.model.layers, (1.0, 0.5), strict=True):
            block.residual_multiplier = factor
        with pytest.raises(ModelError, match=r"does not arrive unchanged.*of layer 1"):
            check_anatomy(hf, LLAMA, "granite")
    else:
        mlp, factor = layer.mlp, 0.5 if change == "scaled" else 0.0
        plain = type(layer).forward

        class Odd(type(layer)):
            def forward(self, hidden_states, **kwargs):
                # Behind the hooks of the check, which are there already.
                handle = mlp.register_forward_hook(lambda _, __, o: factor * o)
                try:
                    return plain(self, hidden_states, **kwargs)
                finally:
                    handle.remove()

        layer.__class__ = Odd
        assert sorted(check_anatomy(hf, WHOLE_MLP, "odd")) == ["mlp", STEERED_RESID]
        with pytest.raises(ModelError, match="of layer 2"):
            check_anatomy(hf, replace(WHOLE_MLP, resid="mlp"), "odd")


@pytest.mark.parametrize("parallel", [True, False])
def test_parallel_and_sequential_streams_add_up(tokenizer, parallel):
    hf = build("gpt_neox", tokenizer, use_parallel_residual=parallel).hf
    assert check_anatomy(hf, wb.ANATOMIES["gpt_neox"], "neox") == {}


def test_a_layer_without_a_part_refuses_its_site(tokenizer):
    hf = build("llama", tokenizer).hf
    delattr(hf.model.layers[2], "mlp")
    refused = check_anatomy(hf, wb.ANATOMIES["llama"], "holes")
    assert refused == {
        "mlp": "layer 2 has no mlp", STEERED_RESID: "layer 2 has no mlp.down_proj"
    }  # fmt: skip
