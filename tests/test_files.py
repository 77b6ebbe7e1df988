"""Rows read alike from every format, each fault named."""

import csv
import gzip
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.rows import in_format, written
from workbench.errors import DatasetError
from workbench.files import read_rows, rows_or_errors

ROWS = [{"name": "a,b", "note": 'says "x"\n1\u20282'}, {"name": " c ", "note": ""}]


@pytest.mark.parametrize(
    ("suffix", "shape"),
    [
        (".csv", ""),
        (".parquet", ""),
        *((s, x) for s in (".jsonl", ".json", "") for x in ("lines", "windows lines", "list")),
        (".json", "indented"),
        (".json", "examples"),
    ],
)
@pytest.mark.parametrize("mark", [False, True])
def test_every_format_gives_the_same_rows(tmp_path, suffix, shape, mark):
    path = in_format(tmp_path, suffix, ROWS, shape)
    if mark and suffix != ".parquet":
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_rows(path) == read_rows(str(path)) == ROWS
    assert read_rows(path, 1) == ROWS[:1]
    assert read_rows(path, 3) == ROWS


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@given(st.lists(st.fixed_dictionaries({"name": VALUES, "note": VALUES}), min_size=1, max_size=3))
def test_no_text_is_changed_on_its_way(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("rows")
    assert read_rows(in_format(folder, ".jsonl", rows)) == rows
    # What spreadsheets add is no text: rows of nothing at the end, marks of joined files.
    while rows and not any(rows[-1].values()):
        rows.pop()
    rows = [{**row, "name": row["name"].removeprefix("\ufeff")} for row in rows]
    assert not rows or read_rows(in_format(folder, ".csv", rows)) == rows


TABLE = [
    {"prompt": "a; b", "note": 'says "x"\n1\u20282\u2029\x85'},
    {"prompt": "c\td", "note": ""},
    {"prompt": "é, ü | x", "note": "TRUE"},
]


def table(rows, delimiter=",", end="\r\n", quoting=csv.QUOTE_MINIMAL):
    text = io.StringIO()
    lines = csv.DictWriter(
        text, list(rows[0]), delimiter=delimiter, lineterminator=end, quoting=quoting
    )
    lines.writeheader()
    lines.writerows(rows)
    return text.getvalue()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_tables_as_spreadsheets_write_them(tmp_path, delimiter, end, encoding):
    rows = TABLE if end != "\r" else TABLE[1:]  # within values the writer's "\n" stands
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        content = table(rows, delimiter, end, quoting).encode(encoding)
        for name in ("A.CSV", "a.tsv"):
            assert read_rows(written(tmp_path, content, name)) == rows
        assert read_rows(written(tmp_path, gzip.compress(content), "a.csv.gz")) == rows


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (" prompt , harmful \na,1\n", [{"prompt": "a", "harmful": "1"}]),
        ("prompt,harmful,,\na,1,,\nb,0,,\n,,,\n,,,\n", [("a", "1"), ("b", "0")]),
        ("prompt,harmful\na,1,,\nb,0\n", [("a", "1"), ("b", "0")]),
        ("prompt;harmful\n\na;1\n\n", [("a", "1")]),
        ("sep=;\nprompt;harmful\na, b;1\n", [("a, b", "1")]),
        ('"sep=;"\r\nprompt;harmful\r\na;1\r\n', [("a", "1")]),
        ("sep=\t\r\nprompt\tharmful\r\na; b\t1\r\n", [("a; b", "1")]),
        ("SEP=;\nprompt;harmful\na, b;1\n", [("a, b", "1")]),
        (",,\n , ,\nprompt,harmful,\na,1,\n", [("a", "1")]),
        ('prompt, harmful\n"a, b", "1"\nc, 0\n', [("a, b", "1"), ("c", "0")]),
        ('prompt,harmful\n" a", 1\n', [(" a", " 1")]),
        ('"prompt";"harmful"\n"a;""b""";"1"\n', [('a;"b"', "1")]),
        ("prompt,harmful\na;b;c,1\n", [("a;b;c", "1")]),
        ("prompt;harmful\na,b,c;1\nd;0\n", [("a,b,c", "1"), ("d", "0")]),
        ("a; b\nc\n", [{"a; b": "c"}]),
        ("prompt\nsay; then\nstop\n", [{"prompt": "say; then"}, {"prompt": "stop"}]),
        ("\ufeffprompt,harmful\na,1\n\ufeffb,0\n", [("a", "1"), ("b", "0")]),
        ('prompt,harmful\n\ufeff"a\n\ufeffb",1\n', [("a\n\ufeffb", "1")]),
    ],
)
def test_what_spreadsheets_add_is_no_data(tmp_path, content, rows):
    rows = [r if isinstance(r, dict) else {"prompt": r[0], "harmful": r[1]} for r in rows]
    assert read_rows(written(tmp_path, content, "a.csv")) == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\n\ufeff", "\r\n\ufeff"])
def test_lines_of_json_as_exports_write_them(tmp_path, end, encoding):
    rows = [{"a": "x\u2028y\u2029z\x85"}, {"a": "\ufeffb"}]
    text = end.join(json.dumps(row, ensure_ascii=False) for row in rows) + end
    content = text.encode(encoding)
    for name in ("a.jsonl", "a.ndjson", "A.JSONL", "a.txt"):
        assert read_rows(written(tmp_path, content, name)) == rows
    assert read_rows(written(tmp_path, gzip.compress(content), "a.jsonl.gz")) == rows


def test_values_keep_their_types_where_a_file_has_types(tmp_path):
    rows = [{"n": 1, "x": 0.5, "yes": True, "list": [1, 2], "inner": {"a": None}, "none": None}]
    for suffix in (".json", ".jsonl", ".parquet"):
        assert read_rows(in_format(tmp_path, suffix, rows)) == rows
    # CSV has none; what a short line lacks is None, as an empty value is not.
    assert read_rows(written(tmp_path, "n,x,y\n1,\n\n2,3,4\n", "a.csv")) == [
        {"n": "1", "x": "", "y": None},
        {"n": "2", "x": "3", "y": "4"},
    ]


def test_a_single_object_is_one_row_and_an_empty_file_none(tmp_path):
    for name in ("a.json", "a.jsonl"):
        assert read_rows(written(tmp_path, '{"a": 1}', name)) == [{"a": 1}]
    for name, content in (("e.jsonl", ""), ("e.json", "[]"), ("e.csv", ""), ("h.csv", "a,b\n")):
        assert read_rows(written(tmp_path, content, name)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"a": 1}\n\n{"a": }\n{"a": 2}', "a.jsonl:3: Expecting value"),
        ("a.jsonl", "oops\nno\n", "a.jsonl:1: Expecting value"),
        ("a.jsonl", '{"a": 1}\n[1]', "a.jsonl row 1: a list, not an object"),
        ("a.json", '[{"a": 1},\n "b"]', "a.json row 1: a str, not an object"),
        ("a.json", '[{"a": 1},\n{"a": 2]', "a.json:2: Expecting ',' delimiter"),
        ("a.json", "", "a.json:1: Expecting value"),
        ("a.json", "3", "a.json: expected a list of rows, or an object with 'examples'"),
        ("a.json", '{"examples": {"a": 1}}', "a.json: expected a list of rows"),
        ("a.json", b"[\n\xff]", "a.json:2: no text in utf-8, nor"),
        ("a.csv", b"a\n\xff", "a.csv:2: no text in utf-8, nor"),
        ("a.csv", b"a,\xff\n1,2", "a.csv:1: no text in utf-8, nor"),
        ("a.csv", "a,b\n1,2\n3,4,5\n", "a.csv row 1: more values than columns"),
        ("a.csv", "a,b,a,b\n1,2,3,4\n", "a.csv: columns a, b are there twice; remove one"),
        ("a.csv", "a\n" + "x" * 200_000, "a.csv:2: field larger than field limit"),
        ("a.csv", 'a,b\n1,2\n"3,4\n5,6\n', "a.csv:4: unexpected end of data"),
        ("a.csv", 'a,b\n"1"2,3\n', "a.csv:2: ',' expected after '\"'"),
        ("a.csv", "a,b\n1,\0\n", "a.csv:2: '\\x00' is in no text"),
        ("a.csv", "a,b\n1,2".encode("utf-16-le"), "a.csv:1: '\\x00' is in no text in utf-8"),
        ("a.csv", "a,b\n1,2".encode("utf-16")[:-1], "a.csv:2: no text in utf-16: "),
        ("a.csv", "a,b\n1,2\na,b\n3,4", "a.csv row 1: the header again; remove it"),
        ("a.csv", "a,,\n1,2,3\n", "a.csv row 0: more values than columns"),
        ("a.csv", ",,a\n1,2,3\n", "a.csv: columns without a name are there twice"),
        ("a.xlsx", b"PK\3\4", "a.xlsx cannot be read: a spreadsheet"),
        ("a.jsonl.gz", b"\x1f\x8b\x08", "a.jsonl.gz cannot be read"),
        ("a.jsonl.gz", b"{}", "a.jsonl.gz cannot be read: Not a gzipped file"),
        ("a.ndjson", '{"a": 1}\n[1]\n[2]', "a.ndjson row 1: a list, not an object"),
        ("a.jsonl", '{"a": 1},\n{"a": 2}', "a.jsonl:1: Extra data"),
        ("a.jsonl", '{"a": 1}\n' + "[" * 10**5, "a.jsonl:2: more than 100 levels deep"),
        ("a.jsonl", '{"a": 1}\n\n{"a": ' + "9" * 5000 + "}", "a.jsonl:3: Exceeds the limit"),
        ("a.jsonl", '{"a": 1}\n{"a": 1, "a": 2}', "a.jsonl:2: the name 'a' is there twice"),
        ("a.jsonl", '{"a": 1}\n{"a": "\\udc00"}', "a.jsonl:2: half of a surrogate pair"),
        ("a.json", "[" * 10**5, "a.json:1: more than 100 levels deep"),
        ("a.parquet", b"PAR", "a.parquet cannot be read"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_place(tmp_path, name, content, message):
    path = written(tmp_path, content, name)
    with pytest.raises(DatasetError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_a_path_that_is_no_file(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"is no file; give a \.jsonl, "):
        read_rows(tmp_path / name)


def test_bad_rows_stand_in_their_place(tmp_path):
    path = written(tmp_path, '{"a": 0}\n{\n[1]\n\n{"a": 3}\n', "a.jsonl")
    rows = rows_or_errors(path)
    assert [rows[0], rows[3]] == [{"a": 0}, {"a": 3}]
    assert [str(error).partition("a.jsonl")[2][:3] for error in rows[1:3]] == [":2:", " ro"]
    # The rows that are asked for are all that has to be right.
    assert read_rows(path, 1) == [{"a": 0}]
    for fault in ('{"a": 1,\n"a": 2}', '{"a": "\\udc00"}', "[[1], 2]", '{"a": ' + "9" * 5000 + "}",
                  '{"a":\n' + "[" * 150 + "]" * 150 + "}"):  # fmt: skip
        path = written(tmp_path, f' [\n{{"a":\n 0}}, {fault},\r\n{{"a": 3}} ]\n', "a.json")
        rows = rows_or_errors(path)
        assert [rows[0], rows[2]] == [{"a": 0}, {"a": 3}]
        assert str(rows[1]).startswith(f"{path} row 1: " if fault[0] == "[" else f"{path}:3: ")
        assert read_rows(path, 1) == [{"a": 0}]
    path = written(tmp_path, "a\n1\n2,3\n4\n", "a.csv")
    assert [type(row) for row in rows_or_errors(path)] == [dict, DatasetError, dict]
