"""Directions: residual ones by their formula, what is refused, and with which words."""

import math

import numpy as np
import pytest
import torch

import workbench as wb
from tests.helpers.families import CHATS, build
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


@pytest.mark.parametrize("width", [4, 16, 33, 128, 4096])
def test_unit_vectors_stay_as_they_are_however_often_they_are_built(width):
    """Normalised once; built again from themselves, whole or in part, they keep every bit."""
    raw = torch.randn(50, width, generator=torch.Generator().manual_seed(width))
    raw /= raw.norm(dim=1, keepdim=True)
    raw[::2] = raw[::2].half().float()  # released locks are half precision
    layer = torch.arange(50)
    built = wb.ResidualDirection(layer, raw, torch.ones(50))
    again = wb.ResidualDirection(layer, built.unit, built.scale)
    assert torch.equal(again.unit, built.unit)
    assert torch.equal(built.pick([7, 3]).unit, built.unit[[7, 3]])
    assert built.pick([7, 3]).digest() == again.pick([7, 3]).digest()
    norms = built.unit.double().norm(dim=1)
    off = (norms - 1).abs()
    assert off[1::2].max() < 5e-7
    assert off[::2].max() < torch.finfo(torch.float16).eps
    assert torch.equal(built.unit[::2], raw[::2])


def test_residual_directions(llama, tmp_path):
    resid = wb.capture(llama, CHATS, "resid", wb.last(5))
    direction = wb.ResidualDirection.contrast(resid, LABELS, [0, 2], topic="gates")
    rows, prompt = resid.rows()
    y = LABELS[prompt].numpy().astype(bool)
    for layer, unit, scale in zip((0, 2), direction.unit, direction.scale, strict=True):
        x = rows[:, layer].double().numpy()
        theta = x[y].mean(0) - x[~y].mean(0)
        theta /= np.linalg.norm(theta)
        np.testing.assert_allclose(unit, theta, atol=1e-6)
        np.testing.assert_allclose(scale, (x @ theta).std(), rtol=1e-6)
    assert len(wb.ResidualDirection.contrast(resid, LABELS)) == 3
    direction.save(tmp_path / "d.safetensors")
    again = wb.ResidualDirection.load(tmp_path / "d.safetensors")
    assert again.digest() == direction.digest()
    assert again.provenance == direction.provenance
    assert again.provenance["topic"] == "gates"
    assert again.provenance["rows"] == len(rows)
    assert "2 layers in layers 0–2, d_model 48" in str(again)
    with pytest.raises(DirectionError, match="is no HeadDirections file"):
        wb.HeadDirections.load(tmp_path / "d.safetensors")


def test_contrast_refuses_what_it_cannot_contrast(acts):
    with pytest.raises(DirectionError, match="needs site 'resid', not 'heads'"):
        wb.ResidualDirection.contrast(acts, LABELS)
    with pytest.raises(DirectionError, match="unknown method 'ica'; methods are mean, lda, pca"):
        wb.HeadDirections.contrast(acts, LABELS, [(0, 0)], method="ica")
    with pytest.raises(DirectionError, match="8 labels for 9 prompts"):
        wb.HeadDirections.contrast(acts, LABELS[:8], [(0, 0)])
    with pytest.raises(DirectionError, match="both classes are needed"):
        wb.HeadDirections.contrast(acts, LABELS * 0, [(0, 0)])


def test_identical_activations_are_skipped_with_their_place(acts, caplog):
    values = acts.values.clone()
    values[:, :, 0, 1] = 2.0
    same = wb.Activations(
        (values,), acts.lengths, acts.layers, "heads", acts.positions, "m", acts.sizes
    )
    lock = wb.HeadDirections.contrast(same, LABELS, [(0, 1), (2, 5)])
    assert lock.heads == [(2, 5)]
    assert "layer 0 head 1: class means coincide" in caplog.text
    with pytest.raises(DirectionError, match="coincide in every head asked for"):
        wb.HeadDirections.contrast(same, LABELS, [(0, 1)])


def changed(lock, **fields):
    kept = {k: getattr(lock, k).clone() for k in ("layer", "head", "unit", "scale")}
    return wb.HeadDirections(**{**kept, **fields})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit", math.nan, "layer 0 head 1: NaN"),
        ("unit", 3.0, "layer 0 head 1: direction has norm"),
        ("scale", -1.0, "layer 0 head 1: scale -1 is not positive"),
        ("head", -2, "layer 0 head -2: index out of range"),
    ],
)
def test_bad_values_name_the_head(lock, field, value, message):
    tensor = getattr(lock, field).clone()
    tensor[0] = value
    with pytest.raises(DirectionError, match=message):
        changed(lock, **{field: tensor})


@pytest.mark.parametrize("field", ["layer", "head", "unit", "scale"])
def test_the_digest_changes_with_every_part(lock, field):
    """One row, by as little as there is: samples are kept under it."""
    tensor = getattr(lock, field).clone()
    if field in ("layer", "head"):
        tensor[2] += 1
    elif field == "unit":
        tensor[2, 3] = torch.nextafter(tensor[2, 3], torch.tensor(2.0))
    else:
        tensor[2] = torch.nextafter(tensor[2], torch.tensor(torch.inf))
    other = changed(lock, **{field: tensor})
    assert torch.equal(getattr(other, field), tensor)
    assert other.digest() != lock.digest()
    assert changed(lock).digest() == lock.digest()


def test_a_head_twice(lock):
    with pytest.raises(DirectionError, match="layer 0 head 1: twice"):
        changed(lock, layer=torch.tensor([0, 0, 1]), head=torch.tensor([1, 1, 0]))


def test_misfit_names_both_sizes(lock, tokenizer):
    other = build("llama", tokenizer, head_dim=16)
    with pytest.raises(DirectionError, match="d_head: direction 8, model 16"):
        lock.check(other)
    deeper = changed(lock, layer=torch.tensor([0, 3, 1]))
    with pytest.raises(DirectionError, match="layer 3 of a model with 3 layers"):
        deeper.check(build("llama", tokenizer))
    wider = changed(lock, head=torch.tensor([1, 6, 0]))
    with pytest.raises(DirectionError, match="head 6 of a model with 6 heads"):
        wider.check(build("llama", tokenizer))
    with pytest.raises(DirectionError, match="n_layers: direction 3, model 2"):
        lock.check(build("llama", tokenizer, num_hidden_layers=2))
