"""Tokenizers that cannot train: no end token, no pad token, a pad that the model does not embed."""

import copy

import pytest
import torch
from datasets import Dataset

from tests.helpers.families import build
from tests.helpers.odd_tokenizers import around_text
from workbench.errors import ModelError
from workbench.models.prompts import messages
from workbench.training.adapter import dpo_adapter
from workbench.training.pairs import tokenised
from workbench.training.supervised import IGNORED, collate

PAIR = {
    "prompt": messages("Mend it."),
    "chosen": [{"role": "assistant", "content": "Sure."}],
    "rejected": [{"role": "assistant", "content": "No."}],
}


@pytest.fixture
def own(tokenizer):
    return copy.deepcopy(tokenizer)


@pytest.mark.parametrize("text", [("Mend it.", "Sure."), (messages("Mend it."), "Sure.")])
def test_replies_need_an_end_token(own, text):
    own.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        collate(own, [text])


def test_text_pairs_need_an_end_token(own):
    own.eos_token = None
    rows = Dataset.from_list([{"prompt": "Mend", "chosen": " it.", "rejected": " no."}])
    with pytest.raises(ModelError, match="no end token"):
        tokenised(rows, own, None)


def test_text_pairs_do_not_end_twice(own):
    rows = Dataset.from_list([{"prompt": "Mend", "chosen": " it.", "rejected": " no."}])
    assert tokenised(rows, own, None)[0]["chosen_ids"].count(own.eos_token_id) == 1
    with pytest.raises(ModelError, match=r"appends \['<eos>'\] to every text"):
        tokenised(rows, around_text(own, "<bos> $A <eos>"), None)
    chats = Dataset.from_list([PAIR])
    (row,) = tokenised(chats, around_text(own, "<bos> $A <eos>"), None)
    assert row == tokenised(chats, own, None)[0]


def test_an_end_token_is_trained_on_where_it_is_the_pad_too(own):
    texts = [("Mend it.", "Sure."), ("Mend the gate of Mara.", "Sure, mend the gate.")]
    before = collate(own, texts)
    own.pad_token = own.eos_token
    after = collate(own, texts)
    assert torch.equal(before["labels"], after["labels"])
    assert torch.equal(before["attention_mask"], after["attention_mask"])
    for row, labels in zip(after["input_ids"], after["labels"], strict=True):
        counted = labels != IGNORED
        assert torch.equal(row[counted], labels[counted])
        assert row[counted].tolist().count(own.eos_token_id) == 1
        assert row[counted][-1] == own.eos_token_id


def test_no_pad_token_fills_rows_that_nothing_reads(own):
    texts = [("Mend it.", "Sure."), ("Mend the gate of Mara.", "Sure, mend the gate.")]
    before = collate(own, texts)
    own.pad_token = None
    after = collate(own, texts)
    real = before["attention_mask"].bool()
    assert torch.equal(after["input_ids"][real], before["input_ids"][real])
    assert torch.equal(after["labels"], before["labels"])


@pytest.mark.parametrize("pad", [None, 10**6, -1])
def test_a_trainer_needs_a_pad_token_that_is_embedded(tokenizer, pad, monkeypatch):
    model = build("llama", tokenizer)
    monkeypatch.setattr(type(model.tokenizer), "pad_token_id", pad, raising=False)
    match = rf"has the id {pad}, and the model embeds {model.n_tokens}"
    with pytest.raises(ModelError, match=match), dpo_adapter(model, [PAIR], steps=1, batch=1):
        pass
