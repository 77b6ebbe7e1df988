"""Hostile and damaged `.safelock` files: refused by name, nothing called, nothing changed."""

import contextlib
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from workbench.errors import DirectionError, UnsafeFileError
from workbench.steering import inert_pickle, safelock

KEY = "model.layers.3.self_attn.head_out"
HEAD = (np.int64(1), np.array([0.6, 0.8], np.float16), np.float16(0.5))
RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
NDARRAY = b"cnumpy\nndarray\n"
EMPTY = RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85C\x01btR"
F2 = b"cnumpy\ndtype\n(X\x02\x00\x00\x00f2K\x00K\x01tR"


def written(path, data, **options):
    """An archive that holds `data` as its pickle."""
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("lock/data.pkl", data)
    return path


def dumped(content):
    return pickle.dumps(content, protocol=2)


def entry(item):
    """The pickle of a lock whose only entry is `item`."""
    return dumped({KEY: [item]})


def in_lock(value):
    """The pickle of a lock whose only entry's vector is what the opcodes `value` push."""
    key = KEY.encode()
    return (b"\x80\x02}X" + struct.pack("<I", len(key)) + key + b"](K\x01" + value
            + b"G\x3f\xe0\x00\x00\x00\x00\x00\x00ta" + b"s.")  # fmt: skip


def array_state(shape, dtype, content):
    """Opcodes that set an array's state: version, shape, dtype, order, bytes."""
    return b"(K\x01" + shape + dtype + b"\x89C" + bytes([len(content)]) + content + b"tb"


def test_what_the_format_has_is_read(tmp_path):
    """Against pickle itself, on our own bytes, in every protocol that writes these opcodes."""
    for protocol in (2, 3, 4):
        (read,) = safelock.read(
            written(tmp_path / "x.safelock", pickle.dumps({KEY: [HEAD]}, protocol=protocol))
        )
        assert (read.layer, read.head, read.scale) == (3, 1, 0.5)
        assert read.unit.dtype == np.float16
        assert np.array_equal(read.unit, HEAD[1])
    by_hand = in_lock(EMPTY + array_state(b"K\x02\x85", F2, HEAD[1].tobytes()))
    assert np.array_equal(safelock.read(written(tmp_path / "x.safelock", by_hand))[0].unit, HEAD[1])
    swapped = entry((np.int64(1), HEAD[1].astype(">f4"), np.float64(0.5)))
    assert np.array_equal(safelock.read(written(tmp_path / "x.safelock", swapped))[0].unit, HEAD[1])


DEEP = 100_000
REFUSED = {
    # Calls and objects.
    "array of pointers": (b"\x80\x02" + NDARRAY + b"K\x02\x85X\x01\x00\x00\x00OC\x10"
                          + bytes(16) + b"\x87R.", "calls numpy.ndarray"),
    "array of a shape": (b"\x80\x02" + RECONSTRUCT + b"(" + NDARRAY
                         + b"J\x00\xca\x9a;\x85C\x01btR.", "array of a shape"),
    "state of a name": (b"\x80\x02" + NDARRAY + b"}X\x01\x00\x00\x00aK\x01sb.", "sets the state"),
    "state of a list": (b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.", "sets the state of a list"),
    "call of a list": (b"\x80\x02])R.", "calls a list"),
    "call of the codec by state": (b"\x80\x02c_codecs\nencode\n}b.", "sets the state"),
    "new object": (b"\x80\x02" + NDARRAY + b")\x81.", "opcode NEWOBJ"),
    "instance": (b"(ios\nsystem\n.", "opcode INST"),
    "object": (b"(" + NDARRAY + b"o.", "opcode OBJ"),
    "extension": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "name after the end of the needed part": (b"\x80\x02}cos\nsystem\n0.", "asks for os.system"),
    "name from the stack": (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for os.system"),
    "name from numbers": (b"\x80\x04K\x01K\x02\x93.", "asks for"),
    "outside data": (b"\x80\x02K\x01Q.", "persistent id"),
    "codec": (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "codec"),
    "objects": (b"\x80\x02cnumpy\ndtype\nX\x02\x00\x00\x00O8K\x00K\x01\x87R.", "dtype 'O8'"),
    "opcodes": (b"\x80\x02" + b"N0" * (inert_pickle.MAX_OPCODES // 2) + b".", "opcode POP"),
    "many opcodes": (b"\x80\x02(" + b"N" * inert_pickle.MAX_OPCODES + b"t.", "more than 320,000"),
}  # fmt: skip
DAMAGED = {
    "deep tuples as a key": (b"\x80\x02})" + b"\x85" * DEEP + b"K\x01s.", "nests more than 8"),
    "deep lists": (b"\x80\x02" + b"]" * DEEP + b"a" * (DEEP - 1) + b".", "nests more than 8"),
    "list in itself": (b"\x80\x02]q\x00" + b"h\x00a" * 8 + b".", "nests more than 8"),
    "memo far away": (b"\x80\x02}r\xff\xff\xff\x7f.", "holds no heads"),
    "memo never filled": (b"\x80\x02h\x09.", "damaged"),
    "number without end": (b"I" + b"9" * 10_000 + b"\n.", "damaged"),
    "text cut short": (b"\x80\x02X\xff\xff\xff\x7fab.", "damaged"),
    "empty stack": (b"\x80\x02R.", "damaged"),
    "mark as a value": (b"\x80\x02(.", "damaged"),
    "no mark": (b"\x80\x02Nt.", "damaged"),
    "no end": (b"\x80\x02}", "damaged"),
    "nothing": (b"", "damaged"),
    "key that is a number": (dumped({1: []}), "key that is a int"),
    "items for a number": (b"\x80\x02K\x01Na.", "items for a int"),
    "odd items": (b"\x80\x02}(Nu.", "damaged"),
    "too few bytes": (in_lock(EMPTY + array_state(b"K\x03\x85", F2, b"abcd")), "in 4 bytes"),
    "negative length": (in_lock(EMPTY + array_state(b"J\xff\xff\xff\xff\x85", F2, b"")), "damaged"),
    "a length that is true": (in_lock(EMPTY + array_state(b"\x88\x85", F2, b"ab")), "no vector"),
    "a matrix": (entry((np.int64(0), np.ones((2, 2), np.float16), np.float16(1))), "no vector"),
    "array never filled": (in_lock(EMPTY), "not \\(head, vector, σ\\)"),
    "head none": (entry((None, *HEAD[1:])), "layer 3 entry 0: the head is a NoneType"),
    "head a fraction": (entry((1.7, *HEAD[1:])), "the head is a float \\(1.7\\)"),
    "head true": (entry((True, *HEAD[1:])), "the head is a bool"),
    "head negative": (entry((-1, *HEAD[1:])), "the head is a int"),
    "head huge": (entry((10**30, *HEAD[1:])), "the head is a int"),
    "head a text": (entry(("1", *HEAD[1:])), "the head is a str"),
    "σ a text": (entry((*HEAD[:2], "0.5")), "σ of layer 3 head 1 is a str"),
    "σ none": (entry((*HEAD[:2], None)), "σ of layer 3 head 1 is a NoneType"),
    "whole numbers": (entry((1, np.ones(2, int), 0.5)), "of layer 3 head 1 is int64"),
    "a direction that is a list": (entry((1, [0.6, 0.8], 0.5)), "not \\(head, vector"),
    "another width": (dumped({KEY: [HEAD, (2, np.ones(3, "f2"), 1.0)]}), "direction of 3 numbers"),
    "not finite": (entry((1, np.array([np.nan, 1], np.float16), 1.0)), "NaN or infinite"),
    "σ of zero": (entry((1, HEAD[1], 0.0)), "not positive"),
    "the same head twice": (dumped({KEY: [HEAD, HEAD]}), "twice"),
    "layer of many digits": (dumped({KEY.replace("3", "9" * 5000): []}), "is not model.layers.N"),
    "no list": (dumped({KEY: HEAD}), "with a list"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*REFUSED, *DAMAGED])
def test_a_hostile_pickle_is_refused_by_name(tmp_path, name):
    error = UnsafeFileError if name in REFUSED else DirectionError
    data, message = {**REFUSED, **DAMAGED}[name]
    path = written(tmp_path / "bad.safelock", data)
    names = dict(inert_pickle._NAMES)
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message) as refusal:
            wb.HeadDirections.from_safelock(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(refusal.value) or "layer 3 head 1" in str(refusal.value)
    assert len(str(refusal.value)) < 600
    assert peak < 50 * 2**20
    assert names == inert_pickle._NAMES


def test_sizes_in_the_archive_are_not_believed(tmp_path):
    path = tmp_path / "bad.safelock"
    raw = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = raw.compress(bytes(100 * 2**20)) + raw.flush()
    written(path, bytes(1000), compression=zipfile.ZIP_DEFLATED)
    plain = path.read_bytes()
    packed = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packed.compress(bytes(1000)) + packed.flush()
    assert plain.count(packed) == 1
    lying = plain.replace(packed, bomb).replace(
        struct.pack("<I", len(packed)), struct.pack("<I", len(bomb))
    )
    path.write_bytes(lying)
    with pytest.raises((DirectionError, UnsafeFileError)):
        safelock.read(path)
    written(path, bytes(safelock.MAX_BYTES + 1), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeFileError, match="expands to more than"):
        safelock.read(path)
    path.write_bytes(bytes(safelock.MAX_BYTES + 1))
    with pytest.raises(UnsafeFileError, match="bytes, more than"):
        safelock.read(path)


def test_an_encrypted_member_is_named(tmp_path):
    path = written(tmp_path / "bad.safelock", dumped({KEY: [HEAD]}))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DirectionError, match="is encrypted"):
        safelock.read(path)


@given(at=st.integers(0, 400), value=st.integers(0, 255), cut=st.integers(0, 400))
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_is_read_or_refused(tmp_path_factory, at, value, cut):
    """Whatever a byte becomes: entries, or a refusal by name."""
    data = bytearray(dumped({KEY: [HEAD]}))
    data[at % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.safelock"
    written(path, bytes(data[: len(data) - cut % 7]))
    with contextlib.suppress(DirectionError, UnsafeFileError):
        wb.HeadDirections.from_safelock(path)


def test_the_given_cases(shared):
    folder = shared.parent / "cases" / "safelock"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    for path in sorted(folder.glob("*.safelock")):
        if path.stem == "good":
            assert len(wb.HeadDirections.from_safelock(path)) == 1
        else:
            with pytest.raises((DirectionError, UnsafeFileError)):
                wb.HeadDirections.from_safelock(path)
