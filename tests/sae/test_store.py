"""A diff on disk that is damaged, or is no diff: every file is named, nothing of it is believed."""

import json
import shutil

import numpy as np
import pytest

from workbench.errors import FeatureError
from workbench.sae.diff import FeatureDiff

RUN = {
    "a list": "[]",
    "deep": "[" * 10**5,
    "digits": '{"done": ' + "9" * 10**5 + "}",
    "NaN": '{"done": NaN}',
    "empty": "",
    "no object": "{}",
    "text": {"done": "8"},
    "truth": {"first_row": True},
    "half": {"rows": 8.0},
    "below 0": {"first_row": -1},
    "another size": {"features": 3},
    "size beyond memory": {"features": 10**15},
    "hook": {"hook": 5},
    "digest": {"sae": None},
    "path": {"done": 10**9},
}


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run.folder, tmp_path / "run")


@pytest.mark.parametrize("change", RUN.values(), ids=RUN)
def test_a_damaged_run_is_named(folder, change):
    path = folder / "run.json"
    content = {**json.loads(path.read_text()), **change} if isinstance(change, dict) else change
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(FeatureError, match=str(folder)):
        FeatureDiff.load(folder)


CHANGES = {
    "missing": lambda a: None,
    "another type": lambda a: a.astype(np.complex64),
    "text": lambda a: np.full(a.shape, "1"),
    "more axes": lambda a: a[..., None],
    "one row more": lambda a: np.concatenate([a, a[:1]]) if a.ndim else np.stack([a, a]),
    "impossible": lambda a: np.full_like(a, np.nan if a.dtype.kind == "f" else 2**31),
}


def changed(path, name, change):
    arrays = dict(np.load(path))
    array = change(arrays.pop(name))
    np.savez(path, **arrays, **({} if array is None else {name: array}))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("name", ["pull", "top_value", "sample_key", "drift"])
def test_damaged_counts_are_named(folder, name, change):
    path = next(folder.glob("counts-*.npz"))
    changed(path, name, change)
    with pytest.raises(FeatureError, match=str(path)):
        FeatureDiff.load(folder)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize(
    "name", ["length", "pooled01_data", "pooled10_index", "tokens0_count", "tokens1_index"]
)
def test_damaged_parts_are_named(folder, name, change):
    path = sorted(folder.glob("rows-*.npz"))[-1]
    changed(path, name, change)
    for read in (lambda d: d.pooled, lambda d: d.tokens(d.meta["rows"] - 1, 0)):
        with pytest.raises(FeatureError, match=str(path)):
            read(FeatureDiff.load(folder))


@pytest.mark.parametrize("which", [0, -1])
def test_parts_that_are_missing_are_named(folder, which):
    sorted(folder.glob("rows-*.npz"))[which].unlink()
    with pytest.raises(FeatureError, match=str(folder)):
        _ = FeatureDiff.load(folder).pooled
