"""Answers beside plain forwards with hooks by hand, and what is read from replies."""

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.pas import INVENTORY, TEST, TOKENIZER, build, head_of_chat
from workbench.papers.pas import answer, prompts
from workbench.papers.pas.answer import answers, collapsed, distribution, parse, written
from workbench.papers.pas.paper import Settings

BOTH = ("forward", "reversed")


def lock_of(model, k=6, scale=0.5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randperm(model.n_layers * model.n_heads, generator=generator)[:k]
    unit = torch.nn.functional.normalize(torch.randn(k, model.d_head, generator=generator), dim=1)
    return wb.HeadDirections(
        cells // model.n_heads, cells % model.n_heads, unit, torch.full((k,), scale)
    )


@torch.no_grad()
def letters_by_hand(model, system, text, order, lock=None, alpha=0.0):
    """Probabilities of the values 1..5 from one plain forward, shifted at o_proj's input."""
    ids = head_of_chat(model.tokenizer, system, text, order)
    ids += model.tokenizer("Option (", add_special_tokens=False)["input_ids"]
    hooks = []
    for layer, module in enumerate(model.hf.model.layers):

        def shifted(_, args, layer=layer):
            z = args[0].clone()
            for (at, head), unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
                if at == layer:
                    here = slice(head * model.d_head, (head + 1) * model.d_head)
                    z[..., here] += alpha * scale * unit
            return (z, *args[1:])

        if lock is not None:
            hooks.append(module.self_attn.o_proj.register_forward_pre_hook(shifted))
    logits = model.hf(torch.tensor([ids])).logits[0, -1].double()
    for hook in hooks:
        hook.remove()
    letters = model.tokenizer.convert_tokens_to_ids(list("ABCDE"))
    probabilities = logits[letters].softmax(0)
    # What each letter means is read off the question itself.
    lines = prompts.question(text, order).splitlines()[-5:]
    out = np.zeros(5)
    for line, p in zip(lines, probabilities.tolist(), strict=True):
        out[prompts.LABELS.index(line.partition(". ")[2]) - 1] = p
    return out


@pytest.mark.parametrize("orders", [("forward",), ("reversed",), BOTH])
def test_answers_equal_a_plain_forward(model, orders):
    statements = [INVENTORY.items[i].text for i in TEST[:5]]
    got = distribution(model, "You are kind.", statements, orders)
    assert got.shape == (1, 5, 5)
    for row, text in zip(got[0], statements, strict=True):
        expected = np.mean(
            [letters_by_hand(model, "You are kind.", text, order) for order in orders], 0
        )
        np.testing.assert_allclose(row, expected, atol=1e-5)
    np.testing.assert_allclose(got.sum(-1), 1)
    assert got.std(1).max() > 0.01


def test_all_alphas_at_once_one_by_one_and_by_hand(model):
    lock, alphas = lock_of(model), (0.0, 1.0, 4.0)
    statements = [INVENTORY.items[i].text for i in TEST[:4]]
    together, folded = (
        distribution(
            model, prompts.SYSTEM, statements, BOTH, direction=lock, alphas=alphas, together=way
        )
        for way in (True, False)
    )
    assert together.shape == (3, 4, 5)
    np.testing.assert_allclose(together, folded, atol=1e-5)
    for a, alpha in enumerate(alphas):
        for t, text in enumerate(statements):
            expected = np.mean(
                [letters_by_hand(model, prompts.SYSTEM, text, o, lock, alpha) for o in BOTH], 0
            )
            np.testing.assert_allclose(together[a, t], expected, atol=1e-5)
    plain = distribution(model, prompts.SYSTEM, statements, BOTH)
    np.testing.assert_allclose(together[0], plain[0], atol=1e-5)
    assert np.abs(together[2] - together[0]).max() > 0.02
    assert answer.values(np.array([[0.1, 0.2, 0.4, 0.1, 0.2], [0, 0, 0, 0, 1]])).tolist() == [3, 5]


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (" (A). Very Accurate", 5),
        (" (b)", 4),
        ("c.", 3),
        ("Sure, I can", 1),  # the word ends in e
        ("I would say: A)", 2),  # would
        ("Bad: A)", 2),
        ("\n\nOption (A)", 5),
        ("\n\n Option (A)", 0),  # the closing bracket is the 13th character
        ("12345678901A)", 0),
        ("1234567890A)", 5),
        ("xA)", 5),
        ("A1", 5),
        ("A\n", 5),
        ("A", 0),
        ("AB", 0),
        ("AB.", 4),
        ("F) G) 1", 0),
        ("(ä) (B)", 4),
        ("", 0),
    ],
)
def test_parse(reply, value):
    assert parse(reply) == value
    assert parse(reply, "reversed") == (6 - value if value else 0)


def test_parse_knows_every_letter_in_both_cases():
    for place, letter in enumerate("ABCDE"):
        for form in (f"({letter})", f" {letter.lower()}.", f"{letter}:"):
            assert parse(form) == 5 - place
            assert parse(form, "reversed") == 1 + place


def scripted(after):
    """A model that knows the last token only: `after` names what follows which token."""
    model = build(num_hidden_layers=1)
    hf, ids = model.hf, TOKENIZER.convert_tokens_to_ids
    layer = hf.model.layers[0]
    weights = (layer.self_attn.o_proj, layer.mlp.down_proj, hf.model.embed_tokens, hf.lm_head)
    for module in weights:
        module.weight.data.zero_()
    hf.model.norm.weight.data.fill_(1.0)
    for place, (token, following) in enumerate(after.items()):
        hf.model.embed_tokens.weight.data[ids(token), place] = 1.0
        hf.lm_head.weight.data[ids(following), place] = 10.0
    return model


@pytest.mark.parametrize("letter", list("ABCDE"))
def test_written_answers_are_read_from_what_the_model_writes(letter):
    model = scripted({"Option": " (", " (": letter, letter: ")", ")": "<eos>"})
    statements = [INVENTORY.items[i].text for i in TEST[:3]]
    assert wb.generate(model, [prompts.chat("s", "t", "Option")], max_new_tokens=15) == [
        [f" ({letter})"]
    ]
    forward = 5 - "ABCDE".index(letter)
    assert written(model, prompts.SYSTEM, statements).tolist() == 3 * [forward]
    assert written(model, prompts.SYSTEM, statements, "reversed").tolist() == 3 * [6 - forward]


@pytest.mark.parametrize("order", BOTH)
def test_the_model_is_asked_to_write_with_the_order_it_is_read_by(order, monkeypatch):
    seen = []
    monkeypatch.setattr(answer, "generate", lambda _, chats, **__: seen.extend(chats) or [["(A)"]])
    assert written(None, "Be kind.", ["like order"], order).tolist() == [prompts.ORDERS[order][0]]
    assert seen == [prompts.chat("Be kind.", "like order", "Option", order)]


def test_what_is_written_unreadably_is_unknown():
    model = scripted({"Option": " (", " (": ")", ")": " ("})
    assert written(model, prompts.SYSTEM, ["like order"] * 2).tolist() == [0, 0]


def test_collapse():
    assert not collapsed(np.array([[1, 2, 3, 4, 5], [3, 3, 4, 2, 3]]))
    assert not collapsed(np.array([0] * 15 + [4, 5] * 42 + [4]))  # 15 % exactly
    constant = collapsed(np.full((4, 10), 5))
    assert "collapsed (0.00 bits, 0% unreadable; how often each value, 0 for" in constant
    assert constant.endswith("{5: 40})")
    assert "(0.14 bits" in collapsed(np.array([5] * 98 + [4] * 2))
    # A constant for each person depends on no statement either; one of three who answers is enough.
    assert "(0.00 bits" in collapsed(np.array([[1] * 10, [3] * 10, [5] * 10]))
    assert not collapsed(np.array([[1] * 10, [3] * 10, [4, 5] * 5]))
    # One letter throughout, but for replies that hold none.
    assert "0.00 bits, 10% unreadable" in collapsed(np.array([0] * 10 + [5] * 90))
    assert "16% unreadable" in collapsed(np.array([0] * 16 + [4, 5] * 42))
    assert "0.00 bits, 100% unreadable" in collapsed(np.zeros((3, 3), int))


def test_answers_by_letters_and_as_written(model):
    lock, alphas = lock_of(model), (0.0, 4.0)
    statements = [INVENTORY.items[i].text for i in TEST[:4]]
    letters = answers(model, "Be kind.", statements, Settings(), direction=lock, alphas=alphas)
    expected = distribution(model, "Be kind.", statements, BOTH, direction=lock, alphas=alphas)
    assert letters.tolist() == (expected.argmax(-1) + 1).tolist()
    official = Settings().official()
    got = answers(model, "Be kind.", statements, official, direction=lock, alphas=alphas)
    assert got.shape == (2, 4)
    for row, alpha in zip(got, alphas, strict=True):
        with wb.steer(model, lock, alpha):
            assert row.tolist() == written(model, "Be kind.", statements).tolist()
    plain = answers(model, "Be kind.", statements, official)
    assert plain.tolist() == [written(model, "Be kind.", statements).tolist()]


def test_official_reads_what_is_written():
    model = scripted({"Option": " (", " (": "B", "B": ")", ")": "<eos>"})
    statements = [INVENTORY.items[i].text for i in TEST[:3]]
    assert answers(model, prompts.SYSTEM, statements, Settings().official()).tolist() == [[4] * 3]
