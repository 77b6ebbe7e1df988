"""Extraction beside one plain forward for each answer."""

import copy
from dataclasses import replace

import pytest
import torch
from tokenizers import Regex, normalizers

from tests.helpers.pas import INVENTORY, TOKENIZER, TRAIN, build, head_of_chat
from workbench.data.inventories import Inventory
from workbench.errors import ModelError
from workbench.papers.pas import contrast as contrasting
from workbench.papers.pas import prompts
from workbench.papers.pas.contrast import contrast_answers

BOTH = ("forward", "reversed")


@torch.no_grad()
def at_the_letter(model, text, letter, order):
    """o_proj's input at the answer letter, `[L, H, d_head]`, of one plain forward."""
    ids = head_of_chat(model.tokenizer, prompts.SYSTEM, text, order)
    ids += model.tokenizer(letter, add_special_tokens=False)["input_ids"]
    seen = []
    hooks = [
        layer.self_attn.o_proj.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        for layer in model.hf.model.layers
    ]
    model.hf(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return torch.stack([z[0, -1].view(model.n_heads, model.d_head) for z in seen])


@pytest.mark.parametrize("orders", [("forward",), ("reversed",), BOTH])
def test_extraction_equals_one_plain_forward_each(model, orders):
    items = TRAIN[::7]
    contrast = contrast_answers(model, INVENTORY, items=items, orders=orders)
    assert contrast.items == tuple(items)
    letters = {"forward": ("A", "E"), "reversed": ("E", "A")}
    values = contrast.acts.values[:, 0].float()
    for place, item in enumerate(items):
        text = INVENTORY.items[item].text
        agree, disagree = (
            torch.stack([at_the_letter(model, text, letters[o][side], o) for o in orders]).mean(0)
            for side in (0, 1)
        )
        torch.testing.assert_close(values[2 * place], agree, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(values[2 * place + 1], disagree, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(contrast.delta[place], agree - disagree, atol=4e-5, rtol=1e-4)
        assert (agree - disagree).abs().max() > 0.01


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"wording": "paper"}, "Am fond of Mara."),
        ({"wording": "second"}, "are fond of Mara"),
        ({}, "are fond of Mara"),
    ],
)
def test_statements_are_extracted_in_the_wording_asked_for_and_as_they_are_written(
    model, monkeypatch, asked, said
):
    items = [replace(INVENTORY.items[0], text="Am fond of Mara.", split="train")]
    shown = []
    real = contrasting.capture
    monkeypatch.setattr(
        contrasting,
        "capture",
        lambda m, chats, **rest: shown.extend(chats) or real(m, chats, **rest),
    )
    contrast_answers(model, Inventory("one", tuple(items)), **asked)
    replies = [(chat[1]["content"], chat[2]["content"]) for chat in shown]
    assert replies == [(prompts.question(said), letter) for letter in "AE"]


def test_extraction_takes_the_train_items_in_the_papers_order(captured):
    assert captured.items == tuple(TRAIN)
    assert [INVENTORY.items[i].trait for i in captured.items] == sorted(
        INVENTORY.items[i].trait for i in captured.items
    )
    assert captured.delta.shape == (len(TRAIN), 2, 8, 8)


def test_a_template_that_drops_replies_changes_nothing(captured):
    tokenizer = copy.deepcopy(TOKENIZER)
    kept = "{% for m in messages if m['role'] != 'assistant' %}"
    tokenizer.chat_template = TOKENIZER.chat_template.replace("{% for m in messages %}", kept)
    messages = prompts.chat("s", "t", "A")
    assert tokenizer.apply_chat_template(messages, tokenize=False).count("<assistant>") == 0
    again = contrast_answers(build(tokenizer), INVENTORY)
    torch.testing.assert_close(again.acts.values, captured.acts.values)


@pytest.mark.parametrize(
    ("pattern", "instead", "message"),
    [
        ("^[AE]$", "X", "the same tokens, so that there is no direction"),
        ("^A$", "AA", "an answer letter is not one token"),
        ("^E$", "EE", "an answer letter is not one token"),
    ],
)
def test_letters_that_cannot_be_read_are_refused(pattern, instead, message):
    tokenizer = copy.deepcopy(TOKENIZER)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(Regex(pattern), instead)
    with pytest.raises(ModelError, match=message):
        contrast_answers(build(tokenizer), INVENTORY, items=TRAIN[:2])
