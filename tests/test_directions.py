"""Contrast against its formula; files that are wrong in every known way."""

import math

import numpy as np
import pytest
import torch
from conftest import CHATS, build
from safetensors.torch import save_file

import workbench as wb
from workbench.errors import DirectionError

LABELS = torch.tensor([0, 1, 1] * 3)


@pytest.fixture(scope="module")
def llama(tokenizer):
    return build("llama", tokenizer)


@pytest.fixture(scope="module")
def acts(llama):
    return wb.capture(llama, CHATS, "heads", wb.last(5))


@pytest.fixture
def lock(acts):
    return wb.HeadDirections.contrast(acts, LABELS, [(0, 1), (2, 5), (1, 0)])


def test_contrast_is_the_formula(acts, lock):
    rows, prompt = acts.rows()
    y = LABELS[prompt].numpy().astype(bool)
    for (layer, head), unit, scale in zip(lock.cells, lock.unit, lock.scale, strict=True):
        x = rows[:, layer, head].double().numpy()
        difference = x[y].mean(0) - x[~y].mean(0)
        theta = difference / np.linalg.norm(difference)
        np.testing.assert_allclose(unit, theta, atol=1e-6)
        np.testing.assert_allclose(scale, (x @ theta).std(), rtol=1e-6)


def test_identical_activations_are_skipped_with_their_place(acts, caplog):
    values = acts.values.clone()
    values[:, :, 0, 1] = 2.0
    same = wb.Activations(
        (values,), acts.lengths, acts.layers, "heads", acts.positions, "m", acts.sizes
    )
    lock = wb.HeadDirections.contrast(same, LABELS, [(0, 1), (2, 5)])
    assert lock.cells == [(2, 5)]
    assert "layer 0 head 1: class means coincide" in caplog.text
    with pytest.raises(DirectionError, match="in every place"):
        wb.HeadDirections.contrast(same, LABELS, [(0, 1)])


def test_round_trip(lock, tmp_path):
    lock.save(tmp_path / "lock.safetensors")
    again = wb.HeadDirections.load(tmp_path / "lock.safetensors")
    assert again.cells == lock.cells
    torch.testing.assert_close(again.unit, lock.unit)
    assert torch.equal(again.scale, lock.scale)
    assert again.provenance == lock.provenance


def changed(lock, **fields):
    kept = {k: getattr(lock, k).clone() for k in ("layer", "head", "unit", "scale")}
    return wb.HeadDirections(**{**kept, **fields})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit", math.nan, "layer 0 head 1: NaN"),
        ("unit", 3.0, "layer 0 head 1: direction has norm"),
        ("scale", -1.0, "layer 0 head 1: scale -1 is not positive"),
        ("head", -2, "layer 0 head -2: negative"),
    ],
)
def test_bad_values_name_the_head(lock, field, value, message):
    tensor = getattr(lock, field).clone()
    tensor[0] = value
    with pytest.raises(DirectionError, match=message):
        changed(lock, **{field: tensor})


def test_a_head_twice(lock):
    with pytest.raises(DirectionError, match="layer 0 head 1: twice"):
        changed(lock, layer=torch.tensor([0, 0, 1]), head=torch.tensor([1, 1, 0]))


def test_misfit_names_both_sizes(lock, tokenizer):
    other = build("llama", tokenizer, head_dim=16)
    with pytest.raises(DirectionError, match="d_head: direction 8, model 16"):
        lock.check(other)
    deeper = changed(lock, layer=torch.tensor([0, 9, 1]))
    with pytest.raises(DirectionError, match="layer 9 of a model with 3 layers"):
        deeper.check(build("llama", tokenizer))
    with pytest.raises(DirectionError, match="n_layers: direction 3, model 2"):
        lock.check(build("llama", tokenizer, num_hidden_layers=2))


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
