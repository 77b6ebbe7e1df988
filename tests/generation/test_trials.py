"""Families whose attention is of their own: every short cut gives what plain forwards give."""

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.families import build
from tests.helpers.greedy import by_full_forwards, text
from tests.helpers.odd_families import ODD, odd
from tests.helpers.prompts import PROMPTS
from workbench.generation import kvcache, trials
from workbench.generation.batch_forward import CACHED, COPIED, SHARED, WHOLE
from workbench.generation.choices import token_logprobs
from workbench.models.prompts import encode


@torch.no_grad()
def check_is_plain(model):
    ids = torch.arange(len(model.tokenizer))[None].expand(len(PROMPTS), -1)
    got = token_logprobs(model, PROMPTS, ids[0].tolist())
    for row, prompt in enumerate(PROMPTS):
        plain = model.hf(torch.tensor([encode(model, prompt).ids]), use_cache=False).logits[0, -1]
        torch.testing.assert_close(got[row], plain.float().log_softmax(-1), atol=2e-4, rtol=1e-4)
    got = wb.generate(model, PROMPTS, max_new_tokens=6)
    assert [g for (g,) in got] == [
        text(model, by_full_forwards(model, prompt, 6)) for prompt in PROMPTS
    ]


@pytest.mark.parametrize("name", ODD)
def test_attention_of_a_familys_own(tokenizer, name):
    check_is_plain(odd(name, tokenizer))


def test_known_families_share(family_model):
    if kvcache.shares_prefix(family_model.hf):
        assert trials.holds(family_model, SHARED, 60, 14)
    assert all(trials.holds(family_model, way, 60, 14) for way in (WHOLE, CACHED, COPIED))


def test_ordinary_attention_is_shared_and_tried_once(tokenizer, monkeypatch):
    model, tried = build("llama", tokenizer), []
    real = trials._tried
    monkeypatch.setattr(trials, "_tried", lambda *a: (tried.append(a[1]), real(*a))[1])
    for _ in range(3):
        wb.generate(model, PROMPTS, max_new_tokens=6)
    assert sorted(tried) == sorted([WHOLE, CACHED, SHARED])
    model.hf.set_attn_implementation("eager")
    wb.generate(model, PROMPTS, max_new_tokens=6)
    assert len(tried) == 6


def test_a_setting_changed_after_the_first_call(tokenizer):
    model = build("mistral", tokenizer)
    check_is_plain(model)
    model.hf.config.sliding_window = 16
    check_is_plain(model)


@torch.no_grad()
def test_attention_with_a_limit_that_no_config_names(tokenizer, monkeypatch):
    """A window of 30 tokens inside a module: rows of 60 show it, whatever it is called."""
    model = build("llama", tokenizer)

    def windowed(module, query, key, value, mask, **more):
        last = key.shape[-2] - query.shape[-2]
        q, k = torch.arange(query.shape[-2])[:, None] + last, torch.arange(key.shape[-2])
        seen = (k <= q) & (k > q - 30)
        seen = seen if mask is None else seen & mask
        attend = transformers.AttentionInterface()["sdpa"]
        return attend(module, query, key, value, seen.expand(len(query), 1, -1, -1), **more)

    transformers.AttentionInterface.register("windowed", windowed)
    transformers.AttentionMaskInterface.register("windowed", transformers.masking_utils.sdpa_mask)
    model.hf.set_attn_implementation("windowed")
    check_is_plain(model)


@pytest.mark.parametrize("alpha", [0.0, 5.0])
def test_a_trial_under_hooks_is_no_part_of_what_is_steered(tokenizer, alpha):
    """First use inside `steer`, one alpha for each prompt: as when tried before."""
    model, warm = build("llama", tokenizer), build("llama", tokenizer)
    wb.generate(warm, PROMPTS[:3], max_new_tokens=4)
    outs = []
    for one in (model, warm):
        direction = wb.ResidualDirection.contrast(
            wb.capture(one, PROMPTS[:4], "resid"), [0, 1, 0, 1], [1]
        )
        for mode in ("all", "generated", "last"):
            for prompts in (PROMPTS[:1], PROMPTS[:3]):
                alphas = [alpha] * len(prompts)
                with wb.steer(one, direction, alphas, mode=mode, how="hook"):
                    outs.append(wb.generate(one, prompts, max_new_tokens=4))
                assert one.in_flight is None
    assert outs[:6] == outs[6:]


@pytest.mark.parametrize("bug", ["own", "unscaled", "sharper", "late"])
def test_a_wrong_merge_of_beginning_and_rest_is_refused(tokenizer, monkeypatch, bug):
    """Softmaxes of their own, scores without their scale, a key left out, sharper scores."""
    real = kvcache._attend

    def wrong(module, query, key, value, mask, scaling=None, **more):
        if bug == "unscaled":
            return real(module, query, key, value, mask, 1.0, **more)
        if bug == "late":
            return real(module, query, key[..., 1:, :], value[..., 1:, :], mask, scaling, **more)
        prefix = kvcache._LAYERS.get()[module.layer_idx].prefix
        if bug == "sharper":
            return real(module, 1.1 * query, key, value, mask, scaling, **more)
        groups = query.shape[1] // key.shape[1]
        first = prefix[1].repeat_interleave(groups, 1).mean(-2, keepdim=True).transpose(1, 2)
        return real(module, query, key, value, mask, scaling, **more)[0] / 2 + first / 2, None

    transformers.AttentionInterface.register(kvcache.NAME, wrong)
    try:
        model = build("llama", tokenizer)
        assert not trials.holds(model, SHARED, 60, 14)
        assert trials.holds(model, COPIED, 60, 14)
        check_is_plain(model)
    finally:
        transformers.AttentionInterface.register(kvcache.NAME, real)


@pytest.mark.parametrize("length", [8, 16, 32])
def test_short_contexts(tokenizer, length):
    model = build("gpt2", tokenizer, n_positions=length)
    assert trials.holds(model, CACHED, length, 2)
