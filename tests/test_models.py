"""Loading: right sizes, one anatomy, and clear refusals before any long work."""

import copy
import json
import shutil

import pytest
import torch
import transformers
from conftest import build
from safetensors.torch import load_file, save_file

import workbench as wb
from workbench.errors import DatasetError, ModelError
from workbench.paths import data_folder
from workbench.prompts import encode


def test_sizes_come_from_the_modules(tokenizer):
    """Mistral-Nemo and Gemma: heads × d_head is not d_model."""
    model = build("mistral", tokenizer)
    assert model.sizes == {
        "n_layers": 3,
        "n_heads": 6,
        "n_kv_heads": 2,
        "d_head": 16,
        "d_model": 48,
    }
    assert build("gpt2", tokenizer).sizes["n_kv_heads"] == 6


@torch.no_grad()
def test_standard_names_reach_the_same_modules(family_model):
    model = family_model
    ids = torch.tensor([[1, 2, 3]])
    with model.trace(input_ids=ids):
        z = model.layers[1].attn.o_proj.input.save()
        mlp = model.layers[1].mlp.output.save()
    seen = {}
    hooks = [
        model.o_proj(1).register_forward_pre_hook(lambda _, a: seen.__setitem__("z", a[0])),
        model.layer(1).mlp.register_forward_hook(lambda _, __, o: seen.__setitem__("mlp", o)),
    ]
    model.hf(ids)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(z, seen["z"])
    torch.testing.assert_close(mlp, seen["mlp"])


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


def test_fingerprint_sees_one_changed_weight_matrix(tokenizer):
    model = build("llama", tokenizer)
    before = model.fingerprint()
    assert build("llama", tokenizer).fingerprint() == before
    model.layer(2).mlp.up_proj.weight.data += 1e-3
    assert model.fingerprint() != before


def test_unknown_family_lists_the_known_ones(tokenizer):
    config = transformers.BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=2)
    hf = transformers.BloomForCausalLM(config)
    with pytest.raises(ModelError, match=r"'bloom' is unknown. Known: llama, mistral.*Anatomy\("):
        wb.load(hf, tokenizer)
    by_hand = wb.Anatomy("transformer.h", "self_attention", "dense")
    assert wb.load(hf, tokenizer, anatomy=by_hand).d_head == 16


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
    with pytest.raises(FloatingPointError, match="logits are not finite"):
        wb.generate(model, ["Hello."])
