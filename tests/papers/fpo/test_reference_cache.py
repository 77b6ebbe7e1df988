"""The reference on disk: what goes in comes back, kills, damage and other settings are named."""

import json

import numpy as np
import pytest

from tests.helpers.hostile import JSON
from workbench.errors import CacheCorrupt, CacheMismatch
from workbench.papers.fpo import reference_cache

META = {"model": "m", "sae": "s", "max_length": 64, "features": 12, "pairs": 7, "cache_top": None,
        "dtype": "float32"}  # fmt: skip


def parts(seed=0):
    rng = np.random.default_rng(seed)
    pooled = rng.random((7, 2, 12), dtype=np.float32) * (rng.random((7, 2, 12)) > 0.5)
    return reference_cache.Part(
        -rng.random((7, 2)).astype(np.float32), rng.integers(1, 9, (7, 2)).astype(np.int32), pooled
    )


def write(folder, meta=META, part=3, whole=None, **kwargs):
    whole = whole or parts()

    def compute(some):
        s = slice(some.start, some.stop)
        return reference_cache.Part(whole.logp[s], whole.length[s], whole.pooled[s])

    reference_cache.build(folder, meta, 7, compute, part=part, **kwargs)
    reference_cache.finish(folder, meta, 7, part=part)
    return whole


def dense(found, pair, side):
    out = np.zeros(12, np.float32)
    index, value = found.row(pair, side)
    out[index] = value
    return out


@pytest.mark.parametrize("part", [1, 3, 100])
def test_a_cache_gives_back_what_was_put_in(tmp_path, part):
    whole = write(tmp_path / "c", part=part)
    found = reference_cache.read(tmp_path / "c", META)
    assert np.array_equal(found.logp, whole.logp)
    assert np.array_equal(found.length, whole.length)
    for pair in range(7):
        for side in (0, 1):
            assert np.array_equal(dense(found, pair, side), whole.pooled[pair, side])
    assert not (tmp_path / "c.parts").exists()


def test_a_truncated_cache_is_off_by_at_most_what_it_says(tmp_path):
    meta = {**META, "cache_top": 3}
    whole = write(tmp_path / "c", meta)
    found = reference_cache.read(tmp_path / "c", meta)
    worst, least = 0.0, []
    for pair in range(7):
        for side in (0, 1):
            kept = dense(found, pair, side)
            assert (kept > 0).sum() <= 3
            assert np.sort(kept)[-3:].tolist() == np.sort(whole.pooled[pair, side])[-3:].tolist()
            cut = (whole.pooled[pair, side] > 0).sum() > 3
            least.append(kept[kept > 0].min() if cut else 0.0)
            worst = max(worst, np.abs(kept - whole.pooled[pair, side]).max())
    assert 0 < worst <= found.meta["smallest_kept_max"] == max(least)
    assert found.meta["smallest_kept_mean"] == pytest.approx(np.mean(least))


def test_two_ranks_make_the_same_cache_as_one(tmp_path):
    whole = parts()

    def compute(some):
        s = slice(some.start, some.stop)
        return reference_cache.Part(whole.logp[s], whole.length[s], whole.pooled[s])

    for rank in (0, 1):
        reference_cache.build(tmp_path / "two", META, 7, compute, rank=rank, world=2, part=2)
    reference_cache.finish(tmp_path / "two", META, 7, part=2)
    write(tmp_path / "one", part=2)
    for name in ("offsets", "idx", "val", "logp", "length"):
        assert (tmp_path / f"two/{name}.npy").read_bytes() == (
            tmp_path / f"one/{name}.npy"
        ).read_bytes()


def test_a_killed_pass_goes_on_where_it_stopped(tmp_path):
    whole, seen = parts(), []

    def compute(some, fail_at=None):
        if some.start == fail_at:
            raise KeyboardInterrupt
        seen.append(some.start)
        s = slice(some.start, some.stop)
        return reference_cache.Part(whole.logp[s], whole.length[s], whole.pooled[s])

    with pytest.raises(KeyboardInterrupt):
        reference_cache.build(tmp_path / "c", META, 7, lambda r: compute(r, 4), part=2)
    assert not (tmp_path / "c").exists()
    reference_cache.build(tmp_path / "c", META, 7, compute, part=2)
    reference_cache.finish(tmp_path / "c", META, 7, part=2)
    assert seen == [0, 2, 4, 6]
    assert np.array_equal(reference_cache.read(tmp_path / "c", META).logp, whole.logp)
    (tmp_path / "d.parts").mkdir()
    (tmp_path / "d.parts/meta.json").write_text(json.dumps({**META, "model": "other"}))
    with pytest.raises(CacheMismatch, match="unfinished"):
        reference_cache.build(tmp_path / "d", META, 7, compute)


def test_a_cache_of_something_else_lists_what_differs(tmp_path):
    write(tmp_path / "c")
    with pytest.raises(CacheMismatch) as found:
        reference_cache.read(tmp_path / "c", {**META, "model": "n", "max_length": 32})
    assert "model" in str(found.value)
    assert "max_length: cache has 64, this run 32" in str(found.value)
    assert "sae" not in str(found.value)


def damaged(folder, name):
    path = folder / f"{name}.npy"
    return path, np.load(path)


@pytest.mark.parametrize("damage", ["truncated", "offsets", "index", "value", "dtype", "missing"])
def test_a_damaged_cache_names_file_and_row(tmp_path, damage):
    folder = tmp_path / "c"
    write(folder)
    if damage == "truncated":
        path = folder / "val.npy"
        path.write_bytes(path.read_bytes()[:-4])
        expected = "val.npy"
    elif damage == "offsets":
        path, values = damaged(folder, "offsets")
        values[5], values[6] = values[6], values[5] - 1
        np.save(path, values)
        expected = r"offsets.npy: row \d"
    elif damage == "index":
        path, values = damaged(folder, "idx")
        row = 4
        values[np.load(folder / "offsets.npy")[row]] = 12
        np.save(path, values)
        expected = "idx.npy: row 4"
    elif damage == "value":
        path, values = damaged(folder, "val")
        values[-1] = np.nan
        np.save(path, values)
        expected = r"val.npy: row 1\d"
    elif damage == "dtype":
        path, values = damaged(folder, "idx")
        np.save(path, values.astype(np.int64))
        expected = "idx.npy: holds int64"
    else:
        (folder / "logp.npy").unlink()
        expected = "logp.npy"
    with pytest.raises(CacheCorrupt, match=expected):
        reference_cache.read(folder, META)


def test_pickles_are_never_loaded(tmp_path):
    write(tmp_path / "c")
    np.save(tmp_path / "c/val.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(CacheCorrupt, match=r"val\.npy"):
        reference_cache.read(tmp_path / "c", META)


@pytest.mark.parametrize("content", JSON.values(), ids=JSON)
def test_meta_that_is_none(tmp_path, content):
    write(tmp_path / "cache")
    (tmp_path / "cache" / "meta.json").write_text(content)
    with pytest.raises((CacheCorrupt, CacheMismatch), match=str(tmp_path)):
        reference_cache.read(tmp_path / "cache", META)
