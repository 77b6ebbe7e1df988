"""Effects of single heads against a loop, and the ranking by them."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import DatasetError
from workbench.models.prompts import messages
from workbench.papers.safetylock.leverage import (
    harmful_chats,
    head_effects,
    head_slopes,
    leverage,
    margin,
    openers,
)
from workbench.papers.safetylock.lock import find_lock
from workbench.worlds.brindle import OPENERS


def test_head_effects_are_the_margins_of_single_heads(tiny, pairs, contrast):
    lock, _ = find_lock(contrast, 4)
    rows = wb.load_data("requests", "validation")[:3]
    chats = harmful_chats(rows)
    got = head_effects(tiny, lock, 1.0, chats, openers(tiny, pairs))
    begin = {m: {o.split()[0].strip(",") for o in group} for m, group in OPENERS.items()}
    words = {m: [tiny.tokenizer(w)["input_ids"][0] for w in begin[m]] for m in begin}

    @torch.no_grad()
    def by_hand(refuse=words["refuse"], comply=words["help"]):
        out = []
        for row in rows:
            text = tiny.tokenizer.apply_chat_template(
                messages(row["prompt"]), add_generation_prompt=True, tokenize=False
            )
            ids = tiny.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            p = tiny.hf(ids).logits[0, -1].double().softmax(-1)
            out.append(p[refuse].sum().log() - p[comply].sum().log())
        return float(sum(out) / len(out))

    before = by_hand()
    uneven = ([*words["refuse"][:1], 9, 30], [*words["help"][:2], 12])
    assert margin(tiny, chats, uneven) == pytest.approx(by_hand(*uneven), abs=1e-3)
    for i, effect in enumerate(got):
        with wb.steer(tiny, lock.pick([i]), 1.0, how="hook"):
            assert effect == pytest.approx(by_hand() - before, abs=1e-3)


def test_what_begins_both_kinds_of_answers_says_nothing(tiny):
    pairs = [
        {"chosen": "Sorry, no. Never touch it.", "rejected": "Sure, mend it. Now touch it."},
        {"chosen": "Sure, no. Yes.", "rejected": "Yes, mend it. Yes."},
    ]
    sorry, yes, never, now = (
        tiny.tokenizer(w, add_special_tokens=False)["input_ids"][0]
        for w in ("Sorry", "Yes", " Never", " Now")
    )
    assert openers(tiny, pairs) == ([sorry], [yes])
    assert openers(tiny, pairs, later=True) == ([never], [now])


def test_leverage_ranks_what_moves_the_decision(tiny, pairs, contrast):
    score = leverage(tiny, contrast, wb.load_data("requests"), pairs, count=10)
    assert score.shape == (4, 8)
    lock, _ = find_lock(contrast, 5, "leverage", leverage=score)
    assert lock.heads == sorted(np.ndindex(4, 8), key=lambda c: -score[c].item())[:5]
    requests = wb.load_data("requests")
    some = [(layer, head) for layer in range(4) for head in (1, 6)]
    directions = wb.HeadDirections.contrast(contrast.acts, contrast.labels, some)
    harmful = harmful_chats(requests)[:10]
    begun = [
        [*messages(r["prompt"]),
         {"role": "assistant", "content": r["chosen"][: r["chosen"].index(".") + 1]}]
        for r in requests if not r["harmful"]
    ][:10]  # fmt: skip
    effects = head_effects(tiny, directions, 1.0, harmful, openers(tiny, pairs))
    costs = head_effects(tiny, directions, 1.0, begun, openers(tiny, pairs, later=True))
    assert min(costs) < 0 < max(costs)
    for place, effect, cost in zip(some, effects, costs, strict=True):
        assert score[place] == pytest.approx(effect - max(0.0, cost) / 2, abs=1e-4)
    worst = [divmod(i, 8) for i in score.flatten().argsort()[:5].tolist()]
    weak = wb.HeadDirections.contrast(contrast.acts, contrast.labels, worst)
    chats = harmful_chats(wb.load_data("requests", "validation")[:10])
    tokens = openers(tiny, pairs)
    gains = [sum(head_effects(tiny, d, 1.0, chats, tokens)) for d in (lock, weak)]
    assert gains[0] > gains[1]
    with pytest.raises(ValueError, match="needs the scores"):
        find_lock(contrast, 5, "leverage")
    bare = [{"prompt": "a", "harmful": h} for h in (True, False)]
    with pytest.raises(DatasetError, match="needs harmless rows with a 'chosen' reply"):
        leverage(tiny, contrast, bare, pairs)


def test_slopes_are_the_effects_of_small_shifts(tiny, pairs, contrast):
    """Against finite differences, for every head, on chats of different lengths."""
    every = wb.HeadDirections.contrast(contrast.acts, contrast.labels, list(np.ndindex(4, 8)))
    chats = harmful_chats(wb.load_data("requests", "validation")[:24])
    tokens = openers(tiny, pairs)
    up, down = (
        head_effects(tiny, every.rotated(sign * every.unit), 0.02, chats, tokens)
        for sign in (1, -1)
    )
    central = [(a - b) / 2 for a, b in zip(up, down, strict=True)]
    slopes = head_slopes(tiny, every, 0.02, chats, tokens)
    np.testing.assert_allclose(slopes, central, atol=2e-5, rtol=0.02)
    assert max(map(abs, slopes)) > 1e-3
    assert head_slopes(tiny, every.pick([5]), 0.04, chats, tokens)[0] == pytest.approx(
        2 * slopes[5]
    )
    requests = wb.load_data("requests")
    first = leverage(tiny, contrast, requests, pairs, count=10, gradient=True)
    measured = leverage(tiny, contrast, requests, pairs, count=10)
    assert np.corrcoef(first.flatten(), measured.flatten())[0, 1] > 0.8
