"""A head by itself against the model's own forward, and where it is noticed that it is not one."""

import threading

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.families import CHATS, build, multimodal_gemma3
from workbench.errors import ModelError
from workbench.models.head import Head
from workbench.models.prompts import encode

LLAMA = wb.ANATOMIES["llama"]
WIDE = {
    "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 6,
}  # fmt: skip
GPT = {"n_embd": 48, "n_layer": 2, "n_head": 6, "rotary_dim": 4}
SCALED = {
    "Cohere": ({**WIDE, "logit_scale": 0.3}, LLAMA),
    "Granite": ({**WIDE, "logits_scaling": 3.0}, LLAMA),
    "Mpt": ({"d_model": 48, "n_heads": 6, "n_layers": 2},
            wb.Anatomy("transformer.blocks", "attn", "out_proj", mlp="ffn")),
    "GPTJ": (GPT, wb.Anatomy("transformer.h", "attn", "out_proj")),
    "BioGpt": (WIDE, wb.Anatomy("biogpt.layers", "self_attn", "out_proj", mlp="fc2")),
}  # fmt: skip


@torch.inference_mode()
def check(model, atol=1e-5):
    """Logits of all tokens, and the model is as it was; returns whether the two heads agree."""
    ids = torch.tensor([encode(model, CHATS[0]).ids, encode(model, CHATS[0]).ids[::-1]])
    expected = model.hf(ids, use_cache=False).logits
    state = {name: dict(vars(m)) for name, m in model.hf.named_modules()}
    head = Head(model)
    with head.set_apart():
        own = model.hf(ids, use_cache=False).logits
    agrees = head.agrees(own[:, -1])
    if agrees:
        assert own.shape[:2] == (1, 1)
        got = head.logits(head.hidden.flatten(0, 1)).view_as(expected)
        torch.testing.assert_close(got, expected, atol=atol, rtol=1e-5)
    assert {name: dict(vars(m)) for name, m in model.hf.named_modules()} == state
    assert torch.equal(model.hf(ids, use_cache=False).logits, expected)
    return agrees


def test_every_family_has_one(family_model):
    assert check(family_model)


@pytest.mark.parametrize("kind", SCALED)
def test_scales_and_biases_of_a_familys_own(tokenizer, kind):
    sizes, anatomy = SCALED[kind]
    ids = {f"{x}_token_id": getattr(tokenizer, f"{x}_token_id") for x in ("pad", "bos", "eos")}
    config = getattr(transformers, f"{kind}Config")(vocab_size=len(tokenizer), **ids, **sizes)
    torch.manual_seed(0)
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in hf.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert check(wb.load(hf, tokenizer, anatomy=anatomy))


def test_a_model_with_eyes(tokenizer):
    assert check(wb.load(multimodal_gemma3(tokenizer), tokenizer))


@pytest.mark.parametrize("part", ["", "model"])
def test_a_compiled_model_is_run_as_plain_python(tokenizer, part):
    model = build("llama", tokenizer)
    model.hf.get_submodule(part).compile(backend="eager")
    assert check(model)


def hooked(hf):
    """A hook that changes what the model returns."""

    def scale(_, __, out):
        out.logits = out.logits * torch.linspace(1, 1.5, out.logits.shape[-1])
        return out

    return hf.register_forward_hook(scale)


def test_where_more_matters_than_the_hidden_state_nothing_is_scored(tokenizer):
    model = build("llama", tokenizer)
    handle = hooked(model.hf)
    assert not check(model)
    with pytest.raises(ModelError, match="remove the hooks that change them"):
        wb.reply_logprobs(model, CHATS)
    assert model.in_flight is None
    handle.remove()
    assert check(model)


def test_a_forward_put_in_the_place_of_the_classs(tokenizer):
    model = build("gpt2", tokenizer)
    forward = model.hf.forward

    def cooler(*args, **kwargs):
        out = forward(*args, **kwargs)
        out.logits = out.logits / 2
        return out

    model.hf.forward = cooler
    assert not check(model)


def test_another_thread_sees_the_model_whole(tokenizer):
    model = build("llama", tokenizer)
    ids = torch.tensor([encode(model, CHATS[0]).ids])
    shapes = []
    with torch.no_grad(), Head(model).set_apart():
        thread = threading.Thread(target=lambda: shapes.append(model.hf(ids).logits.shape[:2]))
        thread.start()
        thread.join()
    assert shapes == [ids.shape]
