"""Directions on disk: read back as they were; damaged files named; saved whole or not at all."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import workbench as wb
from tests.helpers.directions import some_lock, some_residual
from tests.helpers.hostile import JSON
from workbench.errors import DirectionError
from workbench.steering import direction_files
from workbench.steering.directions import read_direction


@pytest.fixture
def lock(tiny):
    lock = some_lock(tiny)
    return lock.rotated(lock.unit, method="mean", model="tiny", sizes=tiny.sizes)


@pytest.mark.parametrize("make", [some_lock, some_residual])
def test_a_file_is_read_as_the_kind_it_holds(tiny, tmp_path, make):
    direction = make(tiny)
    direction.save(tmp_path / "new" / "d.safetensors")
    again = read_direction(tmp_path / "new" / "d.safetensors")
    assert type(again) is type(direction)
    assert again.digest() == direction.digest()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["d.safetensors"]


def test_a_released_file_is_read_by_its_suffix(lock, tmp_path):
    lock.to_safelock(tmp_path / "l.safelock")
    again = read_direction(tmp_path / "l.safelock")
    assert sorted(again.heads) == sorted(lock.heads)
    with pytest.raises(DirectionError, match="cannot be read as safetensors"):
        read_direction(tmp_path / "absent.safetensors")


def test_a_save_that_fails_leaves_the_old_file(lock, tmp_path, monkeypatch):
    path = tmp_path / "lock.safetensors"
    lock.save(path)

    def broken(partial, content):
        with partial.open("wb") as file:
            file.write(content[:4])
        raise OSError("the disk is full")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(OSError, match="the disk is full"):
        lock.pick([0]).save(path)
    assert wb.HeadDirections.load(path).heads == lock.heads
    assert list(tmp_path.iterdir()) == [path]


def test_round_trip(lock, tmp_path):
    lock.save(tmp_path / "lock.safetensors")
    again = wb.HeadDirections.load(tmp_path / "lock.safetensors")
    assert again.heads == lock.heads
    torch.testing.assert_close(again.unit, lock.unit)
    assert torch.equal(again.scale, lock.scale)
    assert again.provenance == lock.provenance


def test_damaged_files(lock, tmp_path):
    path = tmp_path / "lock.safetensors"
    lock.save(path)
    whole = path.read_bytes()
    for cut in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DirectionError, match="cannot be read as safetensors"):
            wb.HeadDirections.load(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(DirectionError, match="is no HeadDirections file"):
        wb.HeadDirections.load(path)
    with pytest.raises(DirectionError, match="cannot be read"):
        wb.HeadDirections.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("kind", sorted(JSON.keys() - {"empty object"}))
def test_provenance_that_is_none(lock, tmp_path, kind):
    path = tmp_path / "lock.safetensors"
    lock.save(path)
    save_file(load_file(path), path, {"format": wb.HeadDirections.FORMAT, "provenance": JSON[kind]})
    with pytest.raises(DirectionError, match=rf"{path}: its provenance"):
        wb.HeadDirections.load(path)


def test_equal_directions_are_equal_bytes(tmp_path):
    contents = set()
    for _ in range(12):
        direction_files.write(tmp_path / "a", "f", {"x": torch.ones(3)}, {"b": "é", "a": 1})
        contents.add((tmp_path / "a").read_bytes())
    assert len(contents) == 1
    tensors, provenance = direction_files.read(tmp_path / "a", "f", ["x"], "x")
    assert provenance == {"b": "é", "a": 1}
    assert torch.equal(tensors["x"], torch.ones(3))
