"""Sets of pairs: every shape trained as TRL trains its explicit one; rows named."""

import json
import logging

import pytest
from datasets import Dataset, IterableDataset

from tests.helpers.fpo_toys import tokenizer
from workbench.errors import PairError
from workbench.training.pairs import CHAT_TEMPLATE, checked, rows_named, tokenised

U, A, B = ({"role": r, "content": c} for r, c in (("user", "w1 w2"), ("assistant", "w3"), ("assistant", "w4")))  # fmt: skip  # noqa: E501
EXPLICIT = {"prompt": [U], "chosen": [A], "rejected": [B]}
TEXT = {"prompt": "<s> w1", "chosen": " w2", "rejected": " w3"}
SHAPES = {
    "repeated": (EXPLICIT, {"prompt": [U], "chosen": [U, A], "rejected": [U, B]}),
    "implicit": (EXPLICIT, {"chosen": [U, A], "rejected": [U, B]}),
    "text prompt": (EXPLICIT, {"prompt": "w1 w2", "chosen": [U, A], "rejected": [U, B]}),
    "one message": (EXPLICIT, {"prompt": [U], "chosen": A, "rejected": B}),
    "more columns": (
        EXPLICIT,
        {"prompt": [U], "chosen": [A], "rejected": [B], "messages": "x", "id": 1},
    ),
    "doubled text": (TEXT, {**TEXT, "chosen": "<s> w1 w2", "rejected": "<s> w1 w3"}),
    "common text": (TEXT, {"chosen": "<s> w1 w2", "rejected": "<s> w1 w3"}),
    "more columns of text": (TEXT, {**TEXT, "messages": [U], "score_chosen": 1.5}),
}


def words():
    chat = tokenizer()
    chat.chat_template = CHAT_TEMPLATE
    return chat


@pytest.mark.parametrize("kind", ["set", "list", "stream"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_trained_as_the_explicit_one(shape, kind):
    explicit, row = SHAPES[shape]
    given = [row] * 3
    if kind == "set":
        given = Dataset.from_list(given)
    elif kind == "stream":
        given = IterableDataset.from_generator(lambda: iter([row] * 3))
    read = list(checked(given, "train"))
    assert read == [explicit] * 3
    expected = tokenised(Dataset.from_list([explicit] * 3), words(), None)
    assert tokenised(Dataset.from_list(read), words(), None) == expected
    if kind != "stream":
        assert tokenised(given, words(), None) == expected


def test_what_is_explicit_stays_as_it_is(caplog):
    for row in (EXPLICIT, TEXT):
        dataset = Dataset.from_list([row] * 2)
        assert checked(dataset, "train") is dataset
    assert not caplog.text


def test_tools_stay_beside_pairs_that_are_made_anew():
    row = {"prompt": [U], "chosen": [U, A], "rejected": [U, B], "tools": "[]", "note": 1}
    for given in (Dataset.from_list([row]), [row]):
        assert list(checked(given, "train")) == [{**EXPLICIT, "tools": "[]"}]


def test_rows_are_named_by_their_place_also_where_others_are_dropped(caplog):
    same = {"chosen": "w1 w2", "rejected": "w1 w2"}
    rows = [
        same,
        {"chosen": "w1 w2", "rejected": "w1 w3"},
        same,
        {"chosen": "yes", "rejected": "no"},
    ]
    with pytest.raises(PairError, match=r"^train, row 3: there is no prompt"):
        checked(rows, "train", drop_identical=True)
    with caplog.at_level(logging.WARNING):
        assert len(checked(rows[:3], "train", drop_identical=True)) == 1
    assert (
        "2 of 3 pairs (66.7 %) have identical answers and no signal (first: row 0)" in caplog.text
    )
    with pytest.raises(PairError, match="all pairs have identical answers"):
        checked([same], "train", drop_identical=True)
    rows = [TEXT, {**TEXT, "chosen": "", "rejected": " w1"}, {**TEXT, "chosen": "", "rejected": ""}]
    with pytest.raises(PairError, match=r"^train, row 2: both answers are empty"):
        checked(rows, "train")


def test_a_stream_goes_on_in_the_way_of_its_first_row():
    doubled = {**TEXT, "chosen": "<s> w1 w2", "rejected": "<s> w1 w3"}
    for rows, message in (
        ([doubled, TEXT], r"train, row 1: both answers do not begin with the prompt"),
        ([TEXT, doubled], r"train, row 1: both answers begin with the prompt"),
        ([TEXT, {**TEXT, "chosen": None}], r"train, row 1: chosen is None"),
    ):
        stream = checked(IterableDataset.from_generator(lambda rows=rows: iter(rows)), "train")
        assert next(iter(stream)) == TEXT
        with pytest.raises(PairError, match=message):
            list(stream)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "accepted": "b", "rejected": "c"}, "missing chosen"),
        ({"prompt": "a", "completion": "b", "label": True}, r"unpaired set \(KTO\)"),
        ({"prompt": "a", "response_0": "b", "response_1": "c"}, "better_response_id"),
    ],
)
def test_other_columns_are_shown_with_their_row_and_what_it_should_look_like(row, message):
    for kind in (list, Dataset.from_list):
        with pytest.raises(PairError, match=message) as caught:
            checked(kind([row]), "train")
        assert "Row 0: {'prompt': 'a', " in str(caught.value)
        assert 'look like {"prompt": ' in str(caught.value)


def test_a_row_that_the_template_refuses_is_named():
    system = {"role": "system", "content": "Be kind."}
    rows = [EXPLICIT, {**EXPLICIT, "prompt": [system, U]}]
    message = r"test, row 1: the chat template refuses it: this format has no role system\. The row"
    with pytest.raises(PairError, match=message):
        tokenised(rows, words(), None)
    with pytest.raises(PairError, match=message), rows_named(rows, words(), "test"):
        raise ValueError("what TRL's own pass raises")
    with (
        pytest.raises(ValueError, match="of another cause"),
        rows_named([EXPLICIT], words(), "test"),
    ):
        raise ValueError("of another cause")
    with pytest.raises(PairError, match=r"test, row 0: tools:1: Expecting"):
        tokenised([{**EXPLICIT, "tools": "{"}], words(), None)


def test_pairs_of_a_file_are_those_that_were_written(tmp_path):
    from workbench.papers.fpo.presets import pairs

    rows = [
        {**TEXT, "prompt": f"<s> w1\u2028{n}", "split": s} for n, s in enumerate(("train", "Test"))
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\ufeff" + "\n".join(json.dumps(r, ensure_ascii=False) for r in rows), "utf-8")
    for n, split in enumerate(("train", "test")):
        (row,) = pairs("tiny", split, str(path))
        assert row == {**TEXT, "prompt": f"<s> w1\u2028{n}"}
    path.write_text("\n".join(json.dumps(r).replace('"split"', '" Split"') for r in rows))
    for n, split in enumerate(("train", "test")):
        assert [row["prompt"] for row in pairs("tiny", split, str(path))] == [f"<s> w1\u2028{n}"]
    rows = [{**TEXT, "prompt": f"<s> w{n}"} for n in range(20)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert pairs("tiny", "train", str(path)).to_list() == rows[:18]
    assert pairs("tiny", "test", str(path)).to_list() == rows[18:]
