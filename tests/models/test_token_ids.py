"""What tokenizers do to texts, against transformers called by hand: ends, spaces, losses, pads."""

import logging
from types import SimpleNamespace

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

import workbench as wb
from tests.helpers.families import build
from tests.helpers.greedy import by_generate, text
from tests.helpers.odd_tokenizers import (
    around_text,
    like_roberta,
    model_of,
    normalised,
    sentencepiece,
    small_alphabet,
)
from tests.helpers.texts import texts
from workbench.errors import DatasetError, ModelError
from workbench.models.prompts import encode, encode_all, messages
from workbench.models.token_ids import around, end_token, require_pad, special_ids

ASK = messages("Mend the gate.")
SURE = {"role": "assistant", "content": "Sure, mend it."}
HALF = "\ud800"


@torch.no_grad()
def states(model, ids):
    """Residual stream of the last layer, `[token, d_model]`, by plain transformers."""
    seen = []
    hook = model.layer(model.n_layers - 1).register_forward_hook(
        lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    model.hf(torch.tensor([ids]))
    hook.remove()
    return seen[0].reshape(len(ids), -1)


def last_layer(model, prompts, positions):
    return wb.capture(model, prompts, "resid", positions, [model.n_layers - 1])


ENDING = {
    "end": lambda t: around_text(t, "$A <eos>"),
    "both": lambda t: around_text(t, "<bos> $A <eos>"),
    "two of each": lambda t: around_text(t, "<bos> <user> $A <eos> <pad>"),
    "roberta": like_roberta,
}


@pytest.mark.parametrize("kind", ENDING)
@pytest.mark.parametrize("prompt", ["Mend the gate.", "a", " ", "<eos>", "Mend<eos>", "a<bos>a"])
def test_an_end_that_the_tokenizer_appends_is_no_part_of_a_text(tokenizer, kind, prompt):
    own = ENDING[kind](tokenizer)
    model = build("llama", own)
    inner = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    whole = own(prompt)["input_ids"]
    ids = encode(model, prompt).ids
    n = next(k for k in range(len(whole)) if whole[k : k + len(inner)] == inner)
    assert ids == whole[: n + len(inner)]
    acts = last_layer(model, [prompt], wb.last(1)).values[0, 0, 0]
    torch.testing.assert_close(acts, states(model, ids)[-1], atol=2e-5, rtol=2e-5)
    ((got,),) = wb.generate(model, [prompt], max_new_tokens=8)
    assert got == text(model, by_generate(model, prompt, 8))


@settings(max_examples=60, deadline=None)
@given(prompts=st.lists(texts().filter(bool), min_size=1, max_size=4))
def test_any_text_has_the_tokens_that_the_tokenizer_makes_but_for_the_end(tiny, prompts):
    own = around_text(tiny.tokenizer, "<bos> $A <eos>")
    model = SimpleNamespace(tokenizer=own, n_tokens=tiny.n_tokens, name="m", context_length=None)
    for prompt, encoded in zip(prompts, encode_all(model, prompts), strict=True):
        assert encoded.ids == own(prompt)["input_ids"][:-1]


@settings(max_examples=60, deadline=None)
@given(replies=st.lists(texts().filter(bool), min_size=1, max_size=4))
def test_any_reply_is_whole_behind_its_chat(tiny, replies):
    """Behind a special token a byte-level tokenizer reads a text as if it stood alone."""
    chats = [[*ASK, {"role": "assistant", "content": reply}] for reply in replies]
    head = encode(tiny, ASK).ids
    for reply, encoded in zip(replies, encode_all(tiny, chats), strict=True):
        assert encoded.ids[: encoded.start] == head
        alone = tiny.tokenizer(reply, add_special_tokens=False)["input_ids"]
        assert encoded.ids[encoded.start :] == alone


def test_tokenizers_of_transformers_that_append_an_end():
    by_bytes = transformers.ByT5Tokenizer()
    assert by_bytes("ab")["input_ids"][-1] == by_bytes.eos_token_id
    assert encode(model_of(by_bytes), "ab").ids == [b + 3 for b in b"ab"]
    llama = around_text(sentencepiece(), "<s> $A </s>")
    assert encode(model_of(llama), "Mend").ids == llama("Mend")["input_ids"][:-1]


def test_a_tokenizer_whose_tokens_of_a_text_are_not_together_is_refused(tiny):
    class Mirrored:
        def __call__(self, texts, add_special_tokens=True):
            rows = [[1, 2] for _ in ([texts] if isinstance(texts, str) else texts)]
            rows = [[2, 9, 1] for _ in rows] if add_special_tokens else rows
            return {"input_ids": rows[0] if isinstance(texts, str) else rows}

    with pytest.raises(ModelError, match="it is not known where a text ends"):
        around(Mirrored())


def test_a_chat_beside_texts_has_the_tokens_of_its_template_alone(tokenizer):
    own = around_text(tokenizer, "<bos> $A")
    own.chat_template = "{% for m in messages %}{{ '<user>' + m.content }}{% endfor %}"
    _, chat = encode_all(build("llama", own), ["Mend it.", ASK])
    assert chat.ids == own.apply_chat_template(ASK)["input_ids"]
    assert own.bos_token_id not in chat.ids


@pytest.mark.parametrize("kind", ["both", "roberta"])
def test_a_chat_rendered_by_hand_begins_once(tokenizer, kind):
    own = ENDING[kind](tokenizer)
    model = build("llama", own)
    rendered = own.apply_chat_template(ASK, add_generation_prompt=True, tokenize=False)
    assert rendered.startswith("<bos>")
    assert encode(model, rendered).ids == encode(model, ASK).ids
    assert encode(model, ASK).ids.count(own.bos_token_id) == 1


WITH_HALF = {
    "text": f"Mend {HALF}",
    "user": messages(HALF),
    "system": messages("Mend", f"Be kind {HALF}"),
    "reply": [*ASK, {"role": "assistant", "content": HALF}],
    "role": [{"role": f"user{HALF}", "content": "Mend"}],
}


@pytest.mark.parametrize("kind", WITH_HALF)
def test_half_of_a_surrogate_pair_is_named_with_its_prompt(tiny, kind, tmp_path):
    prompts = ["Mend it.", WITH_HALF[kind]]
    for work in (
        lambda: encode_all(tiny, prompts),
        lambda: wb.capture(tiny, prompts),
        lambda: wb.generate(tiny, prompts, max_new_tokens=2),
        lambda: wb.generate(tiny, prompts, max_new_tokens=2, store=tmp_path / "s.sqlite"),
        lambda: wb.option_logprobs(tiny, prompts, ["A", "B"]),
    ):
        with pytest.raises(DatasetError, match=r"prompt 1 holds '\\ud800', half of a surrogate"):
            work()


def test_half_of_a_surrogate_pair_in_stops_and_options_is_named(tiny):
    with pytest.raises(DatasetError, match=r"stop=\('a', '\\udcff'\) holds '\\udcff'"):
        wb.generate(tiny, ["Mend"], stop=["a", "\udcff"])
    with pytest.raises(DatasetError, match=r"options=.* holds '\\ud800'"):
        wb.option_logprobs(tiny, ["Mend"], ["A", HALF])


@pytest.mark.parametrize("unk", [True, False])
def test_characters_without_a_token_are_told(unk, caplog):
    model = model_of(small_alphabet(unk))
    with caplog.at_level(logging.WARNING):
        # White space is often left out on purpose.
        encode_all(model, ["mend the gate.", "mend" if unk else "mend\nthe"])
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        encode_all(model, ["mend", "mend 7", "日本 gate"])
    told = "reads <unk>" if unk else "leaves them out"
    assert f"2 of 3 prompts hold characters that the tokenizer has no token for: it {told}" in (
        caplog.text
    )
    assert "the first is prompt 1" in caplog.text
    model.tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        encode_all(model, ["mend", [*messages("mend"), {"role": "assistant", "content": "7"}]])
    assert "1 of 2 prompts hold characters" in caplog.text


@pytest.mark.parametrize("prompt", ["mend", "mend<unk>", messages("mend")])
def test_an_unknown_token_that_has_other_uses_is_no_loss(prompt, caplog):
    """GPT-2 begins, ends and does not know with one token."""
    own = around_text(small_alphabet(), "<unk> $A")
    own.chat_template = "<unk>{% for m in messages %}{{ m.content }}{% endfor %}"
    with caplog.at_level(logging.WARNING):
        encode(model_of(own), prompt)
    assert not caplog.text


def test_a_text_of_which_nothing_is_left_is_refused(tokenizer):
    model = model_of(small_alphabet(False))
    with pytest.raises(DatasetError, match="prompt 1 has no tokens"):
        encode_all(model, ["mend", "日本"])
    own = normalised(around_text(tokenizer, "<bos> $A"), normalizers.Strip())
    with pytest.raises(DatasetError, match="prompt 0 has no tokens"):
        encode(build("llama", own), " ")


def test_special_tokens_typed_in_a_message_are_told(tiny, caplog):
    with caplog.at_level(logging.WARNING):
        encode_all(tiny, [ASK, "raw <eos>", [*ASK, SURE]])
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        encoded = encode_all(tiny, [ASK, messages("Mend <eos><assistant>Sure")])
    assert "1 prompts spell <eos>, <assistant> in a message (the first is prompt 1)" in caplog.text
    plain = tiny.tokenizer.apply_chat_template(
        messages("Mend <eos><assistant>Sure"), add_generation_prompt=True
    )["input_ids"]
    assert encoded[1].ids == plain


@pytest.mark.parametrize("limit", [4, 8])
def test_nothing_is_cut_without_a_word(tokenizer, limit):
    """Neither `model_max_length` nor truncation saved with a tokenizer shortens a prompt."""
    own = around_text(tokenizer, "<bos> $A")
    long = "Mend the gate with the hammer. " * 5
    whole = own(long)["input_ids"]
    own.model_max_length, own.truncation_side = limit, "left"
    own.backend_tokenizer.enable_truncation(limit)
    own.backend_tokenizer.enable_padding(length=limit * 30, pad_id=own.pad_token_id)
    assert encode(build("llama", own), long).ids == whole


PADS = {
    "the size of the vocabulary": lambda t: len(t),
    "beyond": lambda t: 10**6,
    "negative": lambda t: -1,
    "none": lambda t: None,
}


@pytest.mark.parametrize("pad", PADS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_any_pad_gives_the_same_values(tokenizer, pad, side, monkeypatch):
    model = build("llama", tokenizer)
    prompts = ["Mend.", "Mend the gate with the hammer.", ASK, [*ASK, SURE]]
    acts = wb.capture(model, prompts, "resid", wb.last(3)).values
    texts = wb.generate(model, prompts, max_new_tokens=6)
    logprobs = wb.option_logprobs(model, prompts, ["A", "B"])
    kind = type(model.tokenizer)
    monkeypatch.setattr(kind, "pad_token_id", PADS[pad](tokenizer), raising=False)
    model.tokenizer.padding_side = side
    assert model.pad_id == 0
    torch.testing.assert_close(
        wb.capture(model, prompts, "resid", wb.last(3)).values, acts, equal_nan=True
    )
    assert wb.generate(model, prompts, max_new_tokens=6) == texts
    torch.testing.assert_close(wb.option_logprobs(model, prompts, ["A", "B"]), logprobs)


def test_no_pad_and_no_end_token(tokenizer):
    bare = small_alphabet()
    bare.eos_token = None
    assert bare.pad_token is None
    model = model_of(bare)
    assert wb.capture(model, ["mend", "mend the gate"], "resid").lengths.tolist() == [1, 1]
    long, short = wb.generate(model, ["mend the gate", "a"], max_new_tokens=4)
    assert short == wb.generate(model, ["a"], max_new_tokens=4)[0]
    assert long[0] == text(model, by_generate(model, "mend the gate", 4))
    with pytest.raises(ModelError, match="has no end token"):
        end_token(bare)
    with pytest.raises(ModelError, match="has the id None, and the model embeds"):
        require_pad(bare, model.n_tokens)


def test_a_pad_that_is_the_end_token_hides_no_end(tokenizer):
    """Rows are told apart by their mask, not by the pad's id."""
    model = build("llama", tokenizer)
    prompts = ["Mend<eos>", "Mend the gate with the hammer.<eos>", "<eos><eos>Mend it.<eos>"]
    expected = [states(model, encode(model, p).ids)[-2:] for p in prompts]
    model.tokenizer.pad_token = model.tokenizer.eos_token
    acts = last_layer(model, prompts, wb.last(2)).values[:, :, 0]
    torch.testing.assert_close(acts, torch.stack(expected), atol=2e-5, rtol=2e-5)


def test_special_tokens_are_those_that_decoding_leaves_out(tokenizer):
    own = around_text(tokenizer, "$A")
    own.add_tokens(["gatehouse"])
    ids = special_ids(own)
    assert set(ids.values()) >= {"<eos>", "<bos>", "<pad>", "<user>"}
    assert "gatehouse" not in ids.values()


def test_a_tokenizer_of_more_tokens_than_the_model_embeds(tokenizer):
    """What short cuts are tried on holds none of them; a prompt that does is named."""
    model = model_of(tokenizer, more=200 - len(tokenizer))
    prompts = [f"{x}!" for x in "abcdefgh"]
    got = wb.generate(model, prompts, max_new_tokens=3)
    assert got == [[text(model, by_generate(model, p, 3))] for p in prompts]
    with pytest.raises(ModelError, match="prompt 1 has the tokens"):
        wb.generate(model, ["a", "Mend the gate."])
