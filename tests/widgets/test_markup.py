"""Tokens as HTML: pieces that together are the text."""

import functools

from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from workbench.paths import data_folder
from workbench.widgets.markup import pieces


@settings(max_examples=100, deadline=None)
@given(
    st.text(min_size=1, max_size=30) | st.sampled_from(["naïve 🎉 x", "日本", " mend the gate."])
)
def test_pieces_are_the_text_one_for_each_token(text):
    tokenizer = embedded_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if ids:
        found = pieces(tokenizer, text)
        assert "".join(found) == text
        assert len(found) == len(ids)


def test_pieces_are_one_for_each_token_that_the_text_has_in_its_place():
    """Behind a chat a reply may be other tokens than alone."""
    tokenizer = embedded_tokenizer()
    ids = [i for c in "gate" for i in tokenizer(c, add_special_tokens=False)["input_ids"]]
    assert pieces(tokenizer, "gate", ids) == list("gate")
    alone = tokenizer(" the gate", add_special_tokens=False)["input_ids"]
    assert pieces(tokenizer, " the gate", alone) == [" the", " gate"]


@functools.cache
def embedded_tokenizer():
    return AutoTokenizer.from_pretrained(data_folder() / "tiny")
