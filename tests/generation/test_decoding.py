"""Decoded rows: independent of their batch, as long as asked, ended for the right reason."""

import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
from tests.helpers.greedy import by_full_forwards, by_generate, text
from tests.helpers.prompts import MIXED, TAILS, longrope
from workbench.generation.complete import complete
from workbench.generation.decoding import end_tokens
from workbench.generation.requests import GenRequest, prompt_text
from workbench.generation.sampling import pick, uniforms
from workbench.models.prompts import encode


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


def test_rows_that_are_done_do_not_lengthen_the_others(tokenizer):
    """A finished row that is still in the batch must not reach the long frequencies."""
    model = longrope(tokenizer)
    prompts = ["Mend the gate. " * 6 + "Now", "No", "Sure", "Osk", "Mara", "Look", "Mend"]
    lengths = [len(encode(model, p).ids) for p in prompts]
    new = [40 - lengths[0], *[30] * 6]
    assert new[0] > 0
    assert max(lengths[1:]) + 30 <= 40
    assert lengths[0] + 30 > 40
    # What is tried before the first call is no part of it.
    complete(model, [GenRequest(p, max_new_tokens=1) for p in prompts])
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


def biased(tokenizer, text_of):
    """A model that says the tokens of one text in order, whatever the prompt, then repeats."""
    model = build("gpt2", tokenizer)
    ids = tokenizer(text_of, add_special_tokens=False)["input_ids"]

    def say(_, args, kwargs, out):
        flight, cache = model.in_flight, kwargs.get("past_key_values")
        width = args[0].shape[1] if cache is None else cache.get_seq_length()
        out.logits[:] = -5.0
        for back in range(1, out.logits.shape[1] + 1):
            step = width - back + 1 - int(flight.start[0])
            out.logits[:, -back, ids[step % len(ids)]] = 5.0
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
    tokens = by_generate(model, "Hello.", 12, eos_token_id=None)
    third = next(i for i, t in enumerate(tokens) if i >= 2 and t not in tokens[:i])
    model.hf.generation_config.eos_token_id = torch.tensor([tokenizer.eos_token_id, tokens[third]])
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


@torch.no_grad()
def test_samples_are_drawn_from_full_forwards_with_their_own_numbers(tiny):
    """A token at a time by hand, without batch or cache."""
    prompt = CHATS[0][:1]
    ids = encode(tiny, prompt).ids
    for options in ({"temperature": 1.0}, {"temperature": 2.0, "top_k": 7}, {"temperature": 1.5,
                    "top_p": 0.8}):  # fmt: skip
        got = wb.generate(tiny, [prompt], n=4, max_new_tokens=6, seed=2, **options)[0]
        heat, top_k = torch.tensor([options["temperature"]]), options.get("top_k", 0)
        numbers = uniforms([(2, prompt_text(prompt), i, 6) for i in range(4)])
        for i, sample in enumerate(got):
            tokens = []
            while len(tokens) < 6 and not set(tokens) & end_tokens(tiny):
                logits = tiny.hf(torch.tensor([ids + tokens])).logits[:, -1]
                u = numbers[i, len(tokens)][None]
                tokens.append(int(pick(logits, heat, u, top_k, options.get("top_p", 1.0))))
            assert sample == text(tiny, tokens)
        assert len(set(got)) > 1


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
