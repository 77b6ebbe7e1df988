"""Truth values, names and splits as people write them."""

import json
import math

import pytest

import workbench as wb
from tests.helpers.rows import written
from workbench.data.fields import as_name, is_absent, of_split, read_truth
from workbench.errors import DatasetError

TRUE = (True, 1, 1.0, "true", "TRUE", " True ", "yes", "Y", "t", "1", "1.0", "harmful", "Unsafe")
FALSE = (False, 0, 0.0, "false", "FALSE", "No", "n", "f", "0", "0.0", "harmless", "safe", "Benign")
NEITHER = (2, -1, 0.5, "2", "maybe", "ja", "wahr", [True], {}, "harmful?", math.inf, "10")
ABSENT = (None, "", " ", math.nan, "NA", "NaN", "null", "None", "#N/A")


@pytest.mark.parametrize(
    ("value", "truth"), [*((v, True) for v in TRUE), *((v, False) for v in FALSE)]
)
def test_a_label_in_text_is_its_truth_value(tmp_path, value, truth):
    rows = [{"prompt": "Curse a gate", "harmful": value}]
    path = written(tmp_path, json.dumps(rows), "rows.json")
    assert [row["harmful"] for row in wb.load_data("requests", source=path)] == [truth]
    # The same label chooses the pairs that count.
    rows = [
        {"prompt": "a", "chosen": "b", "rejected": "c", "harmful": value},
        {"prompt": "d", "chosen": "e", "rejected": "f", "harmful": True},
    ]
    path = written(tmp_path, json.dumps(rows), "pairs.json")
    prompts = [row["prompt"] for row in wb.load_data("preference", source=path)]
    assert prompts == (["a", "d"] if truth else ["d"])


@pytest.mark.parametrize("value", NEITHER)
@pytest.mark.parametrize("name", ["requests", "preference"])
def test_a_label_that_is_neither_is_named_with_its_row(tmp_path, value, name):
    good = {"prompt": "a", "chosen": "b", "rejected": "c", "harmful": True}
    path = written(tmp_path, json.dumps([good, {**good, "harmful": value}]), "rows.json")
    with pytest.raises(DatasetError) as caught:
        wb.load_data(name, source=path)
    assert str(caught.value).startswith(f"{path} row 1: field 'harmful' is {value!r:.40}, neither")


@pytest.mark.parametrize("value", ABSENT)
def test_a_label_that_is_not_there(tmp_path, value):
    path = written(tmp_path, json.dumps([{"prompt": "a", "harmful": value}]), "rows.json")
    with pytest.raises(DatasetError, match="row 0: field 'harmful' is missing"):
        wb.load_data("requests", source=path)


def test_words_of_ones_own():
    assert read_truth(" Good", "x", ("good",), ("bad",)) is True
    assert read_truth("bad", "x", ("good",), ("bad",)) is False
    with pytest.raises(DatasetError, match=r"^x is 'ugly', neither .* 1 or 0, good or bad$"):
        read_truth("ugly", "x", ("good",), ("bad",))
    assert not any(is_absent(value) for value in (0, False, "0", "none of these", [], "nano"))


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "1"), (1.0, "1"), ("1", "1"), (" 1.0 ", "1"), ("1.50", "1.50"), ("p1.0", "p1.0"),
     ("007", "007"), ("-1.0", "-1"), (10, "10"), ("10.00", "10"),
     (True, "True"), ("NA", ""), (None, "")],
)  # fmt: skip
def test_a_name_is_alike_however_it_is_typed(value, name):
    assert as_name(value) == name


ROWS = [
    {"n": n, "split": s} for n, s in enumerate(("train", " Train", "TEST", "val", "dev", "extra"))
]


@pytest.mark.parametrize(
    ("split", "numbers"),
    [("train", [0, 1]), ("test", [2]), ("validation", [3, 4]), ("extra", [5]), ("none", [])],
)
def test_splits_by_their_usual_names(caplog, split, numbers):
    assert [n for n, row in of_split(ROWS, split, "set") if row["n"] == n] == numbers
    assert ("rows of other splits are left out ('extra': 1)" in caplog.text) is (split != "extra")


def test_rows_without_a_split():
    rows = [{"n": 0}, {"n": 1}]
    assert of_split(rows, "test", "set") == [(0, {"n": 0}), (1, {"n": 1})]
    for blank in (None, "", math.nan, 3):
        with pytest.raises(DatasetError, match=r"^set row 1: field 'split' is .*, no split$"):
            of_split([{"split": "train"}, {"split": blank}], "train", "set")
    with pytest.raises(DatasetError, match=r"^set row 1: field 'split' is None"):
        of_split([{"split": "train"}, {}], "train", "set")
    assert of_split([{"Split": "test"}, {"Split": "train"}], "test", "set") == [
        (0, {"Split": "test"})
    ]
