"""Answers: what is kept of people, who is left out, what is refused."""

import json
import re

import numpy as np
import pytest

from tests.helpers import hub
from tests.helpers.answers import IDS, SURVEY, people, rows_of, stored
from tests.helpers.rows import in_format, written
from workbench.data.inventories import read_inventory
from workbench.data.keying import detect_keying, reverse
from workbench.data.respondents import read_respondents
from workbench.errors import DatasetError


def test_the_released_answers_are_reverse_scored_and_turned(papi):
    inventory = read_inventory(papi)
    file = papi / "subjects_50.json"
    raw, released = (read_respondents(file, inventory, targets=t) for t in ("raw", "released"))
    assert raw.keying.verdict == "reverse-scored"
    assert raw.keying.correlation == pytest.approx(0.42, abs=0.02)
    assert raw.keying.positive > 0.97
    assert detect_keying(raw.values, inventory).correlation < -0.3
    stored_values = [[r[i.id] for i in inventory.items] for r in json.loads(file.read_text())]
    assert released.values.tolist() == stored_values
    for item, a, b in zip(inventory.items, raw.values.T, released.values.T, strict=True):
        assert np.array_equal(a, b if item.sign > 0 else np.where(b > 0, 6 - b, 0))


def test_alpha_of_every_domain_tells_the_same(papi):
    """Cronbach's alpha is high as stored and collapses when reversed once more."""
    inventory = read_inventory(papi)
    released = read_respondents(papi / "subjects_50.json", inventory, targets="released").values
    turned = reverse(released, inventory)
    trait = inventory.trait_of(range(300))
    for t in range(5):
        alphas = []
        for values in (released, turned):
            x = values[:, trait == t].astype(float)
            n = x.shape[1]
            alphas.append(n / (n - 1) * (1 - x.var(0, ddof=1).sum() / x.sum(1).var(ddof=1)))
        assert alphas[0] > 0.92
        assert alphas[1] < 0.8


HUGE = 10**400


@pytest.mark.parametrize(
    "value", [6, -1, 3.5, "often", "3.5", True, False, [3], {}, "nan", float("nan"), HUGE]
)
def test_a_value_that_is_no_answer_names_subject_and_item(tmp_path, value):
    rows = rows_of(people())
    rows[3][IDS[5]] = value
    with pytest.raises(DatasetError, match=f"subject 3, item {IDS[5]}: .* from 0 .missing. to 5"):
        read_respondents(stored(tmp_path, rows), SURVEY)


def test_a_csv_line_with_more_values_than_columns(tmp_path):
    lines = [",".join(map(str, v)) for v in people().tolist()]
    lines[6] += ",4"
    path = written(tmp_path, "\n".join([",".join(IDS), *lines]), "a.csv")
    with pytest.raises(DatasetError, match=r"a\.csv row 6: more values than columns"):
        read_respondents(path, SURVEY)


@pytest.mark.parametrize("blank", [None, "", "  ", 0, "0", 0.0])
def test_blanks_are_missing(tmp_path, blank):
    rows = rows_of(people())
    rows[3][IDS[5]] = blank
    respondents = read_respondents(stored(tmp_path, rows), SURVEY)
    assert respondents.values[3, 5] == 0
    assert (respondents.values == 0).sum() == 1


def test_items_that_are_unknown_or_absent(tmp_path):
    rows = rows_of(people())
    rows[2]["A99"] = 3
    with pytest.raises(DatasetError, match="row 2: subject 2: unknown items A99"):
        read_respondents(stored(tmp_path, rows), SURVEY)
    # Any trait's items are known by their names, not only those named as the first item is.
    rows = rows_of(people())
    rows[2]["O17"] = 3
    with pytest.raises(DatasetError, match="subject 2: unknown items O17"):
        read_respondents(stored(tmp_path, rows), SURVEY)
    rows = rows_of(people())
    del rows[1]["C3"], rows[1]["O16"]
    with pytest.raises(DatasetError, match="subject 1 has 78 of 80 items; absent: C3, O16"):
        read_respondents(stored(tmp_path, rows), SURVEY)


def test_an_item_beyond_the_released_ones_is_unknown(tmp_path, papi):
    inventory = read_inventory(papi)
    rows = json.loads((papi / "subjects_50.json").read_text())
    assert len(read_respondents(stored(tmp_path, rows), inventory)) == 50
    rows[4]["i301"] = 3
    with pytest.raises(DatasetError, match=f"subject {rows[4]['case']}: unknown items i301"):
        read_respondents(stored(tmp_path, rows), inventory)


def test_nothing_personal_is_kept(tmp_path, monkeypatch):
    values = people()
    values[0] = 3  # left out, and listed
    personal = {
        "sex": "female-2", "age": 1414, "country": "Atlantis", "sec": 7171, "min": 7272,
        "hour": 7373, "date": 7474, "month": "Brumaire", "year": 7575, "E-mail": "a@b.c",
    }  # fmt: skip
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    rows = rows_of(values, **personal)
    for path in (stored(tmp_path, rows), in_format(tmp_path, ".parquet", rows)):
        respondents = read_respondents(path, SURVEY)
        assert respondents.dropped == (("0", "all answers are equal"),)
        text = repr(respondents)
        for value in personal.values():
            assert str(value) not in text
    # Nor on disk: `datasets` keeps what it reads.
    assert not (tmp_path / "cache").exists()
    respondents = read_respondents(stored(tmp_path, rows_of(people(), **personal)), SURVEY)
    assert respondents.values.shape == (40, 80)
    assert set(vars(respondents)) == {
        "inventory", "values", "ids", "targets", "keying", "traits", "dropped",
    }  # fmt: skip


def test_who_is_left_out_and_why(tmp_path, caplog):
    values = people(30)
    train = SURVEY.split("train")
    values[4, :17] = 0  # 21 %
    values[7] = 4
    values[9, train] = 3
    values[9, train[:9]] = 5
    values[11, ::5] = 0  # 20 %: still in
    values[13, [p for p in SURVEY.split("test") if SURVEY.items[p].trait == "E"]] = 0
    respondents = read_respondents(stored(tmp_path, rows_of(values)), SURVEY)
    reasons = dict(respondents.dropped)
    assert set(reasons) == {"4", "7", "9", "13"}
    assert "21%" in reasons["4"]
    assert reasons["7"] == "all answers are equal"
    assert reasons["9"].startswith("9 train answers off the middle, 10 needed")
    # The error of a trait cannot be told; as 0 it would look perfect.
    assert reasons["13"] == "no answer to a test item of trait E"
    assert respondents.ids == tuple(str(n) for n in range(30) if n not in (4, 7, 9, 13))
    assert np.array_equal(respondents.values[respondents.ids.index("11")], values[11])
    assert "4 of 30 subjects left out" in caplog.text
    assert re.search(r"the first: \('4', '21% of the answers are missing'\)", caplog.text)
    with pytest.raises(DatasetError, match="no usable subject; the first: all answers are equal"):
        read_respondents(stored(tmp_path, rows_of(values[7:8])), SURVEY, keyed="raw")


def test_the_same_people_are_left_out_whichever_targets_are_asked_for(tmp_path):
    """Who always answers "agree" does so in raw answers, not in reverse-scored ones."""
    raw = people(30)
    raw[3] = 4
    raw[5] = np.where(SURVEY.sign > 0, 4, 2)  # all 4 once reverse-scored: a person of every trait
    path = stored(tmp_path, rows_of(reverse(raw, SURVEY)))
    respondents = {t: read_respondents(path, SURVEY, targets=t) for t in ("raw", "released")}
    for group in respondents.values():
        assert group.dropped == (("3", "all answers are equal"),)
        assert group.ids == respondents["raw"].ids
    expected = np.delete(raw, 3, 0)
    assert np.array_equal(respondents["raw"].values, expected)
    assert np.array_equal(respondents["released"].values, reverse(expected, SURVEY))
    assert respondents["released"].targets == "released"


def test_the_own_values_of_a_raw_file_are_raw_agreement(tmp_path):
    """Called released, they would be averaged as if they were reverse-scored."""
    path = stored(tmp_path, rows_of(people()))
    for keyed in ("auto", "raw"):
        respondents = read_respondents(path, SURVEY, targets="released", keyed=keyed)
        assert respondents.targets == "raw"
        assert np.array_equal(respondents.values, people())


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_of_nobody(tmp_path, limit):
    with pytest.raises(DatasetError, match=f"limit={limit}; give at least 1"):
        read_respondents(stored(tmp_path, rows_of(people())), SURVEY, limit=limit)


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x85", "\n"])
def test_line_marks_inside_a_value_do_not_break_a_row(tmp_path, mark):
    rows = rows_of(people(), note=f"one{mark}two")
    for suffix in (".jsonl", ".csv"):
        respondents = read_respondents(in_format(tmp_path, suffix, rows), SURVEY)
        assert np.array_equal(respondents.values, people())


def test_every_format_gives_the_same_matrix(tmp_path):
    rows = rows_of(people())
    paths = [in_format(tmp_path, suffix, rows) for suffix in (".jsonl", ".csv", ".parquet")]
    (tmp_path / "folder").mkdir()
    written(tmp_path / "folder", json.dumps(rows), "Test-set.json")
    paths += [stored(tmp_path, rows), tmp_path / "folder"]
    for path in paths:
        respondents = read_respondents(path, SURVEY)
        assert np.array_equal(respondents.values, people()), path
        assert respondents.values.dtype == np.int8
        assert respondents.ids[:2] == ("0", "1")
        assert len(read_respondents(path, SURVEY, limit=25)) == 25


def test_the_embedded_people_and_their_traits():
    respondents = read_respondents("auto", SURVEY)
    assert len(respondents) == 128
    assert respondents.keying.verdict == "raw"
    assert not respondents.dropped
    keyed = reverse(respondents.values, SURVEY).astype(float)
    trait = SURVEY.trait_of(range(80))
    for t in range(5):
        assert np.corrcoef(keyed[:, trait == t].mean(1), respondents.traits[:, t])[0, 1] > 0.9
    pair = respondents.take([5, 2])
    assert pair.ids == (respondents.ids[5], respondents.ids[2])
    assert np.array_equal(pair.values, respondents.values[[5, 2]])
    assert np.array_equal(pair.traits, respondents.traits[[5, 2]])
    assert pair.inventory is respondents.inventory
    assert pair.targets == "raw"


def test_true_traits_are_kept_in_the_order_of_the_traits_and_of_the_people(tmp_path):
    values = people(30)
    values[2] = 4  # left out, with its traits
    rows = rows_of(values)
    for n, row in enumerate(rows):
        row.update({f"true_{t}": n + k / 10 for k, t in enumerate("ONECA")})
    respondents = read_respondents(stored(tmp_path, rows), SURVEY)
    others = [n for n in range(30) if n != 2]
    assert respondents.traits == pytest.approx(
        np.array([[n + k / 10 for k in range(5)][::-1] for n in others])
    )
    del rows[0]["true_N"]
    assert read_respondents(stored(tmp_path, rows), SURVEY).traits is None
    rows = rows_of(people(30), **{f"true_{t}": 0.5 for t in "ACENO"})
    for wrong in ("much", None):
        rows[4]["true_E"] = wrong
        with pytest.raises(DatasetError, match=r"row 4: subject 4: true_A, .* are not all numbers"):
            read_respondents(stored(tmp_path, rows), SURVEY)
    del rows[4]["true_E"]
    with pytest.raises(DatasetError, match=r"row 4: subject 4: true_A, .* are not all numbers"):
        read_respondents(stored(tmp_path, rows), SURVEY)


def test_files_and_hubs_that_are_not_there(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_respondents(tmp_path / "nowhere.json", SURVEY)
    for text in ("{", '{"a": 1}', "[1, 2]"):
        with pytest.raises(DatasetError, match=r"bad\.json"):
            read_respondents(written(tmp_path, text, "bad.json"), SURVEY)
    with pytest.raises(DatasetError, match="no subjects"):
        read_respondents(stored(tmp_path, []), SURVEY)

    for name, content, place in (
        ("b.parquet", b"PAR", " cannot be read"),
        ("b.csv", b"A1\n\xff", ":2: no text in utf-8, .*byte 0xff"),
        ("b.jsonl", b"{}\n{", ":2: Expecting property name"),
    ):
        with pytest.raises(DatasetError, match=name + place):
            read_respondents(written(tmp_path, content, name), SURVEY)

    hub.fail(monkeypatch, OSError("no route"))
    with pytest.raises(DatasetError, match="cannot be reached"):
        read_respondents("WestlakeNLP/PAPI-300K", SURVEY)


def test_hub_sets_are_read_by_item_names(monkeypatch):
    asked = hub.serve(monkeypatch, rows_of(people(), age=30))
    respondents = read_respondents("WestlakeNLP/PAPI-300K", SURVEY, limit=40)
    assert asked == [("WestlakeNLP/PAPI-300K", None, "train[:40]")]
    assert np.array_equal(respondents.values, people())


@pytest.mark.parametrize("wrong", [{"targets": "keyed"}, {"keyed": "yes"}])
def test_unknown_conventions(wrong):
    with pytest.raises(DatasetError, match="use "):
        read_respondents("auto", SURVEY, **wrong)


def test_what_is_there_twice_is_named(tmp_path):
    rows = rows_of(people(3))
    for row, name in zip(rows, ("a", "b", "a"), strict=True):
        row["case"] = name
    with pytest.raises(DatasetError, match="subjects a are there twice"):
        read_respondents(stored(tmp_path, rows), SURVEY)
    path = written(tmp_path, "case,q1,q1\na,1,2\n", "columns.csv")
    with pytest.raises(DatasetError, match="columns q1 are there twice"):
        read_respondents(path, SURVEY)


@pytest.mark.parametrize(
    "names",
    [("a", None, "b"), ("a", "", "b"), ("a", "b", " ")],
)
def test_a_subject_without_a_name_beside_others_with_one_is_refused(tmp_path, names):
    rows = rows_of(people(3))
    for row, name in zip(rows, names, strict=True):
        row["case"] = name
    blank = next(n for n, name in enumerate(names) if not (name or "").strip())
    with pytest.raises(DatasetError, match=f"row {blank}: no case or id"):
        read_respondents(stored(tmp_path, rows), SURVEY, keyed="raw")


def test_names_are_compared_without_the_spaces_around_them(tmp_path):
    rows = rows_of(people(3))
    for row, name in zip(rows, ("a", "b", " a"), strict=True):
        row["case"] = name
    with pytest.raises(DatasetError, match="subjects a are there twice"):
        read_respondents(stored(tmp_path, rows), SURVEY, keyed="raw")
    for row in rows:
        del row["case"]
    assert read_respondents(stored(tmp_path, rows), SURVEY, keyed="raw").ids == ("0", "1", "2")


@pytest.mark.parametrize("keyed", ["auto", "raw", "reverse-scored"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_answers_that_count_from_0_are_refused(tmp_path, suffix, keyed):
    """Read as they are, the most disagreement is a missing answer, and 6 - v another answer."""
    path = in_format(tmp_path, suffix, rows_of(people() - 1))
    with pytest.raises(DatasetError, match=r"no answer is 5 and \d+ are 0: .* count from 0"):
        read_respondents(path, SURVEY, keyed=keyed)
    # Of who leaves answers blank and never answers 5, all is kept.
    cautious = people(1).clip(1, 4)
    blank = [
        {k: (None if k in IDS[:9] else v) for k, v in row.items()} for row in rows_of(cautious)
    ]
    kept = read_respondents(in_format(tmp_path, suffix, blank), SURVEY, keyed="raw")
    assert (kept.values == 0).sum() == 9


def test_a_scale_that_is_not_used_to_its_ends_is_said(tmp_path, caplog):
    read_respondents(stored(tmp_path, rows_of(people())), SURVEY)
    assert not caplog.records
    read_respondents(stored(tmp_path, rows_of(people().clip(1, 4))), SURVEY)
    assert "nobody answers 5: is its scale 1 to 5?" in caplog.text
    read_respondents(stored(tmp_path, rows_of(people().clip(2, 5))), SURVEY)
    assert "nobody answers 1: is its scale 1 to 5?" in caplog.text


def test_the_same_person_under_two_names_is_said(tmp_path, caplog):
    values = people()
    values[[7, 9]] = values[3]
    read_respondents(stored(tmp_path, rows_of(values)), SURVEY)
    assert "3 people answer exactly as somebody else, the first: 3, 7, 9" in caplog.text


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "nan"])
def test_true_traits_are_finite(tmp_path, wrong):
    rows = rows_of(people(), **{f"true_{t}": 0.5 for t in "ACENO"})
    rows[4]["true_E"] = wrong
    with pytest.raises(DatasetError, match=r"row 4: subject 4: true_A, .* are not all numbers"):
        read_respondents(stored(tmp_path, rows), SURVEY)


def test_every_trait_of_a_usable_subject_can_be_scored(tmp_path):
    """An inventory with a trait of train items alone says nothing of that trait."""
    lines = ["id,text,trait,facet,sign,split"]
    for item in SURVEY.items:
        split = "train" if item.trait == "N" else item.split
        lines.append(f"{item.id},{item.text},{item.trait},{item.facet},{item.sign},{split}")
    inventory = read_inventory(written(tmp_path, "\n".join(lines), "own.csv"))
    with pytest.raises(DatasetError, match="no answer to a test item of trait N"):
        read_respondents(stored(tmp_path, rows_of(people())), inventory)
