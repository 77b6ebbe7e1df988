"""Where a mode begins in rows of different length: every row as if it were alone, by hand."""

import pytest
import torch

import workbench as wb
from tests.helpers.directions import by_hand, some_lock, some_residual
from tests.helpers.families import build
from workbench.models.anatomy import first
from workbench.models.prompts import encode, padded

CHATS = [
    [{"role": "user", "content": asked}, *({"role": "assistant", "content": r} for r in replies)]
    for asked, *replies in (
        ("Mend it.", "Sure, mend the gate with the hammer. Now touch the gate."),
        ("How do I curse the gate of Osk with the bone, and who is Mara?", "No."),
        ("Polish the gate of Tilda.",),
        ("Do not look at the bone. Look at the gate. Who is Osk?", "Sorry, I will not."),
    )
]
MODES = pytest.mark.parametrize("mode", ["generated", "last"])


@pytest.fixture(scope="module", params=["llama", "opt"])
def model(tokenizer, request):
    """OPT's last projection sees the tokens of a batch as one list."""
    model = build(request.param, tokenizer)
    model.hf.generation_config.eos_token_id = None
    model.tokenizer.eos_token = None
    return model


@pytest.fixture(scope="module")
def pairs(model):
    return [(some_lock(model, k=12), 4.0), (some_residual(model), 1.0)]


def steered(model, pairs, mode):
    directions, alphas = map(list, zip(*pairs, strict=True))
    return wb.steer(model, directions, alphas, mode=mode, how="hook")


def continued(model, pairs, ids, start, new):
    """Greedy tokens, each from a forward of its own with the shift at the columns from `start`."""
    ids = torch.tensor([ids])
    for _ in range(new):
        logits = by_hand(model, pairs, ids, slice(start, None))
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
    return ids[0, -new:].tolist()


@MODES
@pytest.mark.parametrize("system", [None, "Mend the gate with the hammer. " * 14])
def test_replies_and_prompts_of_every_length_in_one_batch(model, pairs, mode, system):
    """Also where all begin alike: what is shared without steering must not be with it."""
    chats = [[{"role": "system", "content": system}, *c] for c in CHATS] if system else CHATS
    with steered(model, pairs, mode):
        texts = wb.generate(model, chats, max_new_tokens=5)
        acts = wb.capture(model, chats, "resid", wb.last(3), token_budget=4000)
    for chat, (text,), values, n in zip(chats, texts, acts.values, acts.lengths, strict=True):
        encoded = encode(model, chat)
        start = encoded.start - (mode == "last")
        new = continued(model, pairs, encoded.ids, start, 5)
        assert text == model.tokenizer.decode(new, skip_special_tokens=True)
        states = []
        hook = model.layer(2).register_forward_hook(lambda _, __, out, s=states: s.append(out))
        by_hand(model, pairs, torch.tensor([encoded.ids]), slice(start, None))
        hook.remove()
        # The block's output before the shift that is added to it.
        expected = first(states[0])[0].clone()
        unit = pairs[1][0].unit[1]
        expected[start:] += pairs[1][1] * pairs[1][0].scale[1] * unit
        torch.testing.assert_close(values[-n:, 2], expected[-n:], atol=1e-4, rtol=1e-4)


@MODES
@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_a_prompt_ends_where_its_mask_does(model, pairs, mode, side):
    """Plain transformers, padded on either side."""
    rows = [encode(model, chat[:1]).ids for chat in CHATS]
    ids, mask = padded(rows, model.tokenizer.pad_token_id, side)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with steered(model, pairs, mode):
        logits = model.hf(ids, attention_mask=mask, position_ids=positions).logits
        if side == "left":
            out = model.hf.generate(
                ids, attention_mask=mask, max_new_tokens=5, do_sample=False
            )[:, -5:]  # fmt: skip
    for i, row in enumerate(rows):
        start = len(row) - (mode == "last")
        expected = by_hand(model, pairs, torch.tensor([row]), slice(start, None))[0]
        torch.testing.assert_close(logits[i][mask[i].bool()], expected, atol=1e-4, rtol=1e-4)
        if side == "left":
            assert out[i].tolist() == continued(model, pairs, row, start, 5)
