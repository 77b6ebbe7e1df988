"""Projections of a reply's tokens against plain hooks, and what steering adds to them."""

from dataclasses import replace

import pytest
import torch

import workbench as wb
from tests.helpers.directions import some_lock
from workbench.models.prompts import encode
from workbench.steering.token_scores import token_scores

CHATS = [
    [{"role": "user", "content": text}]
    for text in ("How do I mend the gate of Mara?", "How do I curse the well of Osk?")
]


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_token_scores_against_plain_hooks(tiny, alpha):
    lock = some_lock(tiny, k=12)  # layers in no order, and some of them twice
    assert lock.layer.tolist() != sorted(lock.layer.tolist())
    lock = replace(lock, scale=torch.linspace(0.5, 1.5, 12))
    replies = ["Sure, mend the gate with the hammer.", "No."]
    chats = [[*c, {"role": "assistant", "content": r}] for c, r in zip(CHATS, replies, strict=True)]
    with wb.steer(tiny, lock, alpha):
        found = token_scores(tiny, lock, chats)
        for chat, scores in zip(chats, found, strict=True):
            one = encode(tiny, chat)
            inputs = {}
            handles = [
                tiny.o_proj(i).register_forward_pre_hook(
                    lambda _, args, i=i, into=inputs: into.__setitem__(i, args[0][0])
                )
                for i in range(tiny.n_layers)
            ]
            with torch.no_grad():
                tiny.hf(input_ids=torch.tensor([one.ids]))
            for handle in handles:
                handle.remove()
            expected = []
            for token in range(one.start, len(one.ids)):
                along = [
                    float(inputs[i][token].view(tiny.n_heads, -1)[h] @ u) / float(s)
                    for (i, h), u, s in zip(lock.heads, lock.unit, lock.scale, strict=True)
                ]
                expected.append(sum(along) / len(along))
            torch.testing.assert_close(scores, torch.tensor(expected), atol=2e-5, rtol=1e-4)


def test_token_scores_of_a_residual_direction_grow_by_alpha_where_it_is_added(tiny):
    generator = torch.Generator().manual_seed(1)
    unit = torch.randn(1, tiny.d_model, generator=generator)
    last = tiny.n_layers - 1
    direction = wb.ResidualDirection(torch.tensor([last]), unit / unit.norm(), torch.tensor([0.7]))
    chats = [[*CHATS[0], {"role": "assistant", "content": "Sure, mend the gate."}]]
    plain = token_scores(tiny, direction, chats)[0]
    with wb.steer(tiny, direction, 3.0):
        steered = token_scores(tiny, direction, chats)[0]
    torch.testing.assert_close(steered - plain, torch.full_like(plain, 3.0), atol=1e-3, rtol=0)


def test_a_forward_that_ends_where_all_is_captured_is_one(tiny, caplog):
    lock = some_lock(tiny, k=4)
    below = wb.HeadDirections(torch.zeros(4, dtype=torch.long), torch.arange(4), unit=lock.unit,
                              scale=lock.scale, provenance={})  # fmt: skip
    chats = [[*CHATS[0], {"role": "assistant", "content": "Sure, mend the gate."}]]
    with wb.steer(tiny, below, 2.0, how="hook"):
        token_scores(tiny, below, chats)
    assert not caplog.text
    with wb.steer(tiny, below, 2.0, how="hook"):
        pass
    assert "no forward ran" in caplog.text
