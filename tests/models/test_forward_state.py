"""Whatever changes what a forward computes changes the fingerprint, or is refused by it."""

import functools
import types

import numpy as np
import peft
import pytest
import torch
import transformers
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

import workbench as wb
from tests.helpers.families import FAMILIES, build
from workbench.errors import ModelError, ShardError
from workbench.models import forward_state

IDS = torch.arange(3, 40)[None]


@pytest.fixture
def llama(tokenizer):
    return build("llama", tokenizer)


def epsilon(model):
    model.layer(1).input_layernorm.variance_epsilon = 0.5


def scaling(model):
    model.layer(1).self_attn.scaling *= 1.5


def groups(model):
    model.layer(0).mlp.act_fn = torch.nn.ReLU()


def function(model):
    model.layer(0).mlp.gate = torch.nn.functional.relu


def rope_scaling(model):
    model.hf.model.rotary_emb.attention_scaling = 1.1


def config(model):
    model.hf.config.rms_norm_eps = 0.1


def a_layers_config(model):
    model.layer(2).self_attn.config = type(model.hf.config)(num_hidden_layers=3)


def attention(model):
    model.hf.config._attn_implementation = "eager"


def an_array(model):
    model.layer(1).mlp.offsets = np.eye(64)[:, 32]


def deep_options(model):
    model.layer(1).mlp.options = types.SimpleNamespace(inner=types.SimpleNamespace(scale=3.0))


def training(model):
    model.layer(1).train()


def tensor_attribute(model):
    model.layer(1).mlp.offset = torch.tensor([1.0])


@pytest.mark.parametrize(
    "edit",
    [
        epsilon, scaling, groups, function, rope_scaling, config, a_layers_config,
        attention, training, tensor_attribute, an_array, deep_options,
    ],
)  # fmt: skip
def test_what_is_no_weight_counts(llama, edit):
    before = llama.fingerprint()
    edit(llama)
    assert llama.fingerprint() != before


@pytest.mark.parametrize(
    ("holder", "value"),
    [
        ("offsets", lambda f: np.insert(np.ones(4096), 2048, f)),
        ("options", lambda f: types.SimpleNamespace(a=types.SimpleNamespace(b=[{"c": f}]))),
    ],
)
def test_what_is_deep_in_an_attribute_counts(llama, holder, value):
    prints = set()
    for factor in (1.5, 2.5):
        setattr(llama.layer(0).mlp, holder, value(factor))
        llama.layer(0).mlp.down_proj.weight.scales = value(1.0)
        prints.add(llama.fingerprint())
        llama.layer(0).mlp.down_proj.weight.scales = value(factor + 1)
        prints.add(llama.fingerprint())
    assert len(prints) == 4


@pytest.mark.parametrize("what", ["layer", "weight"])
def test_what_is_tied_to_what_counts(llama, what):
    layers, prints = llama.hf.model.layers, set()
    for source in (0, 1):
        if what == "layer":
            layers[2] = layers[source]
        else:
            layers[2].mlp.down_proj.weight = layers[source].mlp.down_proj.weight
        prints.add(llama.fingerprint())
    assert len(prints) == 2


def test_switches_of_torch_count(llama):
    before = llama.fingerprint()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert llama.fingerprint() != before
    torch.set_default_dtype(torch.float64)
    try:
        assert llama.fingerprint() != before
    finally:
        torch.set_default_dtype(torch.float32)
    assert llama.fingerprint() == before


def test_the_anatomy_counts(llama, tokenizer):
    other = wb.Anatomy("model.layers", "self_attn", "o_proj", resid="mlp")
    assert wb.load(llama.hf, tokenizer, anatomy=other).fingerprint() != llama.fingerprint()


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_another_version_of_a_library_counts(llama, library, monkeypatch):
    before, real = llama.fingerprint(), forward_state.version
    monkeypatch.setattr(forward_state, "version", lambda n: "0.1" if n == library else real(n))
    assert llama.fingerprint() != before


def test_adapters_count(tokenizer):
    plain = build("llama", tokenizer)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = wb.load(peft.get_peft_model(plain.clone("a").hf, lora), tokenizer)
    before = adapted.fingerprint()
    layer = adapted.layer(0).self_attn.q_proj
    with layer._peft_scaled() if hasattr(layer, "_peft_scaled") else torch.no_grad():
        layer.scaling["default"] *= 2
    assert adapted.fingerprint() != before


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_running_a_model_leaves_its_fingerprint(family, tokenizer):
    model = build(family, tokenizer)
    before = model.fingerprint()
    wb.capture(model, ["Mend the gate"], "resid")
    wb.generate(model, ["Mend the gate"], max_new_tokens=2)
    model.hf(IDS, output_hidden_states=True, output_attentions=True)
    assert model.fingerprint() == before == model.clone("copy").fingerprint()


def changed(_, __, output):
    return (output[0] + 1, *output[1:]) if isinstance(output, tuple) else output + 1


class Changing:
    def __call__(self, module, args, output):
        return changed(module, args, output)


def hook(model):
    model.layer(1).register_forward_hook(changed)


def object_hook(model):
    model.layer(1).mlp.register_forward_hook(Changing())


def wrapped_hook(model):
    model.layer(1).register_forward_hook(torch.no_grad()(changed))


def partial_hook(model):
    model.layer(2).register_forward_hook(functools.partial(changed))


def pre_hook(model):
    model.o_proj(0).register_forward_pre_hook(lambda _, args: (args[0] * 2,))


def forward(model):
    mlp = model.layer(0).mlp
    mlp.forward = lambda x, plain=mlp.forward: 2 * plain(x)


def disguised_forward(model):
    mlp = model.layer(0).mlp
    plain = mlp.forward
    mlp.forward = functools.wraps(plain)(lambda x: 2 * plain(x))


class Own(torch.nn.Module):
    """May read a global, a class attribute, a helper or an object that changes."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)

    def gate(self, x):
        return x


def own_module(model):
    model.layer(1).mlp = Own(model.layer(1).mlp)


def own_class(model):
    model.layer(0).mlp.__class__ = type("Other", (type(model.layer(0).mlp),), {})


def own_function(model):
    model.layer(0).mlp.act_fn.__dict__["gate"] = lambda x: (lambda y: y * 1.25)(x)


def own_method(model):
    model.layer(0).mlp.gate = Own(torch.nn.Identity()).gate


def own_callable(model):
    model.layer(0).mlp.gate = Changing()


def own_attention(model):
    def attend(*args, **kwargs):
        return sdpa_attention_forward(*args, **kwargs)

    transformers.AttentionInterface.register("sdpa_of_ones_own", attend)
    transformers.AttentionMaskInterface.register("sdpa_of_ones_own", sdpa_mask)
    model.hf.set_attn_implementation("sdpa_of_ones_own")


def edited(model):
    with model.edit(inplace=True):
        model.layers[0].mlp.output = model.layers[0].mlp.output * 2


UNKNOWN = [
    hook, object_hook, wrapped_hook, partial_hook, pre_hook, forward, disguised_forward, edited,
    own_module, own_class, own_function, own_method, own_callable, own_attention,
]  # fmt: skip


@pytest.mark.parametrize("put", UNKNOWN)
def test_what_has_no_identity_is_not_kept(llama, tmp_path, put):
    put(llama)
    with pytest.raises(ModelError, match=r"without store=, out= or a cache"):
        wb.capture(llama, ["Mend the gate"], "resid", out=tmp_path / "acts")
    with pytest.raises(ModelError, match=r"without store=, out= or a cache"):
        wb.generate(llama, ["Mend the gate"], store=tmp_path / "samples.sqlite")
    wb.capture(llama, ["Mend the gate"], "resid")
    wb.generate(llama, ["Mend the gate"], max_new_tokens=2)


def test_a_forward_replaced_before_loading_or_in_the_class(tokenizer, monkeypatch):
    hf = build("llama", tokenizer).clone("plain").hf
    kind = type(hf.model.norm)
    plain = kind.forward
    monkeypatch.setattr(kind, "forward", lambda self, x: 2 * plain(self, x))
    with pytest.raises(ModelError, match=r"norm runs tests\.models"):
        build("llama", tokenizer).fingerprint()


def test_a_hook_of_every_module(llama):
    handle = torch.nn.modules.module.register_module_forward_hook(changed)
    try:
        with pytest.raises(ModelError, match=r"every module runs .*changed"):
            llama.fingerprint()
    finally:
        handle.remove()
    llama.fingerprint()


def test_captures_of_another_version_are_refused_and_named(llama, tmp_path, monkeypatch):
    acts = wb.capture(llama, ["Mend the gate", "Turn"], "resid", out=tmp_path / "acts")
    assert acts.libraries["transformers"] == forward_state.version("transformers")
    labels = torch.tensor([0, 1])
    direction = wb.ResidualDirection.contrast(acts, labels, method="mean", layers=[1])
    assert direction.provenance["libraries"] == acts.libraries
    real = forward_state.version
    monkeypatch.setattr(
        forward_state, "version", lambda name: "4.1.0" if name == "transformers" else real(name)
    )
    with pytest.raises(ShardError, match=r"transformers 4\.1\.0.*versions"):
        wb.capture(llama, ["Mend the gate", "Turn"], "resid", out=tmp_path / "acts")
    assert wb.Activations.load(tmp_path / "acts").libraries == acts.libraries
