"""Loading: what comes from a folder, the hub or a live model, and refusals before long work."""

import copy
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.helpers.families import build
from workbench.errors import GenerationError, ModelError
from workbench.paths import data_folder


def test_wrapping_leaves_the_callers_tokenizer_alone(tokenizer):
    mine = copy.deepcopy(tokenizer)
    mine.padding_side = "right"
    hf = build("llama", tokenizer).hf
    model = wb.load(hf, mine)
    assert mine.padding_side == "right"
    assert model.tokenizer.padding_side == "left"
    assert model.hf is hf


def test_a_model_in_training_mode_is_switched_to_evaluation(tokenizer):
    hf = build("gpt2", tokenizer).hf.train()
    assert not wb.load(hf, tokenizer).hf.training


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
