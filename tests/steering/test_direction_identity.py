"""What a direction is survives saving, bit for bit, and its digest holds all that steering adds."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.families import CHATS, build
from workbench.errors import DirectionError
from workbench.steering import direction_files, safelock
from workbench.steering.directions import read_direction

LABELS = torch.tensor([0, 1, 1] * 3)


@st.composite
def directions(draw):
    """Head or residual; normalised in, then rounded to, a precision; one row or hundreds."""
    k, width = (
        draw(st.sampled_from([1, 2, 7, 300])),
        draw(st.sampled_from([1, 2, 3, 33, 128, 1024])),
    )
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]))
    log_spread = torch.randn(k, width, dtype=torch.double, generator=generator)
    spread = torch.exp(draw(st.sampled_from([0.0, 3.0])) * log_spread)
    raw = torch.randn(k, width, dtype=torch.double, generator=generator) * spread
    unit = (raw / raw.norm(dim=1, keepdim=True)).to(dtype)
    if draw(st.booleans()):
        unit = unit.float()
    scale = torch.rand(k, generator=generator) + 0.5
    scale *= draw(st.sampled_from([1e-40, 1e-6, 1.0, 1e38]))
    layer, head = torch.arange(k) // 8, torch.arange(k) % 8
    if draw(st.booleans()):
        return wb.HeadDirections(layer, head, unit, scale)
    return wb.ResidualDirection(torch.arange(k), unit, scale)


@given(direction=directions())
@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_saving_changes_nothing(tmp_path_factory, direction):
    folder = tmp_path_factory.mktemp("saved")
    direction.save(folder / "a.safetensors")
    again = read_direction(folder / "a.safetensors")
    assert torch.equal(again.unit, direction.unit)
    assert torch.equal(again.scale, direction.scale)
    assert type(again) is type(direction)
    assert again.digest() == direction.digest()
    assert replace(again).digest() == direction.digest()
    assert again.pick(range(len(again))).digest() == direction.digest()
    again.save(folder / "b.safetensors")
    names = (*direction.AXES, "unit", "scale")
    first, second = (
        direction_files.read(folder / name, direction.FORMAT, names, "")
        for name in ("a.safetensors", "b.safetensors")
    )
    assert first[1] == second[1]
    assert all(torch.equal(first[0][name], second[0][name]) for name in names)


@given(direction=directions(), data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_digest_holds_all_that_is_added(direction, data):
    """The smallest change of any part that stays a direction."""
    row = data.draw(st.integers(0, len(direction) - 1))
    part = data.draw(st.sampled_from([*direction.AXES, "unit", "scale"]))
    tensor = getattr(direction, part).clone()
    if part in direction.AXES:
        tensor[row] += 1000
    elif part == "scale":
        tensor[row] = torch.nextafter(tensor[row], torch.tensor(0.0))
    else:
        tensor[row] = -tensor[row]
    assert replace(direction, **{part: tensor}).digest() != direction.digest()
    assert replace(direction, provenance={"model": "another"}).digest() == direction.digest()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_numbers_of_a_narrow_dtype_stay_as_they_are(dtype):
    raw = torch.randn(200, 128, generator=torch.Generator().manual_seed(3))
    unit = (raw / raw.norm(dim=1, keepdim=True)).to(dtype)
    built = wb.ResidualDirection(torch.arange(200), unit, torch.ones(200))
    assert built.unit.dtype == torch.float32
    assert torch.equal(built.unit, unit.float())


def test_a_vector_of_another_norm_is_normalised_once():
    raw = torch.randn(50, 64, generator=torch.Generator().manual_seed(4))
    unit = 1.004 * raw / raw.norm(dim=1, keepdim=True)
    built = wb.ResidualDirection(torch.arange(50), unit, torch.ones(50))
    norms = built.unit.double().norm(dim=1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=5e-7)
    assert torch.equal(replace(built).unit, built.unit)


def test_no_residual_direction_has_the_digest_of_a_head():
    """The bytes of a head's number are also those of two floats, of a vector two wider."""
    unit = torch.nn.functional.normalize(torch.ones(1, 6), dim=1)
    zero, one = torch.tensor([0]), torch.ones(1)
    head = wb.HeadDirections(zero, zero, unit, one)
    wider = torch.cat([torch.zeros(1, 2), unit], 1)
    assert wb.ResidualDirection(zero, wider, one).digest() != head.digest()
    assert wb.ResidualDirection(zero, unit, one).digest() != head.digest()


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (torch.tensor([1.5]), "layer must be whole numbers"),
        (torch.tensor([2**31]), "index out of range"),
        (torch.tensor([-1]), "index out of range"),
    ],
)
def test_indices_that_a_file_would_change_are_refused(layer, message):
    with pytest.raises(DirectionError, match=message):
        wb.ResidualDirection(layer, torch.ones(1, 1), torch.ones(1))


@pytest.mark.parametrize("scale", [1e-60, 1e60, 0.0, float("nan")])
def test_scales_that_float32_cannot_hold_are_refused(scale):
    wide = torch.tensor([scale], dtype=torch.float64)
    with pytest.raises(DirectionError, match=r"not positive|NaN or infinite"):
        wb.ResidualDirection(torch.tensor([0]), torch.ones(1, 1), wide)


@pytest.mark.parametrize("name", ["Meta-Llama-3-8B-Instruct", "Mistral_Nemo_12B"])
def test_a_released_lock_is_written_bit_for_bit(shared, tmp_path, name):
    """The pickle itself; torch.save adds a serial number of its own to the archive."""
    released = shared / "safetylock" / f"{name}.safelock"
    lock = wb.HeadDirections.from_safelock(released)
    (tmp_path / "again").mkdir()
    again = tmp_path / "again" / released.name
    lock.to_safelock(again)
    with zipfile.ZipFile(released) as ours, zipfile.ZipFile(again) as theirs:
        for part in ("data.pkl", "byteorder", "version"):
            assert ours.read(f"{name}/{part}") == theirs.read(f"{name}/{part}")
    lock.save(tmp_path / "lock.safetensors")
    saved = wb.HeadDirections.load(tmp_path / "lock.safetensors")
    assert saved.digest() == lock.digest() == wb.HeadDirections.from_safelock(again).digest()
    saved.to_safelock(tmp_path / released.name)
    assert (tmp_path / released.name).read_bytes() == again.read_bytes()


@given(heads=st.permutations(range(6)), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_safelocks_keep_their_order_and_their_bits(tmp_path_factory, heads, seed):
    rng = np.random.default_rng(seed)
    units = rng.standard_normal((6, 16))
    units = (units / np.linalg.norm(units, axis=1, keepdims=True)).astype(np.float16)
    entries = [
        safelock.Entry(2, h, u, float(np.float16(0.3))) for h, u in zip(heads, units, strict=True)
    ]
    folder = tmp_path_factory.mktemp("locks")
    safelock.write(folder / "a.safelock", entries)
    lock = wb.HeadDirections.from_safelock(folder / "a.safelock")
    assert lock.heads == [(2, h) for h in heads]
    (folder / "b").mkdir()
    lock.to_safelock(folder / "b" / "a.safelock")
    assert (folder / "a.safelock").read_bytes() == (folder / "b" / "a.safelock").read_bytes()


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e6])
def test_a_scale_that_halves_cannot_hold_is_no_safelock(tmp_path, scale):
    zero = torch.tensor([0])
    lock = wb.HeadDirections(zero, zero, torch.ones(1, 1), torch.tensor([scale]))
    with pytest.raises(DirectionError, match=r"layer 0 head 0: scale .* half precision"):
        lock.to_safelock(tmp_path / "l.safelock")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["mean", "lda", "pca"])
@pytest.mark.parametrize("power", [-60, -30, 30, 60])
def test_contrasts_do_not_depend_on_the_size_of_the_activations(tokenizer, method, power):
    acts = wb.capture(build("llama", tokenizer), CHATS, "resid", wb.last(5))
    plain = wb.ResidualDirection.contrast(acts, LABELS, method=method)
    scaled = replace(acts, shards=tuple(s * 2.0**power for s in acts.shards))
    again = wb.ResidualDirection.contrast(scaled, LABELS, method=method)
    assert torch.equal(again.unit, plain.unit)
    assert torch.equal(again.scale, plain.scale * 2.0**power)
