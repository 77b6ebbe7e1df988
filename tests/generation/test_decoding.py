"""Decoded batches against plain transformers, one unpadded prompt at a time."""

import logging

import pytest
import torch
import transformers

import workbench as wb
from tests.helpers.directions import some_lock, some_residual
from tests.helpers.families import CHATS, FAMILIES, build, multimodal_gemma3
from tests.helpers.prompts import HEAD, MIXED, OUT_OF_MEMORY, PROMPTS, TAILS, longrope
from workbench.errors import ContextLengthError, GenerationError
from workbench.generation import batching, kvcache, local
from workbench.generation.complete import complete
from workbench.generation.kvcache import roomy_cache, shared_prefix, shares_prefix
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.prompts import encode


def one_by_one(model, prompt, new, **more):
    """Greedy tokens of plain `generate`."""
    ids = torch.tensor([encode(model, prompt).ids])
    mask = torch.ones_like(ids)
    out = model.hf.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **more)
    return out[0, ids.shape[1] :].tolist()


@torch.no_grad()
def by_full_forwards(model, prompt, new):
    """Greedy tokens with every logit from a forward of the whole unpadded text."""
    ids, out = encode(model, prompt).ids, []
    ends = model.hf.generation_config.eos_token_id
    while len(out) < new and not (out and out[-1] == ends):
        logits = model.hf(torch.tensor([ids + out]), use_cache=False).logits[0, -1]
        out.append(int(logits.argmax()))
    return out


def text(model, tokens):
    return model.tokenizer.decode(tokens, skip_special_tokens=True)


@pytest.fixture
def plans(monkeypatch):
    """Every batch planned while the test runs."""
    made = []

    def spy(*args, **kwargs):
        batches = batching.plan(*args, **kwargs)
        made.extend(batches)
        return batches

    monkeypatch.setattr(local, "plan", spy)
    return made


def without_reuse(monkeypatch):
    monkeypatch.setattr(local, "plan", lambda *a, **k: batching.plan(*a, **{**k, "reuse": False}))


@pytest.fixture(scope="module")
def llama(tokenizer):
    return build("llama", tokenizer)


@pytest.mark.parametrize("temperature", [0.7, 1.3])
def test_samples_do_not_depend_on_the_batch(tiny, temperature):
    """Exactly equal for batch sizes 1, 7 and 64 and any order of the requests."""
    options = {"n": 3, "temperature": temperature, "seed": 3, "max_new_tokens": 12}
    expected = wb.generate(tiny, MIXED, batch_size=64, **options)
    assert len({t for texts in expected for t in texts}) > len(MIXED)
    for size in (1, 7):
        assert wb.generate(tiny, MIXED, batch_size=size, **options) == expected
    order = torch.randperm(len(MIXED), generator=torch.Generator().manual_seed(0)).tolist()
    shuffled = wb.generate(tiny, [MIXED[i] for i in order], batch_size=7, **options)
    assert shuffled == [expected[i] for i in order]
    assert wb.generate(tiny, MIXED[3:4], **options) == expected[3:4]


def test_greedy_with_a_shared_beginning_is_plain_generate(family_model, plans):
    model = family_model
    got = wb.generate(model, PROMPTS, max_new_tokens=10)
    assert all(batch.shared[0] >= 40 for batch in plans)
    assert len(plans) == 1
    for prompt, (out,) in zip(PROMPTS, got, strict=True):
        assert out == text(model, one_by_one(model, prompt, 10))


def test_samples_with_a_shared_beginning_are_those_without(family_model, plans, monkeypatch):
    model = family_model
    options = {"n": 3, "temperature": 1.0, "seed": 1, "max_new_tokens": 10}
    got = wb.generate(model, PROMPTS, **options)
    assert all(batch.shared[0] >= 40 for batch in plans)
    without_reuse(monkeypatch)
    assert wb.generate(model, PROMPTS, **options) == got
    assert len({t for texts in got for t in texts}) > len(PROMPTS)


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
        assert out == text(model, one_by_one(model, prompt, 6))


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
    hf = multimodal_gemma3(tokenizer)
    hf.set_attn_implementation({"text_config": "sdpa", "vision_config": "eager"})
    model = wb.load(hf, tokenizer)
    got = wb.generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=6)
    assert plans[-1].shared[0] >= 40
    assert hf.config.text_config._attn_implementation == "sdpa"
    assert hf.config.vision_config._attn_implementation == "eager"
    without_reuse(monkeypatch)
    assert wb.generate(model, PROMPTS, n=2, temperature=1.0, max_new_tokens=6) == got


class Stopped(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("error", [None, Stopped, KeyboardInterrupt])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_everything_is_put_back(llama, error, after):
    """After success, an exception and an interrupt, in the beginning, the prompts, a token."""
    count = 0

    def hook(*_):
        nonlocal count
        count += 1
        if error and count == after:
            raise error
        assert llama.in_flight is not None or count == 1

    before = llama.hf.config._attn_implementation
    expected = llama.hf(torch.tensor([[7, 8, 9]])).logits
    mine = llama.layer(1).register_forward_hook(hook)
    config = llama.hf.config.to_dict()
    if error:
        with pytest.raises(error):
            wb.generate(llama, PROMPTS, max_new_tokens=8)
    else:
        wb.generate(llama, PROMPTS, max_new_tokens=8)
    assert llama.in_flight is None
    assert llama.hf.config._attn_implementation == before
    assert llama.hf.config.to_dict() == config
    assert list(llama.layer(1)._forward_hooks.values()) == [hook]
    mine.remove()
    assert torch.equal(llama.hf(torch.tensor([[7, 8, 9]])).logits, expected)
    assert kvcache._LAYERS.get(None) is None


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


def test_without_a_cache(tokenizer):
    model = build("llama", tokenizer)
    options = {"n": 2, "temperature": 1.0, "max_new_tokens": 8}
    cached, greedy = wb.generate(model, MIXED, **options), wb.generate(model, MIXED)
    model.hf.generation_config.use_cache = False
    assert wb.generate(model, MIXED, **options) == cached
    assert wb.generate(model, MIXED) == greedy


def test_a_model_in_training_that_keeps_no_cache(tokenizer):
    """Gradient checkpointing switches caches off without a word."""
    model = build("llama", tokenizer)
    expected = wb.generate(model, MIXED, max_new_tokens=8)
    model.hf.activation_checkpointing_enable()
    model.hf.train()
    assert wb.generate(model, MIXED, max_new_tokens=8) == expected
    assert model.hf.training


def test_frequencies_that_depend_on_length(tokenizer):
    """Prompts before, across and beyond the original context equal one-by-one full forwards."""
    model = longrope(tokenizer)
    prompts = ["Mend the gate. " * i + "Now" for i in (1, 3, 5, 6, 7, 8, 20)]
    lengths = [len(encode(model, p).ids) for p in prompts]
    assert lengths[0] + 16 < 40 < lengths[-2]
    assert any(n < 40 < n + 16 for n in lengths)
    got = wb.generate(model, prompts, max_new_tokens=16)
    assert got == [[text(model, by_full_forwards(model, p, 16))] for p in prompts]


def test_rows_that_are_done_do_not_lengthen_the_others(tokenizer):
    """A finished row that is still in the batch must not reach the long frequencies."""
    model = longrope(tokenizer)
    prompts = ["Mend the gate. " * 6 + "Now", "No", "Sure", "Osk", "Mara", "Look", "Mend"]
    lengths = [len(encode(model, p).ids) for p in prompts]
    new = [40 - lengths[0], *[30] * 6]
    assert new[0] > 0
    assert max(lengths[1:]) + 30 <= 40
    assert lengths[0] + 30 > 40
    longest = []
    hook = model.hf.model.register_forward_pre_hook(
        lambda _, __, kwargs: longest.append(int(kwargs["position_ids"].max()) + 1),
        with_kwargs=True,
    )
    requests = [GenRequest(p, max_new_tokens=n) for p, n in zip(prompts, new, strict=True)]
    results = complete(model, requests)
    hook.remove()
    assert len(longest) > new[0] + 5
    assert max(longest) <= 40
    for prompt, n, result in zip(prompts, new, results, strict=True):
        assert result.texts == [text(model, by_full_forwards(model, prompt, n))]


@pytest.mark.parametrize("family", ["gpt2", "opt"])
def test_rows_that_are_done_do_not_run_out_of_the_context(tokenizer, family):
    """Learned positions end with the context; a finished row may be still in the batch."""
    model = build(family, tokenizer)
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    long = "gate " * 300
    ids = encode(build("llama", tokenizer, max_position_embeddings=2000), long).ids
    long = model.tokenizer.decode(ids[: model.context_length - 4])
    prompts = [long, *TAILS]
    new = [model.context_length - len(encode(model, long).ids), *[30] * 6]
    assert 1 <= new[0] <= 6
    requests = [GenRequest(p, max_new_tokens=n) for p, n in zip(prompts, new, strict=True)]
    for prompt, n, result in zip(prompts, new, complete(model, requests), strict=True):
        assert result.texts == [text(model, by_full_forwards(model, prompt, n))]
        assert result.samples[0].n_tokens == n


@pytest.mark.parametrize("reused", [True, False])
def test_out_of_memory_halves_the_batch(llama, monkeypatch, caplog, reused):
    prompts = PROMPTS if reused else MIXED[:7]
    options = {"n": 4, "temperature": 1.0, "max_new_tokens": 6}
    expected = wb.generate(llama, prompts, **options)
    rows, refused = [], 0

    def limited(_, args):
        nonlocal refused
        if args[0].shape[0] > 3:
            refused += 1
            raise RuntimeError(OUT_OF_MEMORY)
        rows.append(args[0].shape[0])

    hook = llama.layer(1).register_forward_pre_hook(limited)
    try:
        backend = LocalBackend(llama)
        requests = [GenRequest(p, 4, 6, 1.0) for p in prompts]
        got = complete(backend, requests)
        assert [r.texts for r in got] == expected
        assert max(rows) <= 3
        assert "out of memory with" in caplog.text
        first = refused
        # What has been learnt is kept: nothing of the same size is tried again.
        assert [r.texts for r in complete(backend, requests)] == expected
        assert refused - first < first
    finally:
        hook.remove()
    assert llama.in_flight is None


def test_later_batches_are_not_tried_at_the_size_that_failed(llama):
    """Twenty batches alike: out of memory is met once or twice, not twenty times."""
    refused = 0

    def limited(_, args):
        nonlocal refused
        if args[0].shape[0] > 2:
            refused += 1
            raise RuntimeError(OUT_OF_MEMORY)

    prompts = [f"{w} {v}" for w in ("Mend", "No", "Osk", "Sure") for v in "abcdefghijklmnopqrst"]
    expected = wb.generate(llama, prompts, max_new_tokens=2)
    hook = llama.layer(1).register_forward_pre_hook(limited)
    try:
        assert wb.generate(llama, prompts, max_new_tokens=2, batch_size=4) == expected
    finally:
        hook.remove()
    assert refused <= 3


def test_a_row_that_does_not_fit_by_itself(llama):
    def limited(_, args):
        if args[0].shape[1] > 60:
            raise RuntimeError(OUT_OF_MEMORY)

    hook = llama.layer(1).register_forward_pre_hook(limited)
    try:
        with pytest.raises(MemoryError, match="request 1 does not fit in memory by itself"):
            wb.generate(llama, ["Hello.", "gate " * 120, "Mend"], n=2, temperature=1.0)
        assert wb.generate(llama, ["Hello."], max_new_tokens=2)
    finally:
        hook.remove()


def test_an_error_of_the_model_itself_is_passed_on(llama):
    def broken(*_):
        raise RuntimeError("the model broke")

    hook = llama.layer(1).register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="the model broke"):
        wb.generate(llama, MIXED)
    hook.remove()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_name_the_request(tokenizer, value, temperature):
    model = build("llama", tokenizer, dtype=torch.bfloat16)
    (bad,) = tokenizer("!", add_special_tokens=False)["input_ids"]
    model.hf.model.embed_tokens.weight.data[bad] = value
    prompts = ["Mend it.", "No", "Curse it!", "Sure, sure, sure, sure."]
    match = r"not finite in torch.bfloat16: request 2 \('Curse it!'…\), after 0 new tokens"
    with pytest.raises(GenerationError, match=match):
        wb.generate(model, prompts, temperature=temperature, max_new_tokens=2)


def biased(tokenizer, text_of):
    """A model that says the tokens of one text in order, whatever the prompt, then repeats."""
    model = build("gpt2", tokenizer)
    ids = tokenizer(text_of, add_special_tokens=False)["input_ids"]

    def say(_, args, kwargs, out):
        flight = model.in_flight
        past = kwargs["past_key_values"].get_seq_length()
        step = past - int(flight.start[0]) if flight.start is not None else 0
        out.logits[:] = -5.0
        out.logits[:, -1, ids[step % len(ids)]] = 5.0
        return out

    model.hf.register_forward_hook(say, with_kwargs=True)
    return model, ids


def test_finish_reasons_and_token_counts(tokenizer):
    """Length, end token and stop: the end or stop token counts, and is no part of the text."""
    model, ids = biased(tokenizer, "mend the gate\nnow" + tokenizer.eos_token)
    at = next(i for i, t in enumerate(ids) if "\n" in tokenizer.decode([t])) + 1
    new = len(ids) - 3
    asked = [
        (GenRequest("Hello.", max_new_tokens=100), "mend the gate\nnow", "eos", len(ids)),
        (GenRequest("Hello.", max_new_tokens=len(ids)), "mend the gate\nnow", "eos", len(ids)),
        (GenRequest("Hello.", max_new_tokens=new), text(model, ids[:new]), "length", new),
        (GenRequest("Hello.", max_new_tokens=9, stop=("\n",)), "mend the gate", "stop", at),
        (GenRequest("Hello.", max_new_tokens=at, stop=("\n",)), "mend the gate", "stop", at),
        (GenRequest("Hello.", max_new_tokens=1, stop=("\n",)), text(model, ids[:1]), "length", 1),
    ]
    for request, expected, reason, count in asked:
        ((sample,),) = [r.samples for r in complete(model, [request])]
        assert (sample.text, sample.finish_reason, sample.n_tokens) == (expected, reason, count)
        assert sample.prompt_tokens == len(encode(model, "Hello.").ids)
        assert not sample.cached
    together = complete(model, [request for request, *_ in asked])
    assert [r.samples[0].text for r in together] == [expected for _, expected, _, _ in asked]


def test_end_tokens_as_a_list_and_none_at_all(tokenizer):
    model = build("llama", tokenizer)
    tokens = one_by_one(model, "Hello.", 12, eos_token_id=None)
    third = next(i for i, t in enumerate(tokens) if i >= 2 and t not in tokens[:i])
    model.hf.generation_config.eos_token_id = [tokenizer.eos_token_id, tokens[third]]
    ((sample,),) = [r.samples for r in complete(model, [GenRequest("Hello.")])]
    assert (sample.finish_reason, sample.n_tokens) == ("eos", third + 1)
    assert sample.text == text(model, tokens[:third])
    # Without any the tokenizer's own counts.
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = tokenizer.convert_ids_to_tokens(tokens[third])
    ((sample,),) = [r.samples for r in complete(model, [GenRequest("Hello.")])]
    assert (sample.finish_reason, sample.n_tokens) == ("eos", third + 1)
    model.tokenizer.eos_token = None
    ((sample,),) = [r.samples for r in complete(model, [GenRequest("Hello.", max_new_tokens=12)])]
    assert (sample.finish_reason, sample.n_tokens) == ("length", 12)


def test_other_end_tokens_are_another_identity(tokenizer):
    """They decide where a text ends, and are easily changed on a loaded model."""
    model = build("llama", tokenizer)
    tokens = one_by_one(model, "Hello.", 12, eos_token_id=None)
    with wb.SampleStore() as store:
        full = wb.generate(model, ["Hello."], max_new_tokens=12, store=store)
        model.hf.generation_config.eos_token_id = [tokens[3]]
        assert wb.generate(model, ["Hello."], max_new_tokens=12, store=store) != full


def test_each_row_has_its_own_length_and_temperature(llama):
    requests = [
        GenRequest(prompt, n, new, temperature, seed=5)
        for prompt in MIXED[4:8]
        for n, new, temperature in ((1, 3, 0.0), (2, 9, 0.5), (2, 5, 2.0), (1, 14, 1.0))
    ]
    together = complete(llama, requests)
    for request, result in zip(requests, together, strict=True):
        assert complete(llama, [request])[0] == result
        assert all(s.n_tokens <= request.max_new_tokens for s in result.samples)
        assert all(
            s.n_tokens == request.max_new_tokens or s.finish_reason == "eos" for s in result.samples
        )


def test_requests_cut_and_truncated_differently_in_one_call(tiny):
    prompt = CHATS[0][:1]
    requests = [
        GenRequest(prompt, 2, 12, 1.0, top_p, top_k, stop)
        for top_p in (1.0, 0.5)
        for top_k in (0, 3)
        for stop in ((), ("the",), (".",))
    ]
    together = complete(tiny, requests)
    for request, result in zip(requests, together, strict=True):
        assert complete(tiny, [request])[0] == result
        assert not any(stop in t.lstrip() for t in result.texts for stop in request.stop)
        for sample in result.samples:
            assert (sample.finish_reason == "stop") <= bool(request.stop)


def test_tokens_that_the_tokenizer_does_not_know(tokenizer):
    """Embeddings padded beyond the vocabulary."""
    model = build("llama", tokenizer)
    model.hf.resize_token_embeddings(len(tokenizer) + 60)
    model.hf.lm_head.weight.data[len(tokenizer) :] *= 20
    texts = wb.generate(model, MIXED, n=3, temperature=3.0, stop=["\n"], max_new_tokens=8)
    assert len(texts) == len(MIXED)


def test_context_overflow_has_numbers_and_comes_before_any_forward(tiny):
    prompts = ["Hello.", "gate " * 200]
    length = len(encode(tiny, prompts[1]).ids)
    new = tiny.context_length - length + 1

    def forbidden(*_):
        raise AssertionError("a forward was run")

    hook = tiny.layer(0).register_forward_pre_hook(forbidden)
    try:
        match = rf"request 1: {length} prompt tokens and {new} new ones exceed the 512"
        with pytest.raises(ContextLengthError, match=match) as caught:
            wb.generate(tiny, prompts, max_new_tokens=new)
    finally:
        hook.remove()
    error = caught.value
    assert (error.prompt_tokens, error.limit, error.request) == (length, 512, 1)


def test_the_last_token_of_the_context_can_be_used(tiny):
    length = len(encode(tiny, "gate " * 200).ids)
    prompts = ["gate " * 200, "Hello."]
    assert len(wb.generate(tiny, prompts, max_new_tokens=tiny.context_length - length)) == 2


@pytest.mark.parametrize("how", ["fold", "hook"])
def test_steering_is_part_of_the_identity(tiny, how):
    """One store: every alpha keeps its own samples, and gets them back."""
    lock = some_lock(tiny, k=16, scale=4.0)
    prompts, options = [CHATS[0][:1], CHATS[3][:1]], {"max_new_tokens": 8}
    with wb.SampleStore() as store:
        plain = wb.generate(tiny, prompts, store=store, **options)
        got = {0.0: plain}
        for alpha in (1.0, 2.0):
            with wb.steer(tiny, lock, alpha, how=how):
                got[alpha] = wb.generate(tiny, prompts, store=store, **options)
        assert len(store) == store.written == 6
        assert len({str(texts) for texts in got.values()}) == 3
        for alpha in (1.0, 2.0):
            with wb.steer(tiny, lock, alpha, how=how):
                replay = wb.generate(tiny, prompts, store=store, mode="replay", **options)
                assert replay == got[alpha]
        assert wb.generate(tiny, prompts, store=store, mode="replay", **options) == plain
        with (
            wb.steer(tiny, lock, 3.0, how=how),
            pytest.raises(GenerationError, match="replay: 2 samples are not stored"),
        ):
            wb.generate(tiny, prompts, store=store, mode="replay", **options)


@pytest.mark.parametrize("mode", ["all", "generated"])
def test_equal_prompts_with_an_alpha_each(tiny, mode):
    direction = some_residual(tiny, scale=4.0)
    prompts, options = [CHATS[0][:1]] * 3, {"n": 2, "temperature": 0.7, "max_new_tokens": 8}
    alone = []
    for alpha in (0.0, 2.0, 4.0):
        with wb.steer(tiny, direction, alpha, mode=mode, how="hook"):
            alone += wb.generate(tiny, prompts[:1], **options)
    assert len({str(texts) for texts in alone}) == 3
    with wb.SampleStore() as store, wb.steer(tiny, direction, [0.0, 2.0, 4.0], mode=mode):
        assert wb.generate(tiny, prompts, store=store, **options) == alone
        assert wb.generate(tiny, prompts, store=store, mode="replay", **options) == alone
        assert len(store) == store.written == 6
        more = wb.generate(tiny, prompts, store=store, **{**options, "n": 3})
        assert [texts[:2] for texts in more] == alone
        assert store.written == 9
    with wb.steer(tiny, direction, [4.0, 2.0, 0.0], mode=mode), pytest.raises(GenerationError):
        wb.generate(tiny, prompts, store=wb.SampleStore(), mode="replay", **options)
