"""LocalBackend: batches that fit, models as they come, what is refused, and identity."""

import pytest
import torch

import workbench as wb
from tests.helpers.directions import some_lock, some_residual
from tests.helpers.families import CHATS, build
from tests.helpers.faults import not_finite_at, short_of_memory
from tests.helpers.greedy import by_full_forwards, by_generate, text
from tests.helpers.prompts import MIXED, PROMPTS, longrope
from workbench.errors import ContextLengthError, GenerationError
from workbench.generation import kvcache
from workbench.generation.complete import complete
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.prompts import encode


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

    # What is tried before the first call is no part of it.
    wb.generate(llama, PROMPTS, max_new_tokens=8)
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


def test_without_a_cache(tokenizer):
    model = build("llama", tokenizer, dtype=torch.float64)
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


@pytest.mark.parametrize("reused", [True, False])
def test_out_of_memory_halves_the_batch(tokenizer, caplog, reused):
    llama = build("llama", tokenizer, dtype=torch.float64)
    prompts = PROMPTS if reused else MIXED[:7]
    expected = wb.generate(llama, prompts, n=4, temperature=1.0, max_new_tokens=6)
    backend = LocalBackend(llama)
    requests = [GenRequest(p, 4, 6, 1.0) for p in prompts]
    with short_of_memory(llama, rows=3) as memory:
        assert [r.texts for r in complete(backend, requests)] == expected
        assert max(memory.rows) <= 3
        assert "out of memory with" in caplog.text
        first = memory.refused
        # What has been learnt is kept: nothing of the same size is tried again.
        assert [r.texts for r in complete(backend, requests)] == expected
    assert memory.refused - first < first
    assert llama.in_flight is None


def test_later_batches_are_not_tried_at_the_size_that_failed(llama):
    """Twenty batches alike: out of memory is met once or twice, not twenty times."""
    prompts = [f"{w} {v}" for w in ("Mend", "No", "Osk", "Sure") for v in "abcdefghijklmnopqrst"]
    expected = wb.generate(llama, prompts, max_new_tokens=2)
    with short_of_memory(llama, rows=2) as memory:
        assert wb.generate(llama, prompts, max_new_tokens=2, batch_size=4) == expected
    assert memory.refused <= 3


def test_a_row_that_does_not_fit_by_itself(llama):
    with short_of_memory(llama, tokens=60):
        with pytest.raises(MemoryError, match="request 1 does not fit in memory by itself"):
            wb.generate(llama, ["Hello.", "gate " * 120, "Mend"], n=2, temperature=1.0)
        with pytest.raises(MemoryError, match="prompt 1 does not fit in memory by itself"):
            wb.option_logprobs(llama, ["Hello.", "gate " * 120 + "(", "Mend"], ("A", "B"))
        assert wb.generate(llama, ["Hello."], max_new_tokens=2)


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
    model = not_finite_at("!", tokenizer, value)
    prompts = ["Mend it.", "No", "Curse it!", "Sure, sure, sure, sure."]
    match = r"not finite in torch.bfloat16: request 2 \('Curse it!'…\), after 0 new tokens"
    with pytest.raises(GenerationError, match=match):
        wb.generate(model, prompts, temperature=temperature, max_new_tokens=2)


def test_other_end_tokens_are_another_identity(tokenizer):
    """They decide where a text ends, and are easily changed on a loaded model."""
    model = build("llama", tokenizer)
    tokens = by_generate(model, "Hello.", 12, eos_token_id=None)
    with wb.SampleStore() as store:
        full = wb.generate(model, ["Hello."], max_new_tokens=12, store=store)
        model.hf.generation_config.eos_token_id = [tokens[3]]
        assert wb.generate(model, ["Hello."], max_new_tokens=12, store=store) != full


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
