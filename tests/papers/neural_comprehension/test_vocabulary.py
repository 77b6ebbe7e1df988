"""What tokens write, against the tokenizers' own decoders."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.odd_tokenizers import sentencepiece, small_alphabet
from tests.helpers.sum_tokenizers import KINDS, sum_tokenizer
from workbench.errors import ModelError
from workbench.papers.neural_comprehension.rules import SPECIAL
from workbench.papers.neural_comprehension.vocabulary import vocabulary_of

MADE = {
    **{kind: (lambda kind=kind: sum_tokenizer(kind)) for kind in KINDS},
    "sentencepiece": sentencepiece,
    "sentencepiece-always": lambda: sentencepiece(scheme="always"),
}
TEXTS = st.lists(
    st.sampled_from(["12", "+", "34", "=", " ", "=4", "34=", " = ", "Ann", " is", "5", "é", "."]),
    min_size=1,
    max_size=8,
).map("".join)


@pytest.mark.parametrize("kind", MADE)
@settings(max_examples=30, deadline=None)
@given(before=TEXTS, answer=st.from_regex(r"\A[ -]?[0-9]{1,12}\Z|\A [a-z]{1,9}\Z"))
def test_answers_are_written_exactly_or_not_at_all(kind, before, answer):
    tokenizer = MADE[kind]()
    vocabulary = vocabulary_of(tokenizer)
    ids = tokenizer(before, add_special_tokens=False)["input_ids"]
    spelled = vocabulary.spelled(ids, answer)
    assert spelled
    assert tokenizer.decode([*ids, *spelled]) == tokenizer.decode(ids) + answer
    pieces = "".join(vocabulary.pieces[i] for i in spelled)
    assert pieces == answer


@pytest.mark.parametrize("kind", MADE)
@settings(max_examples=30, deadline=None)
@given(text=TEXTS, trigger=st.sampled_from(["=", " =", " is", "->", "é"]))
def test_a_trigger_ends_in_no_other_token(kind, text, trigger):
    tokenizer = MADE[kind]()
    vocabulary = vocabulary_of(tokenizer)
    ids = tokenizer(f"a{text}{trigger}", add_special_tokens=False)["input_ids"]
    hot = vocabulary.completing(frozenset([trigger]))
    for n in range(1, len(ids) + 1):
        before, text = tokenizer.decode(ids[: n - 1]), tokenizer.decode(ids[:n])
        # Bytes of a character that is not whole yet stand for those before it, too.
        if "\ufffd" not in before + text and text.count(trigger) > before.count(trigger):
            assert ids[n - 1] in hot


@pytest.mark.parametrize("kind", MADE)
def test_what_tokens_begin_with_is_seen_behind_another(kind):
    """A space that a token begins with is lost where it is decoded alone."""
    tokenizer = MADE[kind]()
    vocabulary = vocabulary_of(tokenizer)
    beginning = set(vocabulary.beginning("0123456789.,"))
    (before,) = tokenizer(["x"], add_special_tokens=False)["input_ids"]
    head = tokenizer.decode(before)
    for i in range(len(tokenizer)):
        behind = tokenizer.decode([*before, i])[len(head) :]
        assert (i in beginning) == (behind[:1] in set("0123456789.,"))
    assert len(beginning) >= 12


def test_special_tokens_stand_out():
    tokenizer = sum_tokenizer("digits")
    ids = tokenizer("<pad><pad>12<mark>+3=<eos>")["input_ids"]
    assert vocabulary_of(tokenizer).read(ids) == f"{SPECIAL * 2}12{SPECIAL}+3={SPECIAL}"
    assert vocabulary_of(tokenizer).read(ids[2:4]) == "12"


def test_what_a_tokenizer_cannot_write():
    letters = vocabulary_of(small_alphabet())
    ids = letters.tokenizer("mend", add_special_tokens=False)["input_ids"]
    assert letters.spelled(ids, "42") is None
    assert letters.spelled(ids, "") in ([], None)
    with pytest.raises(ModelError, match="no token that ends '='"):
        letters.completing(frozenset("="))
    with pytest.raises(ModelError, match="object has no decode"):
        vocabulary_of(object())
