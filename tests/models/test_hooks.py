"""What TransformerLens hook names read, against plain forward passes; and what replaces it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import Gemma2Config, Gemma2ForCausalLM

from tests.helpers.fpo_toys import llama
from workbench.errors import FeatureError
from workbench.models.hooks import find_hook, reading, replacing

IDS = torch.randint(3, 60, (2, 7), generator=torch.Generator().manual_seed(0))


def gemma():
    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=63, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0,
        )
    ).eval()  # fmt: skip


def captured(model, hook):
    with torch.no_grad(), reading(find_hook(model, hook)) as slot:
        model(IDS)
    return slot.value


def test_hooks_read_the_residual_stream_where_their_names_say():
    model = llama().eval()
    states = model(IDS, output_hidden_states=True).hidden_states
    for layer in range(3):
        assert torch.equal(captured(model, f"blocks.{layer}.hook_resid_pre"), states[layer])
    for layer in range(2):
        assert torch.equal(captured(model, f"blocks.{layer}.hook_resid_post"), states[layer + 1])
    last = captured(model, "blocks.2.hook_resid_post")
    assert not torch.allclose(last, states[3])  # which is behind the final norm
    assert torch.allclose(model.model.norm(last), states[3], atol=1e-6)


@pytest.mark.parametrize("make", [llama, gemma])
def test_what_the_mlp_adds_is_the_difference_of_the_stream(make):
    """resid_post = resid_pre + attention + mlp_out, behind Gemma's norm."""
    model = make().eval()
    post, pre = (captured(model, f"blocks.0.hook_resid_{x}") for x in ("post", "pre"))
    block, attention = model.model.layers[0], {}
    normed = getattr(block, "post_feedforward_layernorm", None)
    after = block.post_attention_layernorm if normed is not None else block.self_attn
    handle = after.register_forward_hook(
        lambda _, __, out: attention.update(x=out[0] if isinstance(out, tuple) else out)
    )
    added = captured(model, "blocks.0.hook_mlp_out")
    handle.remove()
    assert torch.allclose(pre + attention["x"] + added, post, atol=1e-5)


def test_hook_z_is_the_input_of_the_output_projection():
    model, seen = llama().eval(), {}
    o_proj = model.model.layers[1].self_attn.o_proj
    handle = o_proj.register_forward_pre_hook(lambda _, args: seen.update(z=args[0]))
    z = captured(model, "blocks.1.attn.hook_z")
    handle.remove()
    assert torch.equal(z, seen["z"])
    assert find_hook(model, "blocks.1.attn.hook_z").heads == 4


def test_an_adapter_does_not_hide_the_module_and_errors_leave_no_hook():
    model = llama()
    inner = model.model.layers[1]
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    assert find_hook(adapted, "blocks.1.hook_resid_post").module is inner
    with pytest.raises(ZeroDivisionError), reading(find_hook(adapted, "blocks.1.hook_resid_post")):
        1 / 0  # noqa: B018
    assert not inner._forward_hooks


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("blocks.5.hook_resid_post", "layer 5, but the model has 3 layers"),
        ("blocks.1.hook_q", r"hook_resid_pre.*hook_z"),
        ("model.layers.1", "not supported"),
    ],
)
def test_other_hooks_are_refused(hook, message):
    with pytest.raises(FeatureError, match=message):
        find_hook(llama(), hook)


@pytest.mark.parametrize(
    "site", ["hook_resid_pre", "hook_resid_post", "hook_mlp_out", "attn.hook_z"]
)
@torch.no_grad()
def test_what_replaces_an_activation_is_read_there_and_nowhere_else(site):
    """Rows where the mask is true, the rest and the other text as before; put back afterwards."""
    model, name = llama().eval(), f"blocks.1.{site}"
    hook = find_hook(model, name)
    before, logits = captured(model, name), model(IDS).logits
    mask = torch.zeros(2, 6, dtype=torch.bool)
    mask[0, 3:5] = True
    value = torch.randn(2, before.shape[-1], generator=torch.Generator().manual_seed(1))
    with replacing(hook, mask, value), reading(hook) as slot:
        replaced = model(IDS).logits
    assert torch.equal(slot.value[0, 3:5], value)
    assert torch.equal(slot.value[0, :3], before[0, :3])
    assert torch.equal(slot.value[0, 5:], before[0, 5:])
    assert torch.equal(slot.value[1], before[1])
    assert torch.equal(replaced[1], logits[1])
    assert torch.equal(replaced[0, :3], logits[0, :3])
    assert (replaced[0, 3:] - logits[0, 3:]).abs().max() > 1e-3
    assert torch.equal(model(IDS).logits, logits)
