"""Log-probabilities of replies against plain transformers, one unpadded text at a time."""

import math

import pytest
import torch

import workbench as wb
from tests.generation.test_choices import Counted
from tests.helpers.directions import some_lock, some_residual
from tests.helpers.families import CHATS, build
from tests.helpers.faults import not_finite_at, short_of_memory
from tests.helpers.odd_families import ODD, odd
from tests.helpers.prompts import HEAD, PROMPTS, TAILS, longrope
from workbench.errors import ContextLengthError, DatasetError, GenerationError
from workbench.generation import batching, fitting, reply_logprobs
from workbench.models.model import InFlight
from workbench.models.prompts import encode

SHARING = [
    [{"role": "user", "content": HEAD}, {"role": "assistant", "content": tail}] for tail in TAILS
]
EVERY = [*CHATS, *PROMPTS, *SHARING, "Sure, mend"]


@torch.no_grad()
def plain(model, chat):
    """(ids, log-probabilities `[T]`, in float64 `[T, vocab]`) of a forward of one text."""
    encoded = encode(model, chat)
    start = 1 if isinstance(chat, str) else encoded.start
    model.in_flight = InFlight(torch.tensor([0]), 1, torch.tensor([start]))
    logits = model.hf(torch.tensor([encoded.ids]), use_cache=False).logits[0]
    model.in_flight = None
    logprobs = logits.float().log_softmax(-1)[start - 1 : -1]
    ids = torch.tensor(encoded.ids[start:])
    # A softmax in float32 does not add up to 1 by enough to show in a variance.
    exact = logits.double().log_softmax(-1)[start - 1 : -1]
    return ids, logprobs.gather(1, ids[:, None])[:, 0], exact


def check(model, chats, got, atol=1e-5):
    assert len(got) == len(chats)
    for chat, reply in zip(chats, got, strict=True):
        ids, expected, _ = plain(model, chat)
        assert torch.equal(reply.ids, ids)
        assert reply.logprobs.dtype == torch.float32
        torch.testing.assert_close(reply.logprobs, expected, atol=atol, rtol=1e-5)


def test_every_family_is_plain_transformers(family_model):
    """Chats and texts of all lengths, some with a shared beginning."""
    before = family_model.fingerprint()
    got = wb.reply_logprobs(family_model, EVERY)
    check(family_model, EVERY, got)
    assert got[0].mean is None
    assert family_model.in_flight is None
    assert family_model.fingerprint() == before


@pytest.mark.parametrize("name", ["alibi", "latent", "short_convolutions", "sinks",
                                  "recurrent_without_a_cache"])  # fmt: skip
def test_families_of_an_attention_of_their_own(tokenizer, name):
    assert name in ODD
    model = odd(name, tokenizer)
    check(model, EVERY[::3], wb.reply_logprobs(model, EVERY[::3]))


@pytest.mark.parametrize("size", [1, 3, 64])
def test_padding_batch_size_and_order_do_not_matter(llama, size):
    order = torch.randperm(len(EVERY), generator=torch.Generator().manual_seed(0)).tolist()
    chats = [EVERY[i] for i in order]
    check(llama, chats, wb.reply_logprobs(llama, chats, batch_size=size))


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_matter(llama, chunk, monkeypatch):
    monkeypatch.setattr(reply_logprobs, "_CHUNK", chunk)
    check(llama, EVERY, wb.reply_logprobs(llama, EVERY, moments=True))


def test_moments_are_those_of_a_slow_sum(tokenizer):
    for family in ("llama", "gemma2"):
        model = build(family, tokenizer)
        for chat, reply in zip(EVERY, wb.reply_logprobs(model, EVERY, moments=True), strict=True):
            _, logprobs, whole = plain(model, chat)
            torch.testing.assert_close(reply.logprobs, logprobs, atol=1e-5, rtol=1e-5)
            for t in (0, -1):
                row = whole[t].tolist()
                mean = math.fsum(math.exp(x) * x for x in row)
                variance = math.fsum(math.exp(x) * x * x for x in row) - mean**2
                assert reply.mean[t].item() == pytest.approx(mean, rel=1e-5)
                assert reply.variance[t].item() == pytest.approx(variance, rel=1e-5)


def test_moments_where_a_token_is_ruled_out(tokenizer):
    """Its probability is 0, and so is its share of both."""
    model = build("gpt_neox", tokenizer)
    head = torch.nn.Linear(model.d_model, model.n_tokens)
    head.weight.data = model.hf.get_output_embeddings().weight.data
    head.bias.data.zero_()
    head.bias.data[[7, 11]] = -torch.inf
    model.hf.set_output_embeddings(head)
    (reply,) = wb.reply_logprobs(model, CHATS[:1], moments=True)
    _, logprobs, whole = plain(model, CHATS[0])
    torch.testing.assert_close(reply.logprobs, logprobs, atol=1e-5, rtol=1e-5)
    allowed = whole[:, [i for i in range(model.n_tokens) if i not in (7, 11)]]
    mean = (allowed.exp() * allowed).sum(1)
    variance = (allowed.exp() * allowed**2).sum(1) - mean**2
    torch.testing.assert_close(reply.mean.double(), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(reply.variance.double(), variance, atol=1e-5, rtol=1e-5)


def test_a_plain_text_is_scored_from_its_second_token_or_behind_its_begin_token(tokenizer):
    bare = build("llama", tokenizer)
    (reply,) = wb.reply_logprobs(bare, ["Sure, mend"])
    assert reply.ids.tolist() == tokenizer("Sure, mend", add_special_tokens=False)["input_ids"][
        1 - (bare.tokenizer("Sure")["input_ids"][0] == bare.tokenizer.bos_token_id) :
    ]  # fmt: skip


def test_a_shared_beginning_is_computed_once(llama, monkeypatch):
    # The ways of computing them are tried once, not in what is counted.
    check(llama, SHARING, wb.reply_logprobs(llama, SHARING))
    with Counted(llama) as shared:
        wb.reply_logprobs(llama, SHARING)
    monkeypatch.setattr(fitting, "plan", lambda *a, **k: batching.plan(*a, **{**k, "reuse": False}))
    with Counted(llama) as apart:
        wb.reply_logprobs(llama, SHARING)
    assert apart.rows == len(SHARING)
    assert shared.tokens < apart.tokens / 2


def test_logits_of_a_few_tokens_are_held(llama):
    """The head is never given more tokens than a chunk, nor the whole of a text."""
    seen = []
    hook = llama.hf.lm_head.register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[:-1]))
    long = [[*chat[:1], {"role": "assistant", "content": HEAD * 3}] for chat in CHATS[::3]]
    try:
        got = wb.reply_logprobs(llama, long)
    finally:
        hook.remove()
    total = sum(len(reply.ids) for reply in got)
    assert total > 2 * reply_logprobs._CHUNK
    assert max(rows * tokens for rows, tokens in seen) == reply_logprobs._CHUNK
    assert sum(rows * tokens for rows, tokens in seen) <= total + 2 * len(long)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_windows_shorter_than_the_text(tokenizer, attention):
    model = build("gemma3", tokenizer, sliding_window=16)
    model.hf.set_attn_implementation(attention)
    check(model, EVERY, wb.reply_logprobs(model, EVERY))


def test_frequencies_that_depend_on_length(tokenizer):
    """Texts around the limit of 40 tokens: each as a forward of the whole of it has them."""
    model = longrope(tokenizer)
    chats = ["(" * n for n in (5, 20, 38, 39, 40, 41, 42, 60)]
    assert {40, 41} <= {len(encode(model, chat).ids) for chat in chats}
    check(model, chats, wb.reply_logprobs(model, chats))


def test_without_a_cache(tokenizer):
    model = build("llama", tokenizer)
    model.hf.generation_config.use_cache = False
    check(model, EVERY, wb.reply_logprobs(model, EVERY))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_normalised_in_float32(tokenizer, dtype):
    model = build("qwen3", tokenizer, dtype=dtype)
    check(model, ["Sure, mend"], wb.reply_logprobs(model, ["Sure, mend"]), atol=1e-4)


@pytest.mark.parametrize("kind", [some_lock, some_residual])
@pytest.mark.parametrize("mode", ["all", "generated", "last"])
def test_an_alpha_for_each_chat(llama, kind, mode):
    """As each chat alone with its own alpha."""
    direction, chats = kind(llama, scale=4.0), [*EVERY, EVERY[0], EVERY[0]]
    alphas = [[0.0, 0.5, 1.0, 2.0, 3.0][i % 5] for i in range(len(chats))]
    with wb.steer(llama, direction, alphas, mode=mode):
        got = wb.reply_logprobs(llama, chats, batch_size=4)
    for chat, alpha, reply in zip(chats, alphas, got, strict=True):
        with wb.steer(llama, direction, alpha, mode=mode, how="hook"):
            check(llama, [chat], [reply], atol=2e-5)
    assert not torch.allclose(got[-1].logprobs, got[-2].logprobs, atol=1e-2)


@pytest.mark.parametrize("how", ["fold", "hook"])
def test_one_alpha_for_all(llama, how):
    before = wb.reply_logprobs(llama, EVERY)
    with wb.steer(llama, some_lock(llama, k=8, scale=3.0), 2.0, how=how):
        got = wb.reply_logprobs(llama, EVERY)
        check(llama, EVERY, got)
    assert not torch.allclose(got[0].logprobs, before[0].logprobs, atol=1e-2)
    check(llama, EVERY, wb.reply_logprobs(llama, EVERY))


def test_as_many_alphas_as_chats(llama):
    with (
        wb.steer(llama, some_lock(llama), [1.0, 2.0]),
        pytest.raises(ValueError, match="2 alphas, one for each, but 3 prompts"),
    ):
        wb.reply_logprobs(llama, EVERY[:3])
    assert llama.in_flight is None


@pytest.mark.parametrize("chats", [CHATS, SHARING])
def test_out_of_memory_halves_the_batch(llama, chats, caplog):
    with short_of_memory(llama, rows=2) as memory:
        got = wb.reply_logprobs(llama, chats)
    check(llama, chats, got)
    assert max(memory.rows) <= 2
    assert "out of memory with" in caplog.text


@pytest.mark.parametrize("chats", [CHATS, SHARING])
def test_ctrl_c_leaves_the_model_as_it_was(llama, chats):
    attention = llama.hf.config._attn_implementation

    def stop(*_):
        raise KeyboardInterrupt

    for module in (llama.hf.lm_head, llama.hf.model.norm):
        hook = module.register_forward_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            wb.reply_logprobs(llama, chats)
        hook.remove()
        assert llama.in_flight is None
        assert not llama.hf.model._forward_hooks
        assert llama.hf.config._attn_implementation == attention
    check(llama, chats, wb.reply_logprobs(llama, chats))


def test_not_finite_names_the_chat(tokenizer):
    model = not_finite_at("!", tokenizer, torch.nan)
    chats = ["Mend it now.", "No, no", "Curse it! Now", "Sure, sure, sure."]
    with pytest.raises(GenerationError, match=r"not finite in torch.bfloat16: chat 2\."):
        wb.reply_logprobs(model, chats)
    assert model.in_flight is None


def test_bad_input_comes_before_any_forward(llama, tiny):
    question = CHATS[0][:1]
    with Counted(llama) as counted, Counted(tiny) as counted_tiny:
        for chat in (question, [*question, {"role": "assistant", "content": ""}], "("):
            with pytest.raises(DatasetError, match="chat 1 has nothing to score"):
                wb.reply_logprobs(llama, ["Mend the gate", chat])
        for chat in ("", 3, [], [{"role": "user"}]):
            with pytest.raises(DatasetError, match="prompt 1"):
                wb.reply_logprobs(llama, [CHATS[0], chat])
        with pytest.raises(ContextLengthError, match="prompt 1 has"):
            wb.reply_logprobs(tiny, ["Hello there.", "gate " * 600])
        with pytest.raises(ValueError, match="batch_size=0"):
            wb.reply_logprobs(llama, CHATS, batch_size=0)
        assert wb.reply_logprobs(llama, []) == []
    assert counted.forwards == counted_tiny.forwards == 0


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_context_is_used_to_its_last_token(tokenizer, family):
    model = build(family, tokenizer)
    text = "(" * model.context_length
    assert len(encode(model, text).ids) == model.context_length
    check(model, [text, "Mend it"], wb.reply_logprobs(model, [text, "Mend it"]))
