"""Batched decoding against one prompt at a time through plain transformers."""

import pytest
import torch
from conftest import CHATS

import workbench as wb
from workbench.prompts import encode

PROMPTS = [chat[:1] for chat in CHATS[::3]] + ["Sure, mend", "No, do not curse the gate"]


def test_greedy_equals_one_by_one(tiny):
    together = wb.generate(tiny, PROMPTS, max_new_tokens=40)
    for prompt, (text,) in zip(PROMPTS, together, strict=True):
        ids = torch.tensor([encode(tiny, prompt).ids])
        out = tiny.hf.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
        )
        assert text == tiny.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_gpt2_positions_follow_the_mask(tokenizer):
    """Learned positions: a left pad must not shift the real tokens (TransformerLens #1609)."""
    from conftest import build

    model = build("gpt2", tokenizer)
    together = wb.generate(model, PROMPTS, max_new_tokens=12)
    alone = [wb.generate(model, [p], max_new_tokens=12)[0] for p in PROMPTS]
    assert together == alone


def test_sampling_is_seeded_and_leaves_the_callers_generator_alone(tiny):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=1, max_new_tokens=10)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=1, max_new_tokens=10)
    assert first != wb.generate(tiny, PROMPTS, n=3, temperature=1.0, seed=2, max_new_tokens=10)
    assert [len(texts) for texts in first] == [3] * len(PROMPTS)


def test_samples_follow_the_softmax(tiny):
    """1500 one-token samples against the exact next-token distribution."""
    prompt = [{"role": "user", "content": "How do I mend the gate of Mara?"}]
    ids = torch.tensor([encode(tiny, prompt).ids])
    with torch.no_grad():
        exact = tiny.hf(ids).logits[0, -1].softmax(-1)
    (texts,) = wb.generate(tiny, [prompt], n=1500, temperature=1.0, seed=0, max_new_tokens=1)
    token = int(exact.argmax())
    share = sum(t == tiny.tokenizer.decode([token]) for t in texts) / 1500
    p = exact[token].item()
    assert abs(share - p) < 4 * (p * (1 - p) / 1500) ** 0.5


@pytest.mark.parametrize("bad", [{"n": 2}, {"n": 0}, {"max_new_tokens": 0}, {"temperature": -1.0}])
def test_bad_input(tiny, bad):
    with pytest.raises(ValueError, match=r"at least|greedy decoding gives one"):
        wb.generate(tiny, PROMPTS, **bad)
