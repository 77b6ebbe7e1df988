"""LoRA-wrapped and quantised models: captured and steered as they really compute, or refused."""

import peft
import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.directions import IDS, by_hand, some_lock, some_residual
from tests.helpers.families import CHATS, build
from workbench.errors import FoldError, ModelError


@pytest.fixture(params=[False, True], ids=["no bias", "bias"])
def lora(tokenizer, request):
    """(wrapped model with random adapters on attention and MLP, its merged twin)."""
    biases = {"attention_bias": request.param, "mlp_bias": request.param}
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "o_proj", "down_proj"], lora_dropout=0.5
    )
    twins = []
    for _ in range(2):
        wrapped = peft.get_peft_model(build("llama", tokenizer, **biases).hf, config)
        torch.manual_seed(1)
        for name, parameter in wrapped.named_parameters():
            if "lora_" in name:
                parameter.data = 0.2 * torch.randn_like(parameter)
        twins.append(wrapped)
    return twins[0], wb.load(twins[1].merge_and_unload(), tokenizer)


@torch.no_grad()
def test_lora_is_captured_and_steered_as_if_merged(lora, tokenizer):
    wrapped, merged = lora
    model = wb.load(wrapped.train(), tokenizer)
    plain = wb.load(build("llama", tokenizer).hf, tokenizer)
    for site in ("heads", "resid", "mlp"):
        ours, theirs = (wb.capture(m, CHATS, site).values for m in (model, merged))
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
        assert (ours - wb.capture(plain, CHATS, site).values).abs().max() > 0.01
    both = [(some_lock(model), 3.0), (some_residual(model), 1.0)]
    expected = by_hand(merged, both)
    directions, alphas = map(list, zip(*both, strict=True))
    before = model.fingerprint()
    for how in ("fold", "hook"):
        with wb.steer(model, directions, alphas, how=how):
            torch.testing.assert_close(model.hf(IDS).logits, expected, atol=1e-3, rtol=1e-3)
    assert model.fingerprint() == before


def test_unmerged_adapters_are_not_exported(lora, tokenizer, tmp_path):
    model = wb.load(lora[0], tokenizer)
    with wb.steer(model, some_lock(model), 1.0), pytest.raises(FoldError, match="merge_and_unload"):
        wb.save_checkpoint(model, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_switching_an_adapter_off_changes_the_fingerprint(lora, tokenizer):
    model = wb.load(lora[0], tokenizer)
    on = model.fingerprint()
    with lora[0].disable_adapter():
        assert model.fingerprint() != on
    assert model.fingerprint() == on


def test_prompt_tuning_is_refused(tokenizer):
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    wrapped = peft.get_peft_model(build("llama", tokenizer).hf, config)
    with pytest.raises(ModelError, match="PROMPT_TUNING wraps the whole forward"):
        wb.load(wrapped, tokenizer)


@pytest.fixture(params=["4bit", "8bit"])
def quantised(request, tokenizer, tmp_path):
    build(
        "llama", tokenizer, hidden_size=128, intermediate_size=128,
        num_attention_heads=8, num_key_value_heads=4,
    ).hf.save_pretrained(tmp_path)  # fmt: skip
    config = (
        transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
        )
        if request.param == "4bit"
        else transformers.BitsAndBytesConfig(load_in_8bit=True)
    )
    hf = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, quantization_config=config, dtype=torch.float32
    )
    return wb.load(hf, tokenizer)


@torch.no_grad()
def test_quantised_models_capture_and_steer(quantised, tmp_path):
    model, ids = quantised, IDS
    acts = wb.capture(model, ["mend the gate"], "resid", wb.all_tokens(), layers=[0])
    states = model.hf(
        torch.tensor([model.tokenizer("mend the gate")["input_ids"]]), output_hidden_states=True
    ).hidden_states
    # The quantised kernels round differently by batch shape, not by more than half precision does.
    torch.testing.assert_close(acts.values[0, :, 0], states[1][0], atol=0.02, rtol=0.02)
    lock = some_lock(model)
    plain, expected = model.hf(ids).logits, by_hand(model, [(lock, 6.0)])
    before = model.fingerprint()  # after a forward: the library repacks its weights in the first
    effect = (expected - plain).abs().max()
    for how in ("fold", "hook"):
        with wb.steer(model, lock, 6.0, how=how):
            error = (model.hf(ids).logits - expected).abs().max()
        assert error <= 0.1 * effect
    assert torch.equal(model.hf(ids).logits, plain)
    assert model.fingerprint() == before
    with wb.steer(model, lock, 6.0), pytest.raises(FoldError, match="its weights are quantised"):
        wb.save_checkpoint(model, tmp_path / "m")


@torch.no_grad()
def test_a_fold_uses_the_quantised_weight(quantised, tokenizer):
    """Trap: folding with the unquantised original leaves an error of (W − W_q) Δ."""
    if type(quantised.o_proj(0)).__name__ != "Linear4bit":
        pytest.skip("with eight bits both errors are the size of rounding")
    sizes = {"hidden_size": 128, "intermediate_size": 128}
    original = build("llama", tokenizer, num_attention_heads=8, num_key_value_heads=4, **sizes)
    lock = some_lock(quantised, k=24)
    delta = torch.zeros(8, 16)
    for (layer, head), unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
        if layer == 1:
            delta[head] = 2.0 * scale * unit
    module = quantised.o_proj(1)
    used = module(torch.eye(128)[None])[0].T @ delta.flatten()
    unquantised = original.o_proj(1).weight @ delta.flatten()
    handle = wb.fold(quantised, lock, 2.0)
    error = (module.bias - used).norm()
    handle.undo()
    assert module.bias is None
    assert error <= 0.2 * (used - unquantised).norm()


def test_a_projection_that_is_not_linear_says_so(tokenizer):
    class Gated(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x) * torch.sigmoid(x.sum(-1, keepdim=True))

    hf = build("llama", tokenizer).hf
    config, state = hf.config, hf.state_dict()
    hf = type(hf)(config)
    hf.load_state_dict(state)
    for layer in hf.model.layers:
        layer.self_attn.o_proj.__class__ = Gated
    model = wb.load(hf, tokenizer)
    for how in ("fold", "hook"):
        with (
            pytest.raises(FoldError, match="Gated is not linear in its input"),
            wb.steer(model, some_lock(model), 1.0, how=how),
        ):
            pass
