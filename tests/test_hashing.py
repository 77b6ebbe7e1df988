"""Identity of content: one spelling of JSON, digests as hashlib says, tensors by all they are."""

import hashlib
import json

import pytest
import torch
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from workbench.hashing import (
    canonical,
    checksum,
    digest,
    file_digest,
    pieces_digest,
    tensors_digest,
    word_checksum,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def backwards(value):
    """The same content with the keys of every object in another order."""
    if isinstance(value, dict):
        return {key: backwards(inner) for key, inner in reversed(value.items())}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


@given(VALUES)
def test_canonical_json_says_the_same_in_one_spelling(value):
    text = canonical(value)
    assert json.loads(text) == value
    assert canonical(backwards(value)) == canonical(json.loads(text)) == text


def test_canonical_by_hand():
    assert canonical({"b": [1, 2.5, None], "a": {"ü": True}}) == '{"a":{"ü":true},"b":[1,2.5,null]}'
    for wrong in (float("nan"), [float("inf")]):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical(wrong)
    with pytest.raises(TypeError):
        canonical({"a": object()})


@pytest.mark.parametrize(
    ("content", "hashed"),
    [
        ("", b""),
        ("naïve", "naïve".encode()),
        (b"\x00\xff", b"\x00\xff"),
        ({"b": 1, "a": [None]}, b'{"a":[null],"b":1}'),
        ([1, "x"], b'[1,"x"]'),
        (None, b"null"),
        ("\ud800", b"\xed\xa0\x80"),  # half a character, as a model may write one
    ],
)
def test_digest_is_sha256_of_the_bytes(content, hashed):
    expected = hashlib.sha256(hashed).hexdigest()
    assert digest(content) == expected[:16]
    assert digest(content, 64) == expected
    assert digest(content, 5) == expected[:5]


def test_pieces_are_digested_as_one_whole():
    pieces = [b"ab", b"", bytearray(b"c"), memoryview(b"de")]
    assert pieces_digest(iter(pieces)) == digest(b"abcde", 64)
    assert pieces_digest([], 16) == digest(b"")


def test_text_is_not_its_json():
    assert digest("null") == digest(None)
    assert digest("x") != digest(canonical("x"))


def test_file_digest_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(content)
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert file_digest(str(tmp_path / "a"), 16) == digest(content)
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "absent")


TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def test_tensors_digest_by_hand():
    """Names, shapes, dtypes and little-endian bytes, in the order of names."""
    spelled = b"a(2, 3)torch.float32" + TENSORS["a"].numpy().tobytes()
    spelled += b"b(2,)torch.int64" + TENSORS["b"].numpy().tobytes()
    assert tensors_digest(TENSORS) == xxhash.xxh3_64_hexdigest(spelled)
    assert tensors_digest({}) == xxhash.xxh3_64_hexdigest(b"")


def test_tensors_digest_sees_the_content_not_how_it_lies_in_memory():
    expected = tensors_digest(TENSORS)
    assert tensors_digest(dict(reversed(TENSORS.items()))) == expected
    strided = torch.stack([TENSORS["a"].T, torch.zeros(3, 2)], -1)[..., 0].T
    assert not strided.is_contiguous()
    assert tensors_digest({**TENSORS, "a": strided}) == expected
    parameter = torch.nn.Parameter(TENSORS["a"])
    assert tensors_digest({**TENSORS, "a": parameter}) == expected


def test_tensors_digest_changes_with_every_part():
    a, b = TENSORS.values()
    value = a.clone()
    value[1, 2] = value[1, 2].nextafter(torch.tensor(9.0))
    others = [
        TENSORS,
        {"a": a},
        {"a": a, "c": b},
        {"a": b, "b": a},
        {"a": a.reshape(3, 2), "b": b},
        {"a": a.flatten(), "b": b},
        {"a": a.view(torch.int32), "b": b},  # the same bytes
        {"a": a.double(), "b": b},
        {"a": value, "b": b},
        {"a": a, "b": b.flip(0)},
        {"a": a, "b": b, "c": torch.zeros(0)},
    ]
    assert len({tensors_digest(tensors) for tensors in others}) == len(others)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.bool, torch.uint8])
def test_tensors_of_every_dtype_and_rank(dtype):
    shapes = [(), (1,), (2, 3), (0, 4)]
    digests = {tensors_digest({"x": torch.ones(shape).to(dtype)}) for shape in shapes}
    assert len(digests) == len(shapes)
    assert all(len(d) == 16 for d in digests)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 100, 1000])
def test_word_checksum_by_hand(length):
    """A wrapping sum of 8-byte words times odd numbers, piece by piece; every byte counts."""
    flat = torch.randint(0, 256, (length,), dtype=torch.uint8)
    padded = flat.numpy().tobytes() + bytes(-length % 8)
    words = [
        int.from_bytes(padded[i : i + 8], "little", signed=True) for i in range(0, len(padded), 8)
    ]

    def wrapped(value):
        return (value + 2**63) % 2**64 - 2**63

    total = length
    for start in range(0, len(words), 5):
        odd = [(wrapped(i * -7046029254386353131) ^ wrapped(i * 2862933555777941757) >> 29) | 1
               for i in range(5)]  # fmt: skip
        piece = sum(w * o for w, o in zip(words[start : start + 5], odd, strict=False))
        total = (total * 6364136223846793005 + wrapped(piece)) % 2**64
    assert word_checksum(flat, step=5) == total
    for i in range(length):
        changed = flat.clone()
        changed[i] ^= 1
        assert word_checksum(changed, step=5) != total


def test_checksum_is_of_the_bytes_however_they_lie():
    matrix = torch.randn(40, 30)
    assert checksum(matrix.T) == checksum(matrix.T.contiguous()) != checksum(matrix)
    assert checksum(matrix) == checksum(matrix.view(torch.int32))
    for dtype in (torch.bfloat16, torch.float16, torch.bool, torch.int8, torch.complex64):
        assert checksum(torch.ones(3, dtype=dtype)) != checksum(torch.zeros(3, dtype=dtype))
    assert checksum(torch.tensor(1.0)) == checksum(torch.ones(1))
