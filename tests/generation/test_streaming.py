"""Decoding a token at a time, and steering that belongs to one thread."""

import threading
from itertools import pairwise

import pytest
import torch

import workbench as wb
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.prompts import encode

REQUESTS = ["How do I mend the gate of Mara?", "How do I curse the well of Osk?"]
CHATS = [[{"role": "user", "content": text}] for text in REQUESTS]


def in_thread(work):
    """What `work` returns, from a thread of its own."""
    out = []
    thread = threading.Thread(target=lambda: out.append(work()))
    thread.start()
    thread.join(60)
    return out[0]


def directions(model, k=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.randn(k, model.d_head, generator=generator)
    return wb.HeadDirections(
        layer=torch.arange(k) % model.n_layers,
        head=torch.arange(k) % model.n_heads,
        unit=unit / unit.norm(dim=1, keepdim=True),
        scale=torch.linspace(0.5, 1.5, k),
    )


def logits(model, text="How do I mend the gate?"):
    ids = torch.tensor([encode(model, text).ids] * 2)
    with torch.no_grad():
        return model.hf(input_ids=ids).logits


def test_a_stream_ends_in_what_generate_returns(tiny):
    requests = [GenRequest(chat, max_new_tokens=20) for chat in CHATS]
    seen = [[len(t) for t in d.tokens] for d in LocalBackend(tiny).stream(requests)]
    final = list(LocalBackend(tiny).stream(requests))[-1].samples()
    assert [s.text for s in final] == [r for (r,) in wb.generate(tiny, CHATS, max_new_tokens=20)]
    assert seen[0] == [1, 1]
    for before, after in pairwise(seen):
        assert all(0 <= b - a <= 1 for a, b in zip(before, after, strict=True))
        assert sum(after) > sum(before)


def test_a_stream_that_is_dropped_leaves_nothing(tiny):
    stream = LocalBackend(tiny).stream([GenRequest(CHATS[0], max_new_tokens=50)])
    next(stream)
    assert not in_thread(lambda: tiny.lock.acquire(timeout=0.05))
    stream.close()
    assert tiny.in_flight is None
    assert in_thread(lambda: tiny.lock.acquire(blocking=False) and tiny.lock.release() is None)


def test_a_prompt_without_room_is_refused_before_the_first_token(tiny):
    stream = LocalBackend(tiny).stream([GenRequest(CHATS[0], max_new_tokens=10**6)])
    with pytest.raises(wb.errors.ContextLengthError, match="request 0"):
        next(stream)


@pytest.mark.parametrize("mode", ["all", "generated", "last"])
def test_hooks_of_a_background_thread_steer_that_thread_alone(tiny, mode):
    lock, plain = directions(tiny), logits(tiny)
    with wb.steer(tiny, lock, [0.0, 4.0], mode=mode, how="hook"):
        steered = logits(tiny)
    entered, leave, mine = threading.Event(), threading.Event(), []

    def work():
        with wb.steer(tiny, lock, [0.0, 4.0], mode=mode, how="hook"):
            mine.append(logits(tiny))
            mine.append((tiny.fingerprint(), tiny.per_prompt))
            entered.set()
            leave.wait(60)

    before = tiny.fingerprint()
    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(60)
    try:
        assert torch.equal(logits(tiny), plain)
        assert tiny.fingerprint() == before
        assert not tiny.per_prompt
        assert not tiny.hooked
    finally:
        leave.set()
        thread.join()
    assert torch.equal(mine[0], steered)
    assert mine[1][0] != before
    assert mine[1][1]
    assert not tiny.hooks


def test_hooks_of_the_main_thread_steer_every_thread(tiny):
    lock = directions(tiny)
    with wb.steer(tiny, lock, 4.0, how="hook"):
        here, there = logits(tiny), in_thread(lambda: logits(tiny))
        assert in_thread(lambda: tiny.hooked) == tiny.hooked
    assert torch.equal(here, there)
