"""GGUF files that are not what they say, and machines that lack what they need."""

import contextlib
import random
import shutil
import struct
from types import SimpleNamespace

import pytest
import torch

from tests.helpers.gguf_toys import load, write
from workbench import hub
from workbench.errors import ModelError
from workbench.models import gguf_files, limits

pytestmark = pytest.mark.usefixtures("cache")


def raises(path, words, **options):
    with pytest.raises(ModelError, match=words) as caught:
        load(path, **options)
    assert str(path) in str(caught.value)


def test_a_file_that_is_cut_off_anywhere(path):
    content = path.read_bytes()
    for end in sorted({4, 8, 20, *random.Random(0).sample(range(24, len(content)), 12)}):
        path.write_bytes(content[:end])
        raises(path, "cut off, damaged")


def test_no_byte_of_the_metadata_makes_another_error(path):
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(12):
        changed = bytearray(content)
        for _ in range(2):
            changed[rng.randrange(4, 8000)] = rng.choice([0, 1, 127, 255, rng.randrange(256)])
        path.write_bytes(changed)
        with contextlib.suppress(ModelError):
            load(path)


def with_number(content, place, number, kind="<Q"):
    return content[:place] + struct.pack(kind, number) + content[place + struct.calcsize(kind) :]


SIZES_BEHIND = {
    "tensors": b"GGUF\3\0\0\0",
    "metadata": b"GGUF\3\0\0\0\x14\0\0\0\0\0\0\0",
    "a list of texts": b"tokenizer.ggml.tokens\t\0\0\0\x08\0\0\0",
    "a list of numbers": b"tokenizer.ggml.token_type\t\0\0\0\x05\0\0\0",
    "a text": b"tokenizer.ggml.model\x08\0\0\0",
    "a weight": b"blk.0.attn_q.weight\2\0\0\0",
}


@pytest.mark.parametrize("number", [2**63, 2**40, 10**7])
@pytest.mark.parametrize("what", SIZES_BEHIND)
def test_sizes_that_lie_are_refused_without_taking_memory(what, number, path):
    content, after = path.read_bytes(), SIZES_BEHIND[what]
    place = content.index(after) + len(after)
    path.write_bytes(with_number(content, place, number))
    raises(path, "cut off, damaged")


FOREIGN = {
    "zip": (b"PK\3\4" + bytes(40), "no GGUF"),
    "empty": (b"", "no GGUF"),
    "text": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "no GGUF"),
    "version": (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "v1"),
    "other end first": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "cut off, damaged"),
    "no family": (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "general.architecture"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_another_kind(kind, path):
    content, words = FOREIGN[kind]
    path.write_bytes(content)
    raises(path, words)


CHANGES = {
    "no tokenizer": ({"drop": ["tokenizer.ggml.tokens"]}, "holds no tokenizer"),
    "no layers": ({"drop": ["llama.block_count"]}, "llama.block_count"),
    "no heads": ({"drop": ["llama.attention.head_count"]}, "attention.head_count"),
    "too many layers": ({"extra": {"llama.block_count": ("uint32", 10**9)}}, "1000000000 layers"),
    "more layers": ({"extra": {"llama.block_count": ("uint32", 3)}}, "weights of"),
    "wider": ({"extra": {"llama.embedding_length": ("uint32", 2**30)}}, "weights of"),
    "narrower": ({"extra": {"llama.feed_forward_length": ("uint32", 64)}}, "mismatch"),
    "a weight less": ({"drop": ["blk.0.ffn_up.weight"]}, "weights of"),
    "a vector less": (
        {"drop": ["blk.1.attn_norm.weight"], "tensors": [("other", torch.ones(64).numpy())]},
        "weights are missing: model.layers.1.input_layernorm",
    ),
    "no numbers": ({"extra": {"llama.block_count": ("string", "two")}}, "cut off, damaged"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_whose_parts_do_not_fit(change, path):
    options, words = CHANGES[change]
    write(path, **options)
    raises(path, words)


def named(path, family):
    """The file with another family's name of as many letters."""
    path.write_bytes(path.read_bytes().replace(b"llama", family))


@pytest.mark.parametrize(("family", "words"), [(b"bloom", "bloom"), (b"lfm22", "lfm22")])
def test_families_that_nobody_here_knows(family, words, path):
    named(path, family)
    raises(path, words)


@pytest.mark.parametrize("kind", [4, 34, 99])
def test_a_quantisation_that_cannot_be_read(kind, path):
    content = path.read_bytes()
    name = b"blk.0.ffn_up.weight"
    place = content.index(name) + len(name) + 4 + 16
    path.write_bytes(with_number(content, place, kind, "<I"))
    raises(path, "cut off, damaged, or of a kind")


# ---- what is lacking here


def test_without_the_reader_the_command_is_named(path, monkeypatch):
    monkeypatch.setattr(hub.importlib.util, "find_spec", lambda name: None)
    raises(path, "`pip install gguf`")


def test_a_file_that_is_not_there(tmp_path):
    raises(tmp_path / "none.gguf", "is not there; bring it with `hf download")


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float64"])
def test_too_little_memory_is_said_in_numbers(dtype, path, monkeypatch):
    folder = gguf_files.plain_folder(path)
    free = SimpleNamespace(available=300_000, free=10_000)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(limits.psutil, "swap_memory", lambda: free)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    # As they are stored, weights are mapped from their file and need nothing.
    if dtype == "float64":
        with pytest.raises(ModelError, match=r"its weights take .* GB of memory is free"):
            load(path, dtype=dtype)
    else:
        assert load(path, dtype=dtype).hf.dtype == getattr(torch, dtype, torch.float32)
    shutil.rmtree(folder)
    free.available = 200_000
    raises(path, r"its weights take 0\.0 GB, and 0\.0 GB of memory is free")


def test_a_cache_that_cannot_be_written(path, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written.*WORKBENCH_CACHE names"):
        load(path)
