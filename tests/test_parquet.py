"""Rows of Parquet as JSON would hold them, each fault named by row and column."""

import datetime as dt
import struct
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from tests.helpers.rows import in_format, written
from workbench import parquet as ours
from workbench.errors import DatasetError
from workbench.files import read_rows, rows_or_errors

ROWS = [{"name": "a,b", "note": 'says "x"\n1\u20282'}, {"name": " c ", "note": ""}]


def stored(folder, values, type_=None, **settings):
    """A file of one column `a`."""
    path = folder / "a.parquet"
    parquet.write_table(pa.table({"a": pa.array(values, type_)}), path, **settings)
    return path


TEXT_MAP = pa.map_(pa.string(), pa.int64())
AS_JSON = {
    "a day": (dt.date(2020, 1, 2), None, "2020-01-02"),
    "a time of day": (dt.time(1, 2, 3), None, "01:02:03"),
    "a time": (dt.datetime(2020, 1, 2, 3, 4, 5), None, "2020-01-02 03:04:05"),
    "a time somewhere": (dt.datetime(2020, 1, 2, tzinfo=dt.UTC), None, "2020-01-02 00:00:00+00:00"),
    "nanoseconds": (1, pa.timestamp("ns"), "1970-01-01 00:00:00.000000001"),
    "a decimal": (Decimal("1.10"), None, 1.1),
    "a whole decimal": (Decimal("12.00"), None, 12),
    "a very large one": (Decimal(10**30 + 1), None, 10**30 + 1),
    "text in bytes": ("é".encode(), None, "é"),
    "an id": (UUID(int=5).bytes, pa.uuid(), str(UUID(int=5))),
    "a map": ([("x", 1), ("y", 2)], TEXT_MAP, {"x": 1, "y": 2}),
    "half precision": (1.5, pa.float16(), 1.5),
    "nested": ({"b": [{"c": Decimal("0.5"), "d": None}]}, None, {"b": [{"c": 0.5, "d": None}]}),
    "a category": ("x", pa.dictionary(pa.int8(), pa.string()), "x"),
    "true": (True, None, True),
}


@pytest.mark.parametrize(("value", "type_", "expected"), AS_JSON.values(), ids=AS_JSON)
def test_values_are_those_of_json(tmp_path, value, type_, expected):
    rows = read_rows(stored(tmp_path, [value, None], type_))
    assert rows == [{"a": expected}, {"a": None}]
    assert type(rows[0]["a"]) is type(expected)


@given(st.lists(st.text() | st.none(), min_size=1), st.data())
def test_what_is_written_is_read(tmp_path_factory, texts, data):
    rows = [{"text": text, "numbers": data.draw(st.lists(st.integers(-9, 9)))} for text in texts]
    assert read_rows(in_format(tmp_path_factory.mktemp("rows"), ".parquet", rows)) == rows


UNREADABLE = {
    "bytes that are no text": (b"\x89PNG\xff", None, "'utf-8' codec can't decode byte 0x89"),
    "a span of time": (dt.timedelta(1), None, "no value that JSON has; leave the column out"),
    "a year beyond all": (10**8, pa.date32(), "date value out of range"),
    "names twice in a map": ([("x", 1), ("x", 2)], TEXT_MAP, "duplicate key was 'x'"),
    "names that are numbers": ([(1, 2)], pa.map_(pa.int64(), pa.int64()), "no value that JSON has"),
    "a picture": (
        {"bytes": b"\xff\xd8", "path": "a"},
        None,
        "'utf-8' codec can't decode byte 0xff",
    ),
}


@pytest.mark.parametrize(("value", "type_", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_value_that_json_has_not_is_named_by_row_and_column(tmp_path, value, type_, reason):
    path = stored(tmp_path, [None] * 1500 + [value, None], type_)
    with pytest.raises(DatasetError, match=rf"a\.parquet row 1500: column 'a': .*{reason}"):
        read_rows(path)
    rows = rows_or_errors(path)
    assert [n for n, row in enumerate(rows) if isinstance(row, DatasetError)] == [1500]
    assert len(rows) == 1502
    assert rows[1501] == {"a": None}
    assert read_rows(path, 1500) == [{"a": None}] * 1500


def test_names_twice_in_an_object(tmp_path):
    column = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    parquet.write_table(pa.table({"b": [1], "a": column}), tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet row 0: column 'a': .*duplicate field"):
        read_rows(tmp_path / "a.parquet")


def test_damage_behind_good_rows(tmp_path):
    path = stored(tmp_path, [f"text {n}" for n in range(5000)], row_group_size=2000,
                  use_dictionary=False, compression="snappy")  # fmt: skip
    place = parquet.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[place : place + 200] = b"\xff" * 200
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"a\.parquet row 1024 or behind it cannot be read"):
        read_rows(path)
    assert len(read_rows(path, 1000)) == 1000


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PAR1"])
def test_files_that_are_no_parquet(tmp_path, content):
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read: Parquet "):
        read_rows(written(tmp_path, content, "a.parquet"))


def test_what_else_a_file_may_be_asked_for(tmp_path):
    path = stored(tmp_path, [1.5, float("nan")])
    assert str(read_rows(path)) == "[{'a': 1.5}, {'a': nan}]"
    assert read_rows(path, 0) == read_rows(stored(tmp_path, [], pa.string())) == []
    with pytest.raises(FileNotFoundError, match="is no file; give a "):
        read_rows(tmp_path)


@pytest.mark.parametrize("limit", [-1, 2.0, "3", True])
@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_a_limit_that_is_none(tmp_path, name, limit):
    with pytest.raises(DatasetError, match=f"limit={limit!r}: it must be a whole number"):
        read_rows(written(tmp_path, "", name), limit)


def test_a_parquet_file_with_text_that_is_none(tmp_path):
    buffers = [pa.py_buffer(b) for b in (struct.pack("2i", 0, 2), b"\xff\xfe")]
    table = pa.table({"a": pa.StringArray.from_buffers(1, *buffers)})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet row 0: column 'a': 'utf-8' codec"):
        read_rows(tmp_path / "a.parquet")


def test_a_parquet_file_with_a_column_twice(tmp_path):
    table = pa.table([pa.array([1]), pa.array([2])], names=["a", "a"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet: columns \['a'\] are there twice"):
        read_rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_a_small_parquet_file_of_very_many_values(tmp_path, monkeypatch, as_dictionary):
    monkeypatch.setattr(ours, "LARGEST", 10**7)
    path = tmp_path / "a.parquet"
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 5000), ["x" * 10**4])
    parquet.write_table(pa.table({"a": column}), path, store_schema=as_dictionary)
    assert path.stat().st_size < 10**6
    with pytest.raises(DatasetError, match=r"a\.parquet cannot be read: more than"):
        read_rows(path)
    assert read_rows(path, 3) == [{"a": "x" * 10**4}] * 3


@pytest.mark.parametrize("where", ["head", "middle", "foot"])
def test_a_damaged_parquet_file(tmp_path, where):
    path = in_format(tmp_path, ".parquet", ROWS * 50)
    content = bytearray(path.read_bytes())
    at = {"head": 0, "middle": 20, "foot": len(content) - 20}[where]
    content[at : at + 16] = b"\xff" * 16
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"\.parquet cannot be read"):
        read_rows(path)
