"""Beginnings that rows share, and caches that grow: as plain transformers without any of it."""

import logging
from itertools import chain

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.families import FAMILIES, build, multimodal_gemma3
from tests.helpers.greedy import by_full_forwards, by_generate, text
from tests.helpers.prompts import HEAD, PROMPTS, TAILS
from workbench.generation import batching, fitting, kvcache
from workbench.generation.complete import complete
from workbench.generation.kvcache import roomy_cache, shared_prefix, shares_prefix
from workbench.generation.requests import GenRequest
from workbench.models.prompts import encode


def without_reuse(monkeypatch):
    monkeypatch.setattr(fitting, "plan", lambda *a, **k: batching.plan(*a, **{**k, "reuse": False}))


def test_greedy_with_a_shared_beginning_is_plain_generate(family_model, plans):
    model = family_model
    got = wb.generate(model, PROMPTS, max_new_tokens=10)
    assert all(batch.shared[0] >= 40 for batch in plans)
    assert len(plans) == 1
    for prompt, (out,) in zip(PROMPTS, got, strict=True):
        assert out == text(model, by_generate(model, prompt, 10))


def test_samples_with_a_shared_beginning_are_those_without(family_model, plans, monkeypatch):
    """But for one draw at most that lies within the rounding of another order of sums."""
    model = family_model
    options = {"n": 3, "temperature": 1.0, "seed": 1, "max_new_tokens": 10}
    shared = list(chain.from_iterable(wb.generate(model, PROMPTS, **options)))
    assert all(batch.shared[0] >= 40 for batch in plans)
    without_reuse(monkeypatch)
    plain = list(chain.from_iterable(wb.generate(model, PROMPTS, **options)))
    assert sum(a != b for a, b in zip(shared, plain, strict=True)) <= 1
    assert len(set(shared)) > len(PROMPTS)


def test_several_shared_beginnings_in_one_batch(family_model, plans):
    """Families cannot attend to two beginnings at once: those are copied to their rows."""
    model = family_model
    other = HEAD.replace("gate", "bone of the gate")
    prompts = [head + tail for tail in TAILS for head in (HEAD, "Never! " + other)]
    got = wb.generate(model, prompts, max_new_tokens=6)
    (batch,) = plans
    assert len(set(batch.shared)) == 2
    assert 0 not in batch.shared
    for prompt, (out,) in zip(prompts, got, strict=True):
        assert out == text(model, by_generate(model, prompt, 6))


@torch.no_grad()
def shared_logits(model, head, tails, more):
    """Logits of ragged continuations of one beginning, then of one more token each."""
    hf = model.hf
    cache = roomy_cache(hf)
    hf.base_model(torch.tensor([head]), past_key_values=cache, use_cache=True)
    width = max(map(len, tails))
    ids = torch.tensor([[0] * (width - len(t)) + t for t in tails])
    mask = torch.tensor([[1] * len(head) + [0] * (width - len(t)) + [1] * len(t) for t in tails])
    where = (mask.cumsum(1) - 1).clamp(min=0)
    with shared_prefix(hf, cache) as shared:
        assert hf.config._attn_implementation == kvcache.NAME
        out = [
            hf(
                ids, attention_mask=mask, position_ids=where[:, len(head) :],
                past_key_values=shared, use_cache=True,
            ).logits[:, -1]
        ]  # fmt: skip
        for column in range(more.shape[1]):
            mask = torch.cat([mask, torch.ones(len(tails), 1, dtype=mask.dtype)], 1)
            out.append(
                hf(
                    more[:, column, None], attention_mask=mask,
                    position_ids=mask.sum(1, keepdim=True) - 1,
                    past_key_values=shared, use_cache=True,
                ).logits[:, -1]
            )  # fmt: skip
    return torch.stack(out, 1)


def heads_and_tails(model):
    ids = [encode(model, p).ids for p in PROMPTS]
    n = min(batching.shared_length(ids[0], one, len(one) - 1) for one in ids)
    assert n >= 40
    more = torch.randint(5, 700, (len(ids), 70), generator=torch.Generator().manual_seed(0))
    return ids[0][:n], [one[n:] for one in ids], more


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_attention_over_a_shared_beginning(tokenizer, family, attention):
    """1e-4 from plain unpadded forwards, at the prompt's end and up to 70 tokens behind it."""
    model = build(family, tokenizer)
    try:
        model.hf.set_attn_implementation(attention)
    except ValueError as error:
        pytest.skip(str(error))
    if not shares_prefix(model.hf):
        assert family.startswith("falcon")
        pytest.skip("cannot be told to attend otherwise")
    head, tails, more = heads_and_tails(model)
    got = shared_logits(model, head, tails, more)
    assert model.hf.config._attn_implementation == attention
    for row, (tail, then) in enumerate(zip(tails, more.tolist(), strict=True)):
        ids = torch.tensor([head + tail + then])
        expected = model.hf(ids, use_cache=False).logits[0, -len(then) - 1 :]
        assert (got[row] - expected).abs().max() <= 1e-4


@pytest.mark.parametrize(
    ("family", "dtype", "changes"),
    [
        ("gemma2", torch.float32, {"attn_logit_softcapping": 0.5}),
        ("gemma2", torch.float32, {"attn_logit_softcapping": None}),
        ("gemma", torch.float32, {"num_key_value_heads": 1}),
        ("llama", torch.float32, {"num_key_value_heads": 6, "head_dim": 12}),
        ("gpt2", torch.float32, {"scale_attn_by_inverse_layer_idx": True}),
        ("gpt2", torch.float32, {"scale_attn_weights": False}),
        ("llama", torch.bfloat16, {}),
        ("gemma2", torch.bfloat16, {}),
        ("qwen3", torch.float16, {}),
    ],
)
@pytest.mark.parametrize("scores", [kvcache._SCORES, 1, 2000])
@torch.no_grad()
def test_attention_variants(tokenizer, monkeypatch, family, dtype, changes, scores):
    """Softcaps, one key head, other scales, half precision (loosely), rows in slices."""
    monkeypatch.setattr(kvcache, "_SCORES", scores)
    model = build(family, tokenizer, dtype=dtype, **changes)
    head, tails, more = heads_and_tails(model)
    got = shared_logits(model, head, tails, more[:, :4]).float()
    for row, (tail, then) in enumerate(zip(tails, more[:, :4].tolist(), strict=True)):
        ids = torch.tensor([head + tail + then])
        expected = model.hf(ids, use_cache=False).logits[0, -5:].float()
        loose = 1e-4 if dtype == torch.float32 else 0.05 * expected.abs().max()
        assert (got[row] - expected).abs().max() <= loose


@torch.inference_mode()
def test_flat_attention_over_a_long_beginning_does_not_overflow_float16():
    """3000 equal weights: they must add up to 1 before values of 60 are summed."""
    layer = kvcache.PrefixLayer(
        torch.zeros(1, 2, 3000, 8, dtype=torch.float16),
        torch.full((1, 2, 3000, 8), 60.0, dtype=torch.float16),
    )
    token = kvcache._LAYERS.set([layer])
    module = torch.nn.Module()
    module.layer_idx = 0
    own = torch.full((3, 2, 1, 8), 60.0, dtype=torch.float16)
    out, _ = kvcache._attend(module, torch.zeros(3, 4, 1, 8, dtype=torch.float16), own, own, None)
    kvcache._LAYERS.reset(token)
    torch.testing.assert_close(out, torch.full_like(out, 60.0), rtol=2e-3, atol=0)


@torch.inference_mode()
def test_a_cache_grows_in_place(llama, monkeypatch):
    """A token costs its own size: the keys are not copied for every one."""
    cache = roomy_cache(llama.hf)
    ids = torch.randint(5, 700, (3, 20), generator=torch.Generator().manual_seed(0))
    llama.hf(ids, past_key_values=cache)
    grown, plain = [], transformers.DynamicCache(config=llama.hf.config)
    grow = kvcache.RoomyLayer._grow
    monkeypatch.setattr(
        kvcache.RoomyLayer, "_grow", lambda self, *args: (grown.append(self), grow(self, *args))
    )
    llama.hf(ids, past_key_values=plain)
    for step in range(100):
        for one in (cache, plain):
            llama.hf(ids[:, :1], past_key_values=one)
        if step == 50:
            for one in (cache, plain):
                one.batch_select_indices(torch.tensor([2, 0]))
            ids = ids[[2, 0]]
    assert len(grown) <= 3 * llama.n_layers
    for one, other in zip(cache.layers, plain.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys)
        torch.testing.assert_close(one.values, other.values)


def test_the_parts_of_a_multimodal_model_attend_as_before(tokenizer, plans, monkeypatch):
    hf = multimodal_gemma3(tokenizer).double()
    hf.set_attn_implementation({"text_config": "sdpa", "vision_config": "eager"})
    model = wb.load(hf, tokenizer)
    got = wb.generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=6)
    assert plans[-1].shared[0] >= 40
    assert hf.config.text_config._attn_implementation == "sdpa"
    assert hf.config.vision_config._attn_implementation == "eager"
    without_reuse(monkeypatch)
    assert wb.generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=6) == got


@pytest.mark.parametrize("family", ["mistral", "gemma3", "gemma2"])
def test_windows_shorter_than_the_text(tokenizer, plans, family, caplog):
    model = build(family, tokenizer, sliding_window=16)
    with caplog.at_level(logging.INFO):
        got = wb.generate(model, PROMPTS, max_new_tokens=10)
    assert plans[-1].shared == (0,) * len(PROMPTS)
    assert "attends in windows of 16: no prefix reuse" in caplog.text
    for prompt, (out,) in zip(PROMPTS, got, strict=True):
        assert out == text(model, by_full_forwards(model, prompt, 10))


@pytest.mark.parametrize("family", ["mistral", "gemma3"])
@pytest.mark.parametrize("heads", [1, 2])
def test_windows_longer_than_the_text_but_not_than_its_padding(tokenizer, family, heads, plans):
    """A row's pads between beginning and rest must not push the beginning out of the window."""
    tails = ["No", "Osk " * 60, "Sure", "Mend", "Now"]
    prompts = [h + t for h in (HEAD, "Never! " + HEAD)[:heads] for t in tails]
    new = [60, 2, 60, 60, 60] * heads
    probe = build("llama", tokenizer)
    ids = [encode(probe, p).ids for p in prompts]
    longest = max(len(i) + n for i, n in zip(ids, new, strict=True))
    model = build(family, tokenizer, sliding_window=longest + 1)
    requests = [GenRequest(p, max_new_tokens=n) for p, n in zip(prompts, new, strict=True)]
    results = complete(model, requests)
    assert longest + 1 < max(map(len, ids)) + 60
    for prompt, n, result in zip(prompts, new, results, strict=True):
        assert result.texts == [text(model, by_full_forwards(model, prompt, n))]


@pytest.mark.parametrize(("new", "spare"), [(2, 2), (5, 5), (90, 64)])
def test_no_more_room_is_made_than_replies_can_take(llama, monkeypatch, new, spare):
    wb.generate(llama, PROMPTS[:1], max_new_tokens=1)  # a model is tried out before its first
    grow, sizes = kvcache.RoomyLayer._grow, []

    def seen(self, keys, values, size, used):
        sizes.append(size - used - keys.shape[-2])
        grow(self, keys, values, size, used)

    monkeypatch.setattr(kvcache.RoomyLayer, "_grow", seen)
    wb.generate(llama, PROMPTS[:1], max_new_tokens=new)
    # What is read, then what is decoded, until that has to grow.
    assert sizes[: 2 * llama.n_layers] == [0] * llama.n_layers + [spare] * llama.n_layers
