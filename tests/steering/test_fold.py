"""Folds: added to what is there, rounded once, undone in order, refused with the reason."""

import math

import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model

import workbench as wb
from tests.helpers.directions import IDS, by_hand, some_lock, some_residual
from tests.helpers.families import build
from workbench.errors import DirectionError, FoldError, SteeringError
from workbench.hashing import tensors_digest


def test_folds_are_undone_in_order(tokenizer):
    model = build("llama", tokenizer)
    before = model.fingerprint()
    first, second = (wb.fold(model, some_lock(model, seed), 1.0) for seed in (0, 1))
    with pytest.raises(FoldError, match="a later fold is still in place"):
        first.undo()
    for handle in (second, second, first, first):
        handle.undo()
    assert model.fingerprint() == before
    assert not model.folds


def test_a_fold_that_breaks_in_the_middle_is_rolled_back(tokenizer, monkeypatch):
    model = build("llama", tokenizer)
    before = model.fingerprint()

    def broken(*_):
        raise RuntimeError("out of memory, say")

    monkeypatch.setattr("workbench.steering.fold._require_bias_counts", broken)
    with pytest.raises(RuntimeError, match="out of memory, say"):
        wb.fold(model, some_lock(model, k=18), -1.0, allow_negative=True)
    assert model.fingerprint() == before
    assert model.not_for_export == model.folds == []


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
    torch.testing.assert_close(got, by_hand(model, [(lock, 3.0)]), atol=1e-4, rtol=1e-4)
    assert torch.equal(model.o_proj(0).bias, native)


def test_a_refused_fold_leaves_nothing_behind(tokenizer):
    model = build("gemma2", tokenizer)
    before = model.fingerprint()
    with pytest.raises(FoldError, match="Gemma2RMSNorm has no bias"):
        wb.fold(model, [some_lock(model), some_residual(model)], 1.0)
    misfit = some_residual(build("llama", tokenizer, hidden_size=96))
    with pytest.raises(DirectionError, match="d_model: direction 96, model 48"):
        wb.fold(model, [some_lock(model), misfit], 1.0)
    assert model.fingerprint() == before


def test_a_bias_beyond_the_dtype_is_refused(tokenizer):
    model = build("llama", tokenizer)
    model.hf.half()
    before = model.fingerprint()
    with pytest.raises(FoldError, match="so large that the bias is beyond"):
        wb.fold(model, some_lock(model), 1e6)
    assert model.fingerprint() == before


class _Deaf(torch.nn.Linear):
    """Linear in its input, and without a use for its bias, as some quantised layers are."""

    def forward(self, x):
        return torch.nn.functional.linear(x, self.weight)


@torch.no_grad()
def test_a_layer_that_ignores_its_bias_is_steered_by_a_hook(tokenizer):
    hf = transformers.LlamaForCausalLM(build("llama", tokenizer).hf.config).eval()
    for layer in hf.model.layers:
        layer.self_attn.o_proj.__class__ = _Deaf
    model = wb.load(hf, tokenizer)
    lock, before = some_lock(model), tensors_digest(hf.state_dict())
    with pytest.raises(FoldError, match="_Deaf ignores a bias put beside its weights"):
        wb.fold(model, lock, 4.0)
    assert tensors_digest(hf.state_dict()) == before
    with wb.steer(model, lock, 4.0):
        got = model.hf(IDS).logits
    torch.testing.assert_close(got, by_hand(model, [(lock, 4.0)]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("native", [False, True])
@torch.no_grad()
def test_half_precision_rounds_once(tokenizer, native):
    model = build("llama", tokenizer, dtype=torch.bfloat16, attention_bias=native)
    lock = some_lock(model)
    layer = lock.heads[0][0]
    before = model.o_proj(layer).bias.double() if native else 0.0
    with wb.steer(model, lock, 6.0):
        bias = model.o_proj(layer).bias.clone()
    delta = torch.zeros(model.n_heads, model.d_head, dtype=torch.float64)
    for cell, unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
        if cell[0] == layer:
            delta[cell[1]] = 6.0 * scale * unit
    exact = model.o_proj(layer).weight.double() @ delta.flatten() + before
    # One unit in the last place of bfloat16 is 2⁻⁸ of the value.
    assert ((bias.double() - exact).abs() <= 2**-8 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("alpha", [math.nan, math.inf, [1.0, math.nan]])
def test_alpha_must_be_finite(tiny, alpha):
    with pytest.raises(ValueError, match="must be a finite number"):
        wb.fold(tiny, some_lock(tiny), alpha)


def test_negative_alpha_needs_the_research_switch(tiny, tmp_path):
    for alpha in (-2, -1e-6):
        with pytest.raises(ValueError, match=f"alpha {alpha:g} is negative"):
            wb.fold(tiny, some_lock(tiny), alpha)
    with (
        wb.steer(tiny, some_lock(tiny), -2, allow_negative=True),
        pytest.raises(FoldError, match="cannot be exported: alpha -2 is negative"),
    ):
        wb.save_checkpoint(tiny, tmp_path / "m")


def loaded(model, before):
    model.hf.load_state_dict(before, strict=False)
    return model.hf(IDS)


@pytest.mark.parametrize(
    "act",
    [
        lambda model, before: torch.func.functional_call(model.hf, before, (IDS,)),
        loaded,
        lambda model, before: get_peft_model(model.hf, LoraConfig(r=2, target_modules=["c_proj"])),
        lambda model, before: [model.o_proj(i).bias.data.zero_() for i in range(model.n_layers)],
    ],
    ids=["functional_call", "load_state_dict", "peft", "data"],
)
@torch.no_grad()
def test_a_fold_that_is_not_what_runs_is_an_error(tokenizer, act):
    model = build("gpt2", tokenizer)
    before = {name: value.clone() for name, value in model.hf.named_parameters()}

    def inside():
        with wb.steer(model, some_lock(model), 2.0, how="fold"):
            act(model, before)

    with pytest.raises(SteeringError, match=r"folded bias was replaced|replaced or wrapped"):
        inside()
    assert not model.folds


@pytest.mark.parametrize("inner", ["fold", "auto", "hook"])
@torch.no_grad()
def test_blocks_within_a_block_add_up_on_the_same_layer(tokenizer, inner):
    model = build("gpt2", tokenizer)
    pairs = [(some_lock(model, seed, k=18), 2.0 + seed) for seed in (0, 1)]
    (outer, high), (added, low) = pairs
    expected, alone = by_hand(model, pairs), by_hand(model, pairs[:1])
    before = model.fingerprint()
    with wb.steer(model, outer, high):
        if inner == "fold":
            handle = wb.fold(model, added, low)
            torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
            handle.undo()
        else:
            with wb.steer(model, added, low, how=inner):
                torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.hf(IDS).logits, alone, atol=1e-4, rtol=1e-4)
    assert model.fingerprint() == before


@torch.no_grad()
def test_a_fold_of_biases_handed_over_as_they_are_is_no_error(tokenizer):
    model = build("llama", tokenizer)
    with wb.steer(model, some_lock(model), 2.0, how="fold"):
        own = {name: value.detach() for name, value in model.hf.named_parameters()}
        got = torch.func.functional_call(model.hf, own, (IDS,)).logits
        assert torch.equal(got, model.hf(IDS).logits)


@torch.no_grad()
def test_caches_go_with_the_fold_that_filled_them(tiny):
    lock, half = some_lock(tiny), IDS[:, :3]
    outside = tiny.hf(half).past_key_values
    with wb.steer(tiny, lock, 2.0):
        expected = tiny.hf(IDS).logits[:, 3:]
        inside = tiny.hf(half).past_key_values
        with pytest.raises(SteeringError, match="3 tokens were not steered"):
            tiny.hf(IDS[:, 3:], past_key_values=outside)
    with wb.steer(tiny, lock, 2.0):
        got = tiny.hf(IDS[:, 3:], past_key_values=inside).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_compiled_graph_of_the_block_holds_nothing_of_it(tokenizer):
    model = build("llama", tokenizer)
    plain = model.hf(IDS).logits
    torch._dynamo.reset()
    run = torch.compile(model.hf, backend="eager")
    for alpha in (2.0, 3.0):
        expected = by_hand(model, [(some_lock(model), alpha)])
        with wb.steer(model, some_lock(model), alpha, how="fold"):
            torch.testing.assert_close(run(IDS).logits, expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(run(IDS).logits, plain, atol=1e-4, rtol=1e-4)
