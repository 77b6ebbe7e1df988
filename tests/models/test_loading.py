"""Loading: right sizes, one anatomy, and clear refusals before any long work."""

import copy
import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.helpers.families import FAMILIES, build
from workbench.errors import DatasetError, GenerationError, ModelError
from workbench.models.prompts import encode
from workbench.paths import data_folder


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
    kind, sizes = FAMILIES["gemma3"]
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = transformers.Gemma3Config(
        text_config=kind(vocab_size=len(tokenizer), pad_token_id=1, **sizes).to_dict(),
        vision_config=vision,
        mm_tokens_per_image=4,
    )
    hf = transformers.AutoModelForCausalLM.from_config(config).eval()
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


def test_wrapping_leaves_the_callers_tokenizer_alone(tokenizer):
    mine = copy.deepcopy(tokenizer)
    mine.padding_side = "right"
    hf = build("llama", tokenizer).hf
    model = wb.load(hf, mine)
    assert mine.padding_side == "right"
    assert model.tokenizer.padding_side == "left"
    assert model.hf is hf


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


def test_a_model_in_training_mode_is_switched_to_evaluation(tokenizer):
    hf = build("gpt2", tokenizer).hf.train()
    assert not wb.load(hf, tokenizer).hf.training


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


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(data_folder() / "tiny", tmp_path / "model")


def test_folder_without_tokenizer(folder):
    for path in folder.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="holds no tokenizer"):
        wb.load(folder)


def test_folder_without_chat_template(folder):
    for path in folder.glob("chat_template*"):
        path.unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    model = wb.load(folder, device="cpu")
    assert wb.generate(model, ["Hello."], max_new_tokens=2)
    with pytest.raises(ModelError, match="has no chat template"):
        wb.generate(model, [[{"role": "user", "content": "Hello."}]])


def test_template_that_rejects_a_role(tiny):
    with pytest.raises(ModelError, match=r"rejects roles \['critic'\].*roles are system"):
        encode(tiny, [{"role": "critic", "content": "x"}])
    with pytest.raises(DatasetError, match="a chat is a list"):
        encode(tiny, [{"role": "user"}])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("", "prompt 1 is an empty string"),
        (7, "prompt 1 is neither a string nor a chat"),
        (None, "prompt 1 is neither"),
        ([{"role": "user", "content": 3}], "prompt 1 is neither"),
        ([], "prompt 1 is neither"),
        ("gate " * 600, r"prompt 1 has 60\d tokens, more than the \d+ of tiny's context"),
    ],
)
def test_unusable_prompts_are_numbered(tiny, bad, message):
    assert tiny.context_length < 600
    with pytest.raises(DatasetError, match=message):
        wb.capture(tiny, ["Hello.", bad])
    with pytest.raises(DatasetError, match=message):
        wb.generate(tiny, ["Hello.", bad])


def test_incomplete_and_unreachable_models(folder, tmp_path):
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match="not a complete model folder or repository"):
        wb.load(folder)
    with pytest.raises(ModelError, match="nobody/nothing cannot be reached"):
        wb.load("nobody/nothing")
    with pytest.raises(ModelError, match="needs its tokenizer"):
        wb.load(wb.load("tiny").hf)


def test_embedded_checkpoint_is_small_finite_safetensors():
    folder = data_folder() / "tiny"
    weights = load_file(folder / "model.safetensors")
    assert (folder / "model.safetensors").stat().st_size <= 8e6
    assert all(torch.isfinite(t).all() for t in weights.values())
    assert not list(folder.glob("*.bin")) + list(folder.glob("*.py"))
    assert (folder / "README.md").read_text().startswith("---")


def test_nan_weights_stop_generation_with_the_cause(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][:] = float("nan")
    save_file(weights, path, {"format": "pt"})
    model = wb.load(folder, device="cpu")
    with pytest.raises(GenerationError, match=r"not finite in torch.float32: request 0 \('Hello"):
        wb.generate(model, ["Hello."])
