"""Questionnaires: the embedded one, the released key, one's own, and every way a key is wrong."""

import builtins
import json
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from workbench.data.inventories import COLUMNS, TRAITS, read_inventory, second_person, worded
from workbench.errors import DatasetError, ItemKeyError

LINES = [
    ["a1", "Like crowds", "E", "company", "1", "train"],
    ["a2", "Avoid crowds", "E", "company", "-1", "test"],
    ["a3", "Worry", "N", "worry", "+1", "train"],
]


def written(tmp_path, lines=LINES, columns=COLUMNS, name="own.csv"):
    path = tmp_path / name
    path.write_text("\n".join(",".join(x) for x in [columns, *lines]), encoding="utf-8")
    return path


def changed(row, column, value):
    lines = [list(line) for line in LINES]
    lines[row][COLUMNS.index(column)] = value
    return lines


def test_the_embedded_one_is_balanced():
    inventory = read_inventory()
    assert len(inventory.items) == 80
    assert inventory.traits == TRAITS
    kinds = Counter((i.trait, i.facet, i.sign, i.split) for i in inventory.items)
    # Five traits of four facets, each with one statement of either sign in either split.
    assert len(kinds) == 80
    assert set(kinds.values()) == {1}
    for item in inventory.items:
        assert worded(item, "second") == worded(item, "paper") == item.text


def test_the_released_key_has_the_published_counts(papi):
    inventory = read_inventory(papi)
    assert {i.id for i in inventory.items} == {f"i{n}" for n in range(1, 301)}
    reverse = {
        split: Counter(i.trait for i in inventory.items if i.split == split and i.sign < 0)
        for split in ("train", "test")
    }
    assert reverse["train"] == {"A": 17, "C": 13, "E": 6, "N": 7, "O": 12}
    assert reverse["test"] == {"A": 19, "C": 16, "E": 18, "N": 20, "O": 20}
    assert len(inventory.split("train")) == 120
    assert len(inventory.split("test")) == 180
    facets = Counter((i.trait, i.facet, i.split) for i in inventory.items)
    assert len(facets) == 60
    assert all(n == (4 if split == "train" else 6) for (_, _, split), n in facets.items())
    assert Counter((i.trait, i.facet) for i in inventory.items) == dict.fromkeys(
        {(i.trait, i.facet) for i in inventory.items}, 10
    )
    assert len({i.facet for i in inventory.items}) == 30
    assert read_inventory(papi / "mpi_300.csv").items == inventory.items


def test_splits_of_the_released_key_are_grouped_as_in_the_papers_tables(papi):
    inventory = read_inventory(papi)
    for split, count in (("train", 24), ("test", 36)):
        places = inventory.split(split)
        assert "".join(inventory.items[p].trait for p in places) == "".join(
            t * count for t in "ACENO"
        )
        assert places != sorted(places)
        for k in range(5):
            block = places[k * count : (k + 1) * count]
            assert block == sorted(block)


def test_rows_are_named_by_the_numbers_of_the_split_not_by_their_place(papi):
    """Answers are stored by full number; the key's rows are not in that order."""
    inventory = read_inventory(papi)
    numbers = json.loads((papi / "mpi_300_split.json").read_text())
    expect = [f"i{n}" for n in numbers["train_index"] + numbers["test_index"]]
    assert [i.id for i in inventory.items] == expect
    assert expect != [f"i{n}" for n in range(1, 301)]


def test_second_person_by_rule_is_the_published_wording_but_for_four(papi):
    items = read_inventory(papi).items[:120]
    differ = [i.text for i in items if second_person(i.text) != i.second]
    assert differ == [
        "Feel comfortable around people.",  # published: around other people
        "Enjoy wild flights of fantasy.",  # published: of fancy
        "Do more than what's expected of me.",  # published: ofyou
        "Feel that I'm unable to deal with things.",  # published: left in the first person
    ]
    assert worded(items[0], "paper") == items[0].text


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Am able to find my way.", "are able to find your way"),
        ("Lose my temper.", "lose your temper"),
        ("Talk to myself when I am alone.", "talk to yourself when you are alone"),
        ("Think it was mine.", "think it was yours"),
        ("Let others tell me.", "let others tell you"),
        ("Amuse my family", "amuse your family"),
        ("Meet men of rank", "meet men of rank"),
        # "You " stands before it: a statement with a subject of its own must lose it.
        ("I am happy.", "are happy"),
        ("I'm talkative.", "are talkative"),
        ("I was late.", "were late"),
        ("I see myself as able.", "see yourself as able"),
        ("In my view, I am right.", "in your view, you are right"),
    ],
)
def test_second_person(first, second):
    assert second_person(first) == second


def test_splits_are_grouped_by_trait_then_in_file_order(tmp_path):
    lines = [
        ["x1", "one", "N", "f", "1", "train"], ["x2", "two", "A", "f", "1", "train"],
        ["x3", "three", "N", "f", "-1", "train"], ["x4", "four", "A", "f", "-1", "train"],
        ["x5", "five", "A", "f", "1", "test"],
    ]  # fmt: skip
    inventory = read_inventory(written(tmp_path, lines))
    assert inventory.split("train") == [1, 3, 0, 2]
    assert inventory.split("test") == [4]
    assert inventory.trait_of([0, 1, 4]).tolist() == [1, 0, 0]
    assert inventory.sign.tolist() == [1, 1, -1, -1, 1]


def test_an_inventory_of_other_traits(tmp_path):
    lines = [[a, b, "Machiavellism", d, e, f] for a, b, _, d, e, f in LINES]
    inventory = read_inventory(written(tmp_path, lines))
    assert inventory.traits == ("Machiavellism",)
    assert inventory.name == "own"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (changed(1, "id", "a1"), r"id comes twice.*0 \(a1\), 1 \(a1\)"),
        (changed(1, "text", "Like crowds"), "statement comes twice"),
        # Else an answer that is to be predicted is among those that are known.
        (changed(1, "text", "like  crowds."), r"statement comes twice in rows 0 \(a1\), 1 \(a2\)"),
        (changed(1, "trait", "e"), r"trait or facet is spelled in two ways in rows 0 \(a1\), 1"),
        (changed(1, "facet", "Company"), "trait or facet is spelled in two ways"),
        (changed(2, "sign", "0"), r"sign is not 1 or -1 in rows 2 \(a3\)"),
        (changed(2, "sign", ""), "sign is not"),
        (changed(2, "sign", "2"), r"sign is not 1 or -1 in rows 2 \(a3\)"),
        (changed(1, "id", ""), r"empty .* in rows 1 \(\)"),
        (changed(1, "trait", " "), r"empty .* in rows 1 \(a2\)"),
        ([LINES[0], LINES[1][:3]], r"empty .* in rows 1 \(a2\)"),
        ([], "no rows"),
        ([LINES[0], [*LINES[1], "x"]], r"own\.csv row 1: more values than columns"),
        (changed(0, "text", " "), r"empty .* in rows 0"),
        (changed(0, "facet", ""), "empty"),
        (changed(1, "split", "dev"), "split is not train or test"),
        (changed(1, "split", "train"), "not both train and test"),
    ],
)
def test_a_wrong_key_lists_its_rows(tmp_path, lines, message):
    with pytest.raises(ItemKeyError, match=message):
        read_inventory(written(tmp_path, lines))


def test_many_wrong_rows_are_counted_not_all_listed(tmp_path):
    lines = [[f"q{n}", f"say {n}", "A", "f", "0", "train"] for n in range(11)]
    with pytest.raises(ItemKeyError, match=r"0 \(q0\),.*, 7 \(q7\) and 3 more$"):
        read_inventory(written(tmp_path, lines))


def test_a_file_in_another_encoding(tmp_path):
    path = written(tmp_path, changed(0, "text", "Cafés"))
    path.write_bytes(path.read_text(encoding="utf-8").encode("latin-1"))
    with pytest.raises(ItemKeyError, match=r"own\.csv:2: no text in utf-8, .*byte 0xe9"):
        read_inventory(path)


def test_a_missing_column_or_file(tmp_path):
    with pytest.raises(ItemKeyError, match="no column facet"):
        read_inventory(written(tmp_path, columns=[c if c != "facet" else "x" for c in COLUMNS]))
    with pytest.raises(ItemKeyError, match="columns id are there twice"):
        read_inventory(written(tmp_path, columns=[*COLUMNS[:-1], "id"]))
    with pytest.raises(FileNotFoundError, match=r"mpi_300\.csv"):
        read_inventory(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_inventory(tmp_path / "nowhere.csv")


KEY = [["0", "Anxiety", "Worry.", "N", "1"], ["1", "Trust", "Trust others.", "A", "1"]]
RELEASED = ["", "label_raw", "text", "label_ocean", "key"]


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train_index": [1], "test_index": [1]}, r"twice, or not 1\.\.2: \[1\]"),
        ({"train_index": [1], "test_index": [3]}, r"\[3\]"),
        ({"train_index": [1], "test_index": []}, "1 item numbers for 2 rows"),
        ({"train_index": [1]}, "no lists"),
        ({"train_index": ["x"], "test_index": [1]}, "no lists"),
        ({"train_index": [1.5], "test_index": [2]}, "no lists"),
        ({"train_index": [True], "test_index": [2]}, "no lists"),
        ({"train_index": "1", "test_index": [2]}, "no lists"),
        ({"train_index": [0], "test_index": [2]}, r"\[0\]"),
        ([1, 2], "no lists"),
    ],
)
def test_splits_that_do_not_fit_the_key(tmp_path, splits, message):
    path = written(tmp_path, KEY, RELEASED, "mpi_300.csv")
    with pytest.raises(FileNotFoundError, match="which items are train"):
        read_inventory(path)
    (tmp_path / "mpi_300_split.json").write_text(json.dumps(splits), encoding="utf-8")
    with pytest.raises(ItemKeyError, match=message):
        read_inventory(path)


def test_an_unknown_trait_in_a_released_key(tmp_path):
    lines = [KEY[0], ["1", "Trust", "Trust others.", "X", "1"]]
    path = written(tmp_path, lines, RELEASED, "mpi_300.csv")
    (tmp_path / "mpi_300_split.json").write_text('{"train_index": [1], "test_index": [2]}')
    with pytest.raises(ItemKeyError, match="trait is none of A, C, E, N, O in rows 1"):
        read_inventory(path)


@pytest.mark.parametrize(
    ("columns", "rows"),
    [
        (["label_raw", "text", "label_ocean", "key"], [["Trust", "trust others", "A", "1"]]),
        (["label_raw", "text", "label_ocean", "key"], [["Anxiety", "worry", "N", "-1"]]),
        (["label_raw", "label_ocean", "key"], [["Anxiety", "N", "1"]]),
    ],
)
def test_a_wording_in_another_order_is_not_taken(tmp_path, columns, rows):
    """Else a person's answer would be asked for under another statement's words."""
    path = written(tmp_path, KEY, RELEASED, "mpi_300.csv")
    (tmp_path / "mpi_300_split.json").write_text('{"train_index": [1], "test_index": [2]}')
    assert [i.second for i in read_inventory(path).items] == ["", ""]
    written(
        tmp_path, [["Anxiety", "fret.", "N", "1"]],
        ["label_raw", "text", "label_ocean", "key"], "mpi_120.csv",
    )  # fmt: skip
    items = read_inventory(path).items
    assert [i.second for i in items] == ["fret", ""]
    assert [worded(i, "second") for i in items] == ["fret", "trust others"]
    written(tmp_path, rows, columns, "mpi_120.csv")
    with pytest.raises(ItemKeyError, match=r"mpi_120\.csv: row 0 has no text, or not the trait"):
        read_inventory(path)


def sheet(monkeypatch, lines):
    """A stand-in for the optional reader of legacy sheets."""
    page = SimpleNamespace(nrows=len(lines), row_values=lambda n: lines[n])
    book = SimpleNamespace(sheet_by_index=lambda _: page)
    monkeypatch.setitem(sys.modules, "xlrd", SimpleNamespace(open_workbook=lambda _: book))


def test_a_legacy_sheet_is_the_same_key(tmp_path, monkeypatch):
    head = ["Full#", "Short#", " Sign", "Key", "Facet", "Item"]
    lines = [
        [1.0, 1.0, "+N1", "N1", "Anxiety", "Worry."],
        [2.0, "", "-A6", "A6", "Trust", "Distrust others."],
    ]
    (tmp_path / "mpi_300_split.json").write_text('{"train_index": [2], "test_index": [1]}')
    key = [KEY[0], ["1", "Trust", "Distrust others.", "A", "-1"]]
    written(tmp_path, [k[1:] for k in key], RELEASED[1:], "mpi_120.csv")
    expect = read_inventory(written(tmp_path, key, RELEASED, "mpi_300.csv")).items
    path = tmp_path / "IPIP-NEO-ItemKey.xls"
    path.write_bytes(b"")
    sheet(monkeypatch, [head, *lines])
    assert read_inventory(path).items == expect
    assert [(i.id, i.sign, i.split) for i in expect] == [("i2", 1, "train"), ("i1", -1, "test")]
    (tmp_path / "mpi_120.csv").unlink()
    lines[1][2] = ""
    with pytest.raises(ItemKeyError, match=r"sign is not 1 or -1 in rows 1 \(i1\)"):
        read_inventory(path)
    sheet(monkeypatch, [["Full#", "Sign", "Key", "Facet"], [1.0, "+N1", "N1", "Anxiety"]])
    with pytest.raises(ItemKeyError, match="no column Item"):
        read_inventory(path)


def test_a_legacy_sheet_needs_a_reader(tmp_path, monkeypatch):
    path = tmp_path / "IPIP-NEO-ItemKey.xls"
    path.write_bytes(b"\xd0\xcf\x11\xe0")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "xlrd":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DatasetError, match=r"pip install xlrd.*mpi_300\.csv"):
        read_inventory(path)


def test_an_unknown_wording():
    with pytest.raises(ValueError, match="use 'second' or 'paper'"):
        worded(read_inventory().items[0], "third")


def test_a_key_that_is_no_table(tmp_path):
    path = tmp_path / "key.json"
    path.write_text("[]")
    with pytest.raises(ItemKeyError, match=r"key\.json: a key is a table; give a \.csv"):
        read_inventory(path)
