"""Replies of an encoder–decoder model are those of a plain greedy loop, whatever its batch."""

import pytest
import torch
from transformers import BertConfig, BertModel

from workbench.errors import ModelError
from workbench.models.seq2seq import Seq2Seq, load_seq2seq
from workbench.readers.trained import small_reader
from workbench.worlds.pools import questions

MODEL = small_reader(questions("train", 12, pool=10), 0, 16).model
TEXTS = ["question: what is the capital of @0? facts: f1 @0 has @1.", "question: who?", "@1 @2", ""]


def greedy(text: str, new: int) -> str:
    """One token at a time, by whole forwards over all before it."""
    inputs = MODEL.tokenizer(text, return_tensors="pt")
    ids = [0]
    with torch.no_grad():
        for _ in range(new):
            logits = MODEL.hf(
                input_ids=inputs.input_ids, attention_mask=inputs.attention_mask,
                decoder_input_ids=torch.tensor([ids]),
            ).logits  # fmt: skip
            ids.append(int(logits[0, -1].argmax()))
            if ids[-1] == 1:
                break
    return MODEL.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_replies_are_those_of_a_plain_loop():
    assert MODEL.write(TEXTS, 4) == [greedy(text, 4) for text in TEXTS]
    assert MODEL.write([], 4) == []


def test_a_saved_model_writes_the_same(tmp_path):
    MODEL.hf.save_pretrained(tmp_path)
    MODEL.tokenizer.save_pretrained(tmp_path)
    loaded = load_seq2seq(tmp_path)
    assert isinstance(loaded, Seq2Seq)
    assert loaded.write(TEXTS, 4) == MODEL.write(TEXTS, 4)
    assert loaded.identity() == load_seq2seq(tmp_path).identity()
    other = small_reader(questions("train", 12, pool=10), 1, 16).model
    assert other.identity() != MODEL.identity()


def test_what_is_no_such_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="neither a folder here nor"):
        load_seq2seq(tmp_path / "nowhere")
    BertModel(
        BertConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=16)
    ).save_pretrained(tmp_path)  # fmt: skip
    MODEL.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError):
        load_seq2seq(tmp_path)
