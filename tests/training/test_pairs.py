"""Preference pairs: what is refused, and tokenised as TRL does."""

import logging

import pytest
import torch
from datasets import Dataset, IterableDataset
from trl import DPOConfig, DPOTrainer

from tests.helpers.fpo_toys import llama, preference_pairs, tokenizer
from workbench.errors import PairError
from workbench.sae.pooling import stack_pairs
from workbench.training import pairs

GOOD = {"prompt": "p", "chosen": "yes", "rejected": "no"}


def test_pairs_without_their_columns_say_which_there_are():
    with pytest.raises(PairError, match=r"found prompt, answer; missing chosen, rejected"):
        pairs.checked(Dataset.from_list([{"prompt": "p", "answer": "a"}]), "train")
    with pytest.raises(PairError, match="no pairs"):
        pairs.checked(Dataset.from_dict({"prompt": [], "chosen": [], "rejected": []}), "train")


@pytest.mark.parametrize("column", ["prompt", "chosen", "rejected"])
def test_none_is_refused_with_its_row(column):
    rows = Dataset.from_list([GOOD, {**GOOD, column: None}])
    with pytest.raises(PairError, match="row 1"):
        pairs.checked(rows, "train")


def test_both_answers_empty_is_an_error_and_one_a_warning(caplog):
    with pytest.raises(PairError, match="row 1"):
        pairs.checked(Dataset.from_list([GOOD, {**GOOD, "chosen": "", "rejected": ""}]), "train")
    with caplog.at_level(logging.WARNING):
        kept = pairs.checked(Dataset.from_list([GOOD, {**GOOD, "rejected": ""}]), "train")
    assert len(kept) == 2
    assert "1 pairs with an empty answer (first: row 1)" in caplog.text


def test_identical_answers_are_counted_and_dropped_on_request(caplog):
    rows = Dataset.from_list([GOOD, {**GOOD, "rejected": "yes"}, GOOD, GOOD])
    with caplog.at_level(logging.WARNING):
        assert len(pairs.checked(rows, "train")) == 4
    assert "1 of 4 pairs (25.0 %)" in caplog.text
    assert len(pairs.checked(rows, "train", drop_identical=True)) == 3


def test_a_text_prompt_beside_conversations_becomes_one(caplog):
    user = {"role": "user", "content": "p"}

    def said(text):
        return [user, {"role": "assistant", "content": text}]

    rows = Dataset.from_list(
        [{"prompt": "p", "chosen": said("yes"), "rejected": said("no"), "x": 1}]
    )
    with caplog.at_level(logging.WARNING):
        row = pairs.checked(rows, "train")[0]
    assert row["prompt"] == [user]
    assert row["chosen"] == [{"role": "assistant", "content": "yes"}]
    assert row["rejected"] == [{"role": "assistant", "content": "no"}]
    assert "conversations" in caplog.text


def test_an_answer_that_is_no_text_is_refused():
    with pytest.raises(PairError, match="row 0: chosen is int"):
        pairs.checked(Dataset.from_list([{"prompt": "p", "chosen": 3, "rejected": 4}]), "train")


def test_streams_are_checked_by_column():
    stream = IterableDataset.from_generator(lambda: iter([{"prompt": "p", "chosen": "a"}]))
    with pytest.raises(PairError, match="missing rejected"):
        pairs.checked(stream, "train")


def test_tokenised_pairs_without_a_token_are_dropped_with_their_number(caplog):
    rows = Dataset.from_list(
        [
            {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": [3]},
            {"prompt_ids": [1], "chosen_ids": [2], "rejected_ids": []},
        ]
    )
    with caplog.at_level(logging.WARNING):
        assert len(pairs.usable(rows, "train", 2, 64)) == 1
    assert "1 pairs dropped" in caplog.text


# ---- tokenised as TRL does --------------------------------------------------------------------

CHAT = [
    {"prompt": [{"role": "user", "content": "w1 w2 w3"}],
     "chosen": [{"role": "assistant", "content": "w4 w5"}],
     "rejected": [{"role": "assistant", "content": "w6"}]},
    {"prompt": [{"role": "user", "content": "w9"}],
     "chosen": [{"role": "assistant", "content": "w4 " * 40}],
     "rejected": [{"role": "assistant", "content": "w5 w7"}]},
]  # fmt: skip
WITH_PROMPT = [
    {a: row["prompt"] + row[a] for a in ("chosen", "rejected")} for row in CHAT
]  # the prompt is what both begin with
TEXT = [
    *preference_pairs(12).to_list(),
    {"prompt": "<s> w1", "chosen": " w2", "rejected": " w3 </s>"},  # the end is added
    {"prompt": "<s>" + " w1" * 40, "chosen": " w2 </s>", "rejected": " w3 </s>"},  # too long
    {"prompt": "<s> w1", "chosen": " w2" * 40, "rejected": " w3 </s>"},  # cut
]


@pytest.mark.parametrize("rows", [TEXT, CHAT, WITH_PROMPT], ids=["text", "chat", "no prompt"])
@pytest.mark.parametrize("max_length", [20, None])
def test_tokenised_pairs_are_those_that_trls_trainer_trains_on(tmp_path, rows, max_length):
    words = tokenizer()
    words.chat_template = pairs.CHAT_TEMPLATE
    dataset = pairs.checked(Dataset.from_list(rows), "train")
    trainer = DPOTrainer(
        llama(),
        llama(),
        args=DPOConfig(
            output_dir=str(tmp_path), max_length=max_length, bf16=False, report_to="none"
        ),
        train_dataset=dataset,
        processing_class=words,
    )
    expected = trainer.data_collator(trainer.train_dataset.to_list())
    found = pairs.tokenised(dataset, words, max_length)
    assert (
        len(found) == len(trainer.train_dataset) == len(rows) - (max_length == 20) * (rows is TEXT)
    )
    ids, _, mask = stack_pairs(found, words.pad_token_id, "cpu")
    assert torch.equal(ids, expected["input_ids"])
    assert torch.equal(mask, expected["completion_mask"][:, 1:].bool())


def test_a_token_across_the_boundary_is_part_of_the_answer():
    """As in TRL: prompt and answer are tokenised together, and it begins where they merge."""

    class Merging:
        """Characters, but "ab" is one token."""

        eos_token = "."
        chat_template = None

        def __call__(self, text, **_):
            if isinstance(text, list):
                return {"input_ids": [self(each)["input_ids"] for each in text]}
            return {"input_ids": [ord(c) for c in text.replace("ab", "Z")]}

    rows = Dataset.from_list([{"prompt": "xa", "chosen": "bc.", "rejected": "d."}])
    (row,) = pairs.tokenised(rows, Merging(), None)
    assert row["prompt_ids"] == [ord("x")]
    assert row["chosen_ids"] == [ord(c) for c in "Zc."]
    assert row["rejected_ids"] == [ord(c) for c in "ad."]


def test_prompts_that_fill_the_length_leave_no_pair():
    rows = Dataset.from_list([{"prompt": "w1 w2 w3", "chosen": "w4", "rejected": "w5"}])
    with pytest.raises(PairError, match="no pair is left; raise max_length=2"):
        pairs.tokenised(rows, tokenizer(), 2)
    chat = Dataset.from_list(CHAT)
    with pytest.raises(PairError, match="CHAT_TEMPLATE"):
        pairs.tokenised(chat, tokenizer(), 20)
