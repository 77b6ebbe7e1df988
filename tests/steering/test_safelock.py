"""The restricted reader: real files field for field, hostile ones without a single call."""

import io
import os
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.directions import some_lock
from tests.helpers.families import build
from workbench.errors import DirectionError, UnsafeFileError
from workbench.steering import safelock

LLAMA_3_8B = {
    12: {0, 15, 21, 23},
    16: {7, 28, 29, 31},
    13: {29, 31},
    11: {17, 30},
    24: {13, 14},
    27: {14},
    7: {20},
    14: {9, 11},
    31: {15, 26, 27},
    30: {6},
    25: {1},
    10: {9},
}


def archive(path, data, stem="lock"):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{stem}/data.pkl", data)
    return path


def test_released_llama_lock_is_as_listed(shared):
    lock = wb.HeadDirections.from_safelock(
        shared / "safetylock" / "Meta-Llama-3-8B-Instruct.safelock"
    )
    found: dict[int, set[int]] = {}
    for layer, head in lock.heads:
        found.setdefault(layer, set()).add(head)
    assert found == LLAMA_3_8B
    assert list(found) == list(LLAMA_3_8B)
    assert lock.unit.shape == (24, 128)
    assert lock.scale.min().item() == pytest.approx(0.096, abs=5e-4)
    assert lock.scale.max().item() == pytest.approx(0.738, abs=5e-4)
    assert "24 heads in layers 7–31" in str(lock)


def test_released_nemo_lock(shared):
    lock = wb.HeadDirections.from_safelock(shared / "safetylock" / "Mistral_Nemo_12B.safelock")
    assert (len(lock), len(set(lock.layer.tolist()))) == (24, 12)
    assert (lock.layer.min(), lock.layer.max()) == (12, 39)
    assert lock.scale.min().item() == pytest.approx(0.557, abs=5e-4)
    assert lock.scale.max().item() == pytest.approx(5.797, abs=5e-4)


@pytest.mark.parametrize("name", ["Meta-Llama-3-8B-Instruct", "Mistral_Nemo_12B"])
def test_released_files_round_trip_field_for_field(shared, tmp_path, name):
    entries = safelock.read(shared / "safetylock" / f"{name}.safelock")
    safelock.write(tmp_path / "again.safelock", entries)
    again = safelock.read(tmp_path / "again.safelock")
    assert [(e.layer, e.head, e.scale) for e in entries] == [
        (e.layer, e.head, e.scale) for e in again
    ]
    for a, b in zip(entries, again, strict=True):
        assert a.unit.dtype == b.unit.dtype == np.float16
        assert np.array_equal(a.unit, b.unit)


def test_written_file_is_what_a_plain_old_pickle_loader_expects(tmp_path):
    unit = np.zeros(8)
    unit[2] = 1
    safelock.write(tmp_path / "x.safelock", [safelock.Entry(3, 1, unit, 0.5)])
    with zipfile.ZipFile(tmp_path / "x.safelock") as file:
        data = file.read("x/data.pkl")
        assert file.read("x/byteorder") == b"little"
    assert data[:2] == b"\x80\x02"
    assert b"cnumpy.core.multiarray\n" in data
    content = pickle.loads(data)  # our own bytes, written two lines above
    ((head, vector, sigma),) = content["model.layers.3.self_attn.head_out"]
    assert (head, sigma, vector.dtype, vector[2]) == (1, 0.5, np.float16, 1)


class Boom:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_hostile_pickles_execute_nothing(tmp_path, protocol):
    marker = tmp_path / "executed"
    calls = (
        (os.system, f"touch {marker}"),
        (eval, f"open({str(marker)!r}, 'w')"),
        (exec, f"open({str(marker)!r}, 'w')"),
        (getattr, "x", "upper"),
    )
    for call, *args in calls:
        for content in (
            Boom(call, *args),
            {"model.layers.0.self_attn.head_out": [Boom(call, *args)]},
        ):
            path = archive(tmp_path / "bad.safelock", pickle.dumps(content, protocol=protocol))
            with pytest.raises(UnsafeFileError, match=rf"{call.__name__}; nothing was executed"):
                wb.HeadDirections.from_safelock(path)
    assert not marker.exists()


def test_hostile_parts_of_allowed_globals(tmp_path):
    cases = {
        "codec": Boom(__import__("codecs").encode, "x", "rot13"),
        "dtype 'O8'": Boom(np.dtype, "O8"),
        "shape": Boom(np._core.multiarray._reconstruct, np.ndarray, (10**9,), b"b"),
    }
    for message, content in cases.items():
        data = pickle.dumps(content, protocol=2)
        with pytest.raises(UnsafeFileError, match=message):
            safelock.read(archive(tmp_path / "bad.safelock", data))


def test_persistent_id(tmp_path):
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=2)
    pickler.persistent_id = lambda item: "storage" if item == "s" else None
    pickler.dump({"model.layers.0.self_attn.head_out": "s"})
    with pytest.raises(UnsafeFileError, match="persistent id"):
        safelock.read(archive(tmp_path / "p.safelock", buffer.getvalue()))


def test_files_that_are_something_else(tmp_path, shared):
    plain = tmp_path / "plain.safelock"
    plain.write_text("hello")
    with pytest.raises(DirectionError, match=r"no \.safelock archive"):
        safelock.read(plain)
    real = (shared / "safetylock" / "Mistral_Nemo_12B.safelock").read_bytes()
    plain.write_bytes(real[: len(real) // 2])
    with pytest.raises(DirectionError, match=r"no \.safelock archive"):
        safelock.read(plain)
    with zipfile.ZipFile(plain, "w") as file:
        file.writestr("lock/other", "x")
    with pytest.raises(DirectionError, match=r"expected one \*/data.pkl, found \['lock/other'\]"):
        safelock.read(plain)
    for content, message in (
        ([1], "holds a list, not a dict"),
        ({}, "holds no heads"),
        ({"model.layers.x": []}, r"key 'model\.layers\.x'"),
        ({"model.layers.1.self_attn.head_out": [(1, 2)]}, "is not \\(head, vector, σ\\)"),
    ):
        with pytest.raises(DirectionError, match=message):
            safelock.read(archive(plain, pickle.dumps(content, protocol=2)))
    with pytest.raises(DirectionError, match="is damaged"):
        safelock.read(archive(plain, pickle.dumps({"a": 1}, protocol=2)[:-4]))


def test_real_locks_on_the_real_shapes(shared, tokenizer):
    """A 1-layer Llama-3-8B shape is too shallow; Nemo's 32 × 128 heads in hidden 5120 fit."""
    path = shared / "safetylock"
    lock = wb.HeadDirections.from_safelock(path / "Meta-Llama-3-8B-Instruct.safelock")
    shape = {"num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 64}
    llama = build("llama", tokenizer, hidden_size=4096, num_hidden_layers=1, **shape)
    assert (llama.n_heads, llama.n_kv_heads, llama.d_head) == (32, 8, 128)
    with pytest.raises(DirectionError, match="layer 31 of a model with 1 layers"):
        lock.check(llama)
    nemo_lock = wb.HeadDirections.from_safelock(path / "Mistral_Nemo_12B.safelock")
    first = nemo_lock.layer == 12
    nemo = build("mistral", tokenizer, hidden_size=5120, num_hidden_layers=1, head_dim=128, **shape)
    assert nemo.d_head == 128 != 5120 // 32
    moved = wb.HeadDirections(
        nemo_lock.layer[first] - 12,
        nemo_lock.head[first],
        nemo_lock.unit[first],
        nemo_lock.scale[first],
    )
    ids = torch.tensor([[1, 5, 9, 11]])
    before = nemo.hf(ids).logits
    with wb.steer(nemo, moved, 6, how="hook"):
        hooked = nemo.hf(ids).logits
    with wb.steer(nemo, moved, 6):
        folded = nemo.hf(ids).logits
    assert (hooked - before).abs().max() > 1e-3
    torch.testing.assert_close(hooked, folded, atol=1e-4, rtol=1e-4)


def test_a_lock_is_written_with_its_own_units_and_scales(tiny, tmp_path):
    """Half precision apart; sorted by head within a layer, layers as they come."""
    lock = replace(some_lock(tiny, k=7), scale=torch.linspace(0.2, 3.0, 7))
    lock.to_safelock(tmp_path / "a.safelock")
    again = wb.HeadDirections.from_safelock(tmp_path / "a.safelock")
    rows = dict(zip(again.heads, zip(again.unit, again.scale, strict=True), strict=True))
    assert set(rows) == set(lock.heads)
    for head, unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
        torch.testing.assert_close(rows[head][0], unit, atol=1e-3, rtol=0)
        torch.testing.assert_close(rows[head][1], scale, atol=0, rtol=1e-3)


ENTRY = (1, np.eye(1, 16, dtype=np.float16)[0], np.float16(0.5))


@pytest.mark.parametrize("layer", ["\u0661", "01", "+1", " 1", "1_0"])
def test_a_layer_is_spelled_in_one_way(tmp_path, layer):
    content = {f"model.layers.{layer}.self_attn.head_out": [ENTRY]}
    with pytest.raises(DirectionError, match=r"is not model\.layers\.N"):
        safelock.read(archive(tmp_path / "l.safelock", pickle.dumps(content, protocol=2)))


def test_numbers_of_another_byte_order_and_beyond_floats(tmp_path):
    def read(entry):
        data = pickle.dumps({"model.layers.2.self_attn.head_out": [entry]}, protocol=2)
        return wb.HeadDirections.from_safelock(archive(tmp_path / "n.safelock", data))

    swapped = (1, ENTRY[1].astype(">f2"), ENTRY[2])
    assert read(swapped).digest() == read(ENTRY).digest()
    with pytest.raises(DirectionError, match="σ of layer 2 head 1 is too large"):
        read((1, ENTRY[1], 10**400))


def test_a_member_whose_name_is_no_text(tmp_path):
    data = pickle.dumps({"model.layers.2.self_attn.head_out": [ENTRY]}, protocol=2)
    path = archive(tmp_path / "n.safelock", data, stem="lóck")
    path.write_bytes(path.read_bytes().replace("ó".encode(), b"\xd5\x20"))
    with pytest.raises(DirectionError, match=r"no \.safelock archive"):
        safelock.read(path)
