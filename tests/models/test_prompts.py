"""Prompts to token ids: padded rows against a slow twin, and unusable prompts by their number."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

import workbench as wb
from tests.helpers.families import build
from workbench.errors import DatasetError, ModelError
from workbench.models.prompts import encode, encode_all, messages, padded

ROWS = st.lists(st.lists(st.integers(0, 99), max_size=6), min_size=1, max_size=5)


@given(rows=ROWS, side=st.sampled_from(["left", "right"]))
def test_padded_rows_are_those_filled_one_token_at_a_time(rows, side):
    ids, attention = padded(rows, 77, side)
    width = max(len(row) for row in rows)
    assert ids.dtype == attention.dtype == torch.int64
    assert ids.shape == attention.shape == (len(rows), width)
    for row, padded_row, mask in zip(rows, ids.tolist(), attention.tolist(), strict=True):
        expected, missing = list(row), [77] * (width - len(row))
        assert padded_row == (missing + expected if side == "left" else expected + missing)
        ones, zeros = [1] * len(row), [0] * len(missing)
        assert mask == (zeros + ones if side == "left" else ones + zeros)


def test_messages_of_one_turn():
    user = {"role": "user", "content": "Mend it."}
    assert messages("Mend it.") == [user]
    assert messages("Mend it.", "") == [user]
    assert messages("Mend it.", "Be kind.") == [{"role": "system", "content": "Be kind."}, user]


def test_many_prompts_are_encoded_as_one_by_one(tiny):
    """Strings keep the tokenizer's special tokens; chats and replies get none of them."""
    reply = {"role": "assistant", "content": "Sure, mend the gate."}
    prompts = ["Mend the gate.", messages("Mend it.", "Be kind."), [*messages("Mend it."), reply]]
    tokenizer = tiny.tokenizer
    for prompt, encoded in zip(prompts, encode_all(tiny, prompts), strict=True):
        assert encoded == encode(tiny, prompt)
        if isinstance(prompt, str):
            assert encoded.ids == tokenizer(prompt)["input_ids"]
            continue
        turns = [m for m in prompt if m["role"] != "assistant"]
        head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        head_ids = tokenizer(head, add_special_tokens=False)["input_ids"]
        assert encoded.ids[: encoded.start] == head_ids
        text = tokenizer.decode(encoded.ids[encoded.start :])
        assert text == (reply["content"] if reply in prompt else "")


def test_a_chat_has_the_special_tokens_of_its_template_alone(tokenizer):
    """Tokenizers that put a <bos> before every text would give a chat two."""
    tokenizer = copy.deepcopy(tokenizer)
    bos = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", bos)]
    )
    model = build("llama", tokenizer)
    assert encode(model, "Mend it.").ids[:1] == [bos]
    chat = [*messages("Mend it."), {"role": "assistant", "content": "Sure."}]
    for prompt in (chat[:1], chat):
        assert encode(model, prompt).ids.count(bos) == 1


def test_last_needs_a_token():
    with pytest.raises(ValueError, match="k=0: it must be a whole number at least 1"):
        wb.last(0)


def test_template_that_rejects_a_role(tiny):
    with pytest.raises(ModelError, match=r"rejects roles \['critic'\].*roles are system"):
        encode(tiny, [{"role": "critic", "content": "x"}])
    with pytest.raises(DatasetError, match="a chat is a list"):
        encode(tiny, [{"role": "user"}])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("", "prompt 1 is an empty string"),
        (7, "prompt 1 is neither a string nor a chat"),
        (None, "prompt 1 is neither"),
        ([{"role": "user", "content": 3}], "prompt 1 is neither"),
        ([], "prompt 1 is neither"),
        ("gate " * 600, r"prompt 1 has 60\d tokens, more than the \d+ of tiny's context"),
    ],
)
def test_unusable_prompts_are_numbered(tiny, bad, message):
    assert tiny.context_length < 600
    count = tiny.context_length - len(tiny.tokenizer("gate")["input_ids"])
    full = "gate" + " gate" * count
    assert len(encode(tiny, full).ids) == tiny.context_length
    with pytest.raises(DatasetError, match="more than"):
        encode(tiny, full + " gate")
    with pytest.raises(DatasetError, match=message):
        wb.capture(tiny, ["Hello.", bad])
    with pytest.raises(DatasetError, match=message):
        wb.generate(tiny, ["Hello.", bad])


def test_tokens_beyond_the_embedding_are_named(tokenizer):
    model = build("llama", tokenizer)
    model.tokenizer.add_tokens(["gatehouse"])
    with pytest.raises(ModelError, match=r"prompt 1 has the tokens \[\d+\], but .* embeds only"):
        wb.generate(model, ["Hello.", "the gatehouse"])
