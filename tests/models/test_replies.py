"""Replies behind their chats: the tokens they have there, what is read of them, what is empty."""

import logging

import pytest
import torch
from tokenizers import normalizers

import workbench as wb
from tests.helpers.families import build
from tests.helpers.odd_tokenizers import (
    INST,
    VICUNA,
    ZEPHYR,
    around_text,
    model_of,
    normalised,
    sentencepiece,
)
from workbench.errors import DatasetError
from workbench.models.prompts import encode, messages

ASK = messages("Mend the gate.")
SURE = {"role": "assistant", "content": "Sure, mend it."}


@pytest.mark.parametrize("template", [ZEPHYR, INST, VICUNA], ids=["zephyr", "inst", "vicuna"])
@pytest.mark.parametrize("reply", ["Sure, mend", "S", "Never.", "mend the gate", "é", "1"])
def test_a_reply_has_the_tokens_it_has_behind_its_chat(template, reply):
    """As `apply_chat_template(continue_final_message=True)`, where no token spans the border."""
    own = sentencepiece(template)
    model = model_of(own)
    chat = [*ASK, {"role": "assistant", "content": reply}]
    encoded = encode(model, chat)
    head = own.apply_chat_template(ASK, add_generation_prompt=True)["input_ids"]
    whole = own.apply_chat_template(chat, continue_final_message=True)["input_ids"]
    assert encoded.ids[: encoded.start] == head
    assert own.decode(encoded.ids) == own.decode(whole)
    if whole[: len(head)] == head:
        assert encoded.ids == whole
    else:
        assert template == VICUNA  # "ASSISTANT: " ends in a space that the word would take in
        assert own.convert_ids_to_tokens(encoded.ids[encoded.start])[0] != "▁"


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
@pytest.mark.parametrize("template", [ZEPHYR, INST])
def test_what_a_model_wrote_is_read_again_as_the_tokens_it_wrote(template, scheme):
    own = sentencepiece(template, scheme)
    model = model_of(own)
    for words in ("Sure, mend the gate with the hammer.", "No, never."):
        chat = [*ASK, {"role": "assistant", "content": words}]
        whole = own.apply_chat_template(chat, continue_final_message=True)["input_ids"]
        head = encode(model, ASK).ids
        assert whole[: len(head)] == head
        # Decoding drops the space that the first token begins with.
        written = own.decode(whole[len(head) :])
        again = encode(model, [*ASK, {"role": "assistant", "content": written}])
        assert again.ids == whole


def test_a_reply_that_begins_with_white_space_keeps_it():
    model = model_of(sentencepiece(INST))
    one = encode(model, [*ASK, {"role": "assistant", "content": "Sure"}])
    other = encode(model, [*ASK, {"role": "assistant", "content": " Sure"}])
    assert one.ids == other.ids
    line = encode(model, [*ASK, {"role": "assistant", "content": "\nSure"}])
    assert model.tokenizer.convert_ids_to_tokens(line.ids[line.start]) == "\n"


def test_a_reply_that_would_melt_into_the_template_is_tokenised_as_the_model_writes_it(tokenizer):
    own = around_text(tokenizer, "<bos> $A")
    own.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}Su"
    model = build("llama", own)
    joined = tokenizer("Sure", add_special_tokens=False)["input_ids"]
    encoded = encode(model, [*messages("x"), {"role": "assistant", "content": "re"}])
    assert len(joined) == 1
    assert encoded.ids[encoded.start :] == tokenizer("re", add_special_tokens=False)["input_ids"]
    assert encoded.ids[: encoded.start] == encode(model, messages("x")).ids


@pytest.mark.parametrize("template", [None, ZEPHYR, INST, VICUNA])
def test_options_behind_a_chat_are_the_tokens_a_reply_begins_with(tokenizer, template):
    own = tokenizer if template is None else sentencepiece(template)
    model = model_of(own)
    vocabulary = own.get_vocab()
    both = sorted(t for t in vocabulary if f"▁{t}" in vocabulary and t.isalpha())
    options = both[:2] if template == INST else ["S", "R"]
    got = wb.option_logprobs(model, [ASK], options)[0]
    ids = [encode(model, [*ASK, {"role": "assistant", "content": o}]) for o in options]
    with torch.no_grad():
        logits = model.hf(torch.tensor([encode(model, ASK).ids])).logits[0, -1].log_softmax(-1)
    expected = logits[[e.ids[e.start] for e in ids]]
    assert all(len(e.ids) == e.start + 1 for e in ids)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("empty", ["", "\u200b"])
def test_of_an_empty_reply_nothing_is_read(tokenizer, empty):
    own = normalised(tokenizer, normalizers.Replace("\u200b", ""))
    model = build("llama", own)
    chats = [[*ASK, SURE], [*ASK, {"role": "assistant", "content": empty}]]
    for positions in (wb.last(1), wb.last(5), wb.response()):
        with pytest.raises(DatasetError, match="prompt 1 ends in a reply without a token"):
            wb.capture(model, chats, "resid", positions)
    assert list(wb.last(2).pick(encode(model, chats[1]))) == []
    head = encode(model, ASK).ids
    assert wb.capture(model, chats, "resid", wb.all_tokens()).lengths[1] == len(head)
    # A reply that has not begun is continued from the template's end.
    assert wb.generate(model, chats[1:], max_new_tokens=5) == wb.generate(
        model, [ASK], max_new_tokens=5
    )


def test_prompts_without_a_reply_are_counted(tiny, caplog):
    with caplog.at_level(logging.WARNING):
        wb.capture(tiny, [[*ASK, SURE], ASK, "Mend it."], "resid", wb.response())
    assert "2 of 3 texts have fewer than 1 tokens to read" in caplog.text


@pytest.mark.parametrize("k", [1, 2, 3, 500])
def test_the_last_tokens_are_a_replys_own_or_the_prompts(tiny, k):
    reply = tiny.tokenizer(SURE["content"], add_special_tokens=False)["input_ids"]
    encoded = encode(tiny, [*ASK, SURE])
    assert [encoded.ids[i] for i in wb.last(k).pick(encoded)] == reply[-k:]
    for prompt in (ASK, "Mend the gate."):
        encoded = encode(tiny, prompt)
        assert [encoded.ids[i] for i in wb.last(k).pick(encoded)] == encoded.ids[-k:]
    end = tiny.tokenizer.convert_tokens_to_ids("<assistant>")
    assert encode(tiny, ASK).ids[-1] == end


def test_a_reply_to_no_message_is_refused(tiny):
    with pytest.raises(DatasetError, match="prompt 1 is a reply alone"):
        wb.generate(tiny, [ASK, [SURE]])


CHATML = "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '<eos>' }}{% endfor %}"
PROMPTING = CHATML + "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"


@pytest.mark.parametrize(("template", "told"), [(CHATML, True), (PROMPTING, False), (INST, False)])
def test_a_template_without_a_generation_prompt_is_told(tokenizer, template, told, caplog):
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = template
    with caplog.at_level(logging.WARNING):
        ids = encode(model, ASK).ids
    assert ("has no generation prompt, and writes '<assistant>'" in caplog.text) == told
    assert (
        ids
        == tokenizer.apply_chat_template(ASK, chat_template=template, add_generation_prompt=True)[
            "input_ids"
        ]
    )


def test_what_a_template_writes_in_a_reply_is_no_part_of_it(tokenizer):
    """Qwen 3's empty thoughts, say: the model is asked with the generation prompt alone."""
    model = build("llama", tokenizer)
    model.tokenizer.chat_template = PROMPTING.replace(
        "+ m.content", "+ ('thought ' if m.role == 'assistant' else '') + m.content"
    )
    encoded = encode(model, [*ASK, SURE])
    assert encoded.ids[: encoded.start] == encode(model, ASK).ids
    assert tokenizer.decode(encoded.ids[encoded.start :]) == SURE["content"]
