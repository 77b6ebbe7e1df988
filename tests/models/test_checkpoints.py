"""Exported checkpoints reload in plain transformers with the shift, or say that they cannot."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import workbench as wb
from tests.helpers.directions import IDS, some_lock, some_residual
from tests.helpers.families import build
from workbench.errors import FoldError

NO_HEAD_SLOT = ("mixtral", "phi3")
RESIDUAL_SLOT = ("llama", "mistral", "qwen2", "gpt2", "gpt_neox", "opt", "falcon")


def reloads(model, direction, folder):
    before = model.hf(IDS).logits
    with wb.steer(model, direction, 4.0, how="fold"):
        difference = wb.save_checkpoint(model, folder)
        expected = model.hf(IDS).logits
    assert difference <= 1e-4
    again = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(again(IDS).logits, expected, atol=1e-4, rtol=1e-4)
    assert (again(IDS).logits - before).abs().max() > 0.01
    return again


def only_with_a_sidecar(model, direction, folder):
    before = model.hf(IDS).logits
    with wb.steer(model, direction, 4.0, how="fold"):
        with pytest.raises(FoldError, match=r"no exact slot for .*sidecar=True"):
            wb.save_checkpoint(model, folder)
        assert not folder.exists()
        wb.save_checkpoint(model, folder, sidecar=True)
        expected = model.hf(IDS).logits
    torch.testing.assert_close(
        wb.load(folder, device="cpu").hf(IDS).logits, expected, atol=1e-4, rtol=1e-4
    )
    plain = AutoModelForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(plain(IDS).logits, before, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_head_folds_reload_in_plain_transformers(family_model, tmp_path):
    model, folder = family_model, tmp_path / "locked"
    family = model.hf.config.model_type
    if family in NO_HEAD_SLOT:
        only_with_a_sidecar(model, some_lock(model), folder)
        return
    again = reloads(model, some_lock(model), folder)
    kind = {"mistral": LlamaForCausalLM, "qwen2": LlamaForCausalLM}.get(family, type(model.hf))
    assert type(again) is kind
    text = "How do I mend the gate?"
    assert AutoTokenizer.from_pretrained(folder)(text) == model.tokenizer(text)
    with pytest.raises(FileExistsError):
        wb.save_checkpoint(model, folder)


@torch.no_grad()
def test_residual_folds_reload_where_the_family_has_a_slot(family_model, tmp_path):
    model, direction = family_model, some_residual(family_model)
    try:
        wb.fold(model, direction, 4.0).undo()
    except FoldError:
        pytest.skip("a residual shift does not fold in this family (tested with steering)")
    if model.hf.config.model_type in RESIDUAL_SLOT:
        reloads(model, direction, tmp_path / "steered")
    else:
        only_with_a_sidecar(model, direction, tmp_path / "steered")


@torch.no_grad()
def test_the_naive_save_loses_the_bias(tokenizer, tmp_path):
    """Trap 9 is real: this is why save_checkpoint exists."""
    model = build("llama", tokenizer)
    before = model.hf(IDS).logits
    with wb.steer(model, some_lock(model), 4.0):
        model.hf.save_pretrained(tmp_path / "naive")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "naive")
    torch.testing.assert_close(again(IDS).logits, before)


def test_export_refuses_what_it_cannot_keep(tokenizer, tmp_path):
    model = build("mistral", tokenizer, sliding_window=8)
    with wb.steer(model, some_lock(model), 1.0), pytest.raises(FoldError, match="sliding-window"):
        wb.save_checkpoint(model, tmp_path / "m")
    with (
        wb.steer(model, some_lock(model), 1.0, how="hook"),
        pytest.raises(FoldError, match="cannot be exported: steering by hook"),
    ):
        wb.save_checkpoint(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())
