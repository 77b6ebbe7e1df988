"""JSON and arrays of others: what is damaged or means two things is named, never believed."""

import json
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DatasetError, ShardError
from workbench.reading import DEPTH, parse_json, read_arrays, read_json

BAD = {
    "deep list": ("[" * 10**5, f":1: more than {DEPTH} levels deep"),
    "deep object": ('{"a":' * 10**5, f":1: more than {DEPTH} levels deep"),
    "closed but deep": ("[" * 500 + "]" * 500, f":1: more than {DEPTH} levels deep"),
    "digits": ("[" + "9" * 5000 + "]", ":1: a number of 5000 digits is too large"),
    "beyond float64": ("[" + "9" * 309 + "]", ":1: a number of 309 digits is too large"),
    "1e999": ('{"a": 1e999}', ":1: the number 1e999 is too large"),
    "-1e999": ('{"a": -1e999}', ":1: the number -1e999 is too large"),
    "nan": ('{"a": NaN}', ":1: NaN is no JSON number"),
    "infinity": ("[-Infinity]", ":1: -Infinity is no JSON number"),
    "twice": ('{"a": 1, "b": {"c": 1, "c": 1}}', ":1: the name 'c' is there twice in one object"),
    "twice, other lines": ('{"a": 1,\n"a": 2}', ": the name 'a' is there twice in one object"),
    "surrogate": ('{"a": "\\ud800"}', ":1: half of a surrogate pair"),
    "surrogate in a name": ('{"\\uDFFF": 1}', ":1: half of a surrogate pair"),
    "raw NUL": ('{"a": "\0"}', ":1: Invalid control character at"),
    "empty": ("", ":1: Expecting value"),
    "NUL alone": ("\0\0", ":1: Expecting value"),
    "more after it": ("{}\n{}", ":2: Extra data"),
    "no UTF-8": (b'{"a": "\xff"}', " cannot be read: not UTF-8 text"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), " cannot be read: not UTF-8 text"),
    "UTF-16 without a mark": ('{"a": 1}'.encode("utf-16-le"), ":1: Expecting property name"),
}


@pytest.mark.parametrize(("content", "message"), BAD.values(), ids=BAD)
def test_json_that_cannot_be_believed(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ShardError) as caught:
        read_json(path, ShardError)
    assert str(caught.value).startswith(f"{path}{message}")


def test_json_that_is_not_there(tmp_path):
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(ShardError, match=rf"{path} cannot be read: (No such file|Is a dir)"):
            read_json(path, ShardError)


def test_lines_and_bytes():
    with pytest.raises(DatasetError, match=r"^a:8: NaN"):
        parse_json("NaN", "a", DatasetError, 7)
    with pytest.raises(DatasetError, match=r"^a:1: not UTF-8"):
        parse_json(b"\xff", "a", DatasetError)
    assert parse_json(b'"\xc3\xbc"', "a", DatasetError) == "ü"


def test_an_escaped_backslash_makes_no_surrogate():
    half = "\ud800"  # raw, as an export holds it
    assert parse_json(f'"\\\\ud800{half}"', "a", DatasetError) == f"\\ud800{half}"
    for text in ('"\\ud800"', '"\\\\\\ud800"'):
        with pytest.raises(DatasetError, match="half of a surrogate"):
            parse_json(text, "a", DatasetError)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip


@given(VALUES, st.booleans())
def test_all_other_json_is_what_it_was(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_json(text, "a", DatasetError) == value
    assert parse_json("[" * DEPTH + "]" * DEPTH, "a", DatasetError)


# ---- arrays


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was run",))


def _damaged(path, kind):
    arrays = {"a": np.arange(1000.0), "b": np.zeros(3)}
    np.savez(path, **arrays)
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[:-300])
    elif kind == "no zip":
        path.write_bytes(b"PK")
    elif kind == "flipped":
        path.write_bytes(content[:2000] + bytes([content[2000] ^ 1]) + content[2001:])
    elif kind == "pickle":
        np.savez(path, a=np.array([Trap()], object))
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Trap()))
    elif kind == "lying header":
        with zipfile.ZipFile(path, "w") as archive, archive.open("a.npy", "w") as file:
            header = {"descr": "<f8", "fortran_order": False, "shape": (10**13,)}
            np.lib.format.write_array_header_1_0(file, header)
    elif kind == "header that is no shape":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", b"\x93NUMPY\x01\x00\x10\x00{'descr': [[[[[[[")
    elif kind == "bomb":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.npy", bytes(120 * 2**20))


KINDS = (
    "truncated", "no zip", "flipped", "pickle", "bare pickle", "lying header",
    "header that is no shape", "bomb",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_that_cannot_be_believed(tmp_path, kind):
    path = tmp_path / "a.npz"
    _damaged(path, kind)
    with pytest.raises(ShardError, match=rf"^{path} cannot be read: "):
        read_arrays(path, ShardError)


def test_arrays(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(10**6), b=np.arange(3))
    arrays = read_arrays(tmp_path / "a.npz", ShardError)
    assert arrays["a"].shape == (10**6,)
    assert arrays["b"].tolist() == [0, 1, 2]
    with pytest.raises(ShardError, match=r"absent\.npz cannot be read"):
        read_arrays(tmp_path / "absent.npz", ShardError)
