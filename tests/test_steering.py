"""Fold = hook = the formula; restored bit for bit; exported so that plain transformers agrees."""

import math

import pytest
import torch
from conftest import CHATS, build
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import workbench as wb
from workbench.errors import FoldError
from workbench.prompts import encode

IDS = torch.tensor([[1, 7, 300, 12, 44, 9]])


def some_lock(model, seed=0, k=5, scale=0.7):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.randn(k, model.d_head, generator=generator)
    return wb.HeadDirections(
        cells // model.n_heads,
        cells % model.n_heads,
        unit / unit.norm(dim=1, keepdim=True),
        torch.full((k,), scale),
    )


@torch.no_grad()
def by_hand(model, lock, alpha):
    """Logits with the shift added head by head in an independent hook."""
    hooks = []
    for (layer, head), unit, scale in zip(lock.cells, lock.unit, lock.scale, strict=True):

        def add(_, args, head=head, unit=unit, scale=scale):
            z = args[0].clone()
            z[..., head * model.d_head : (head + 1) * model.d_head] += alpha * scale * unit
            return (z, *args[1:])

        hooks.append(model.o_proj(layer).register_forward_pre_hook(add))
    logits = model.hf(IDS).logits
    for hook in hooks:
        hook.remove()
    return logits


@pytest.mark.parametrize("how", ["fold", "hook"])
@torch.no_grad()
def test_both_ways_are_the_formula(family_model, how):
    model, lock = family_model, some_lock(family_model)
    before = model.hf(IDS).logits
    expected = by_hand(model, lock, 4.0)
    with wb.steer(model, lock, 4.0, how=how):
        got = model.hf(IDS).logits
    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(model.hf(IDS).logits, before)


def test_same_text_with_padding_and_cache(tiny):
    lock = some_lock(tiny, k=12, scale=1.0)
    prompts = [chat[:1] for chat in CHATS]
    plain = wb.generate(tiny, prompts, max_new_tokens=24)
    with wb.steer(tiny, lock, 1.0):
        folded = wb.generate(tiny, prompts, max_new_tokens=24)
    with wb.steer(tiny, lock, 1.0, how="hook"):
        hooked = wb.generate(tiny, prompts, max_new_tokens=24)
    assert folded == hooked != plain


@torch.no_grad()
def test_a_native_bias_is_added_to_not_replaced(tokenizer):
    """Trap 6, and folding twice adds up."""
    model = build("llama", tokenizer, attention_bias=True)
    native = model.o_proj(0).bias.clone()
    lock = some_lock(model, k=18)
    first = wb.fold(model, lock, 1.0)
    second = wb.fold(model, lock, 2.0)
    got = model.hf(IDS).logits
    second.undo()
    first.undo()
    torch.testing.assert_close(got, by_hand(model, lock, 3.0), atol=1e-4, rtol=1e-4)
    assert torch.equal(model.o_proj(0).bias, native)


def test_restored_after_an_exception(family_model):
    lock, before = some_lock(family_model), family_model.fingerprint()
    for how in ("fold", "hook"):
        with pytest.raises(RuntimeError), wb.steer(family_model, lock, 2.0, how=how):
            raise RuntimeError
    assert family_model.fingerprint() == before
    assert not any(family_model.o_proj(i)._forward_pre_hooks for i in range(3))


def test_fingerprint_follows_the_fold(tiny):
    lock = some_lock(tiny)
    before = tiny.fingerprint()
    with wb.steer(tiny, lock, 0.5):
        assert tiny.fingerprint() != before


@torch.no_grad()
def test_half_precision_rounds_once(tokenizer):
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    lock = some_lock(model)
    with wb.steer(model, lock, 6.0):
        bias = model.o_proj(lock.cells[0][0]).bias.clone()
    layer = lock.cells[0][0]
    delta = torch.zeros(model.n_heads, model.d_head, dtype=torch.float64)
    for cell, unit, scale in zip(lock.cells, lock.unit, lock.scale, strict=True):
        if cell[0] == layer:
            delta[cell[1]] = 6.0 * scale * unit
    exact = model.o_proj(layer).weight.double() @ delta.flatten()
    # One unit in the last place of bfloat16 is 2⁻⁸ of the value.
    assert ((bias.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("alpha", [math.nan, math.inf])
def test_alpha_must_be_finite(tiny, alpha):
    with pytest.raises(ValueError, match="must be a finite number"):
        wb.fold(tiny, some_lock(tiny), alpha)


def test_negative_alpha_needs_the_research_switch(tiny):
    with pytest.raises(ValueError, match="alpha -2 is negative"):
        wb.fold(tiny, some_lock(tiny), -2)
    with wb.steer(tiny, some_lock(tiny), -2, allow_negative=True):
        pass


def test_wrapped_projection_refuses_to_fold_but_hooks(tokenizer):
    class Quantised(torch.nn.Linear):
        pass

    model = build("llama", tokenizer)
    lock = some_lock(model, k=18)
    for i in range(3):
        model.o_proj(i).__class__ = Quantised
    with pytest.raises(FoldError, match=r"o_proj is a Quantised .* how='hook'"):
        wb.fold(model, lock, 1.0)
    expected = by_hand(model, lock, 1.0)
    with wb.steer(model, lock, 1.0, how="hook"), torch.no_grad():
        torch.testing.assert_close(model.hf(IDS).logits, expected)


@torch.no_grad()
def test_export_reloads_in_plain_transformers(family_model, tmp_path):
    model, lock = family_model, some_lock(family_model)
    before = model.hf(IDS).logits
    with wb.steer(model, lock, 4.0):
        difference = wb.save_checkpoint(model, tmp_path / "locked")
        expected = model.hf(IDS).logits
    assert difference <= 1e-5
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "locked")
    torch.testing.assert_close(again(IDS).logits, expected, atol=1e-5, rtol=1e-5)
    assert (again(IDS).logits - before).abs().max() > 0.01
    kind = {"mistral": LlamaForCausalLM, "qwen2": LlamaForCausalLM}.get(
        model.hf.config.model_type, type(model.hf)
    )
    assert type(again) is kind
    text = "How do I mend the gate?"
    assert AutoTokenizer.from_pretrained(tmp_path / "locked")(text) == model.tokenizer(text)
    with pytest.raises(FileExistsError):
        wb.save_checkpoint(model, tmp_path / "locked")


@torch.no_grad()
def test_the_naive_save_loses_the_bias(tokenizer, tmp_path):
    """Trap 9 is real: this is why save_checkpoint exists."""
    model = build("llama", tokenizer)
    before = model.hf(IDS).logits
    with wb.steer(model, some_lock(model), 4.0):
        model.hf.save_pretrained(tmp_path / "naive")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "naive")
    torch.testing.assert_close(again(IDS).logits, before)


def test_export_refuses_sliding_windows(tokenizer, tmp_path):
    model = build("mistral", tokenizer, sliding_window=8)
    with wb.steer(model, some_lock(model), 1.0), pytest.raises(FoldError, match="sliding-window"):
        wb.save_checkpoint(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_capture_sees_the_head_before_the_shift_is_projected(tiny):
    """A folded shift leaves o_proj's input at its own layer alone, and reaches the residual."""
    lock = some_lock(tiny, k=1)
    layer = lock.cells[0][0]
    here = wb.capture(tiny, CHATS, "heads", layers=[layer])
    resid = wb.capture(tiny, CHATS, "resid", layers=[layer])
    with wb.steer(tiny, lock, 3.0):
        torch.testing.assert_close(
            wb.capture(tiny, CHATS, "heads", layers=[layer]).values, here.values
        )
        moved = wb.capture(tiny, CHATS, "resid", layers=[layer]).values - resid.values
    assert moved.abs().min(-1).values.max() > 0
    assert encode(tiny, CHATS[0]).start > 0
