"""Contrasts, the selection of heads, and control locks."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.errors import DatasetError
from workbench.evaluation.metrics import measured
from workbench.models.prompts import messages
from workbench.papers.safetylock.lock import (
    contrast_activations,
    cosines,
    find_lock,
    halves,
    outside,
    random_directions,
    random_heads,
    shuffled_labels,
)
from workbench.steering.directions import HeadDirections


def test_contrast_pairs_safe_and_unsafe_answers(tiny, pairs, contrast):
    assert contrast.labels.tolist() == [1, 0] * 30
    assert contrast.pairs.tolist() == [i for i in range(30) for _ in range(2)]
    chat = [*messages(pairs[7]["prompt"]), {"role": "assistant", "content": pairs[7]["rejected"]}]
    alone = wb.capture(tiny, [chat], "heads", wb.last(3)).values[0]
    torch.testing.assert_close(contrast.acts.values[15], alone, atol=1e-5, rtol=1e-5)
    with pytest.raises(DatasetError, match="9 preference pairs; at least 10"):
        contrast_activations(tiny, pairs[:9])


def test_selection_and_directions_against_numpy(contrast):
    lock, probes = find_lock(contrast, 6, seed=4)
    order = sorted(
        np.ndindex(4, 8),
        key=lambda c: (-probes.validation_accuracy[c].item(), -probes.gap[c].item(), c),
    )
    assert lock.heads == order[:6]
    rows, prompt = contrast.acts.rows()
    layer, head = lock.heads[0]
    x = rows[:, layer, head].double().numpy()
    y = contrast.labels[prompt].numpy().astype(bool)
    theta = x[y].mean(0) - x[~y].mean(0)
    theta /= np.linalg.norm(theta)
    np.testing.assert_allclose(lock.unit[0], theta, atol=1e-5)
    np.testing.assert_allclose(lock.scale[0], (x @ theta).std(), rtol=1e-5)
    split = {"groups": contrast.pairs, "seed": 4}  # no question on both sides
    expected = wb.fit_probes(contrast.acts, contrast.labels, **split).validation_accuracy
    assert torch.equal(probes.validation_accuracy, expected)
    paper, probes = find_lock(contrast, 6, "paper", seed=4)
    expected = wb.fit_probes(contrast.acts, contrast.labels, seed=4).validation_accuracy
    assert torch.equal(probes.validation_accuracy, expected)
    assert set(paper.provenance) >= {"model", "sizes", "selection", "seed", "positions"}
    with pytest.raises(ValueError, match="K=33 heads asked of 4 layers × 8 heads"):
        find_lock(contrast, 33)


def test_shuffled_labels_and_halves_are_sums_over_pairs(contrast):
    """Of pairs with as many rows each, μ₁ − μ₀ is the mean of their differences, swapped or not."""
    places = [(0, 6), (2, 4), (3, 1)]
    means = contrast.acts.values.mean(1)  # [answer, layer, head, d]
    gaps = means[0::2] - means[1::2]
    flip = torch.rand(30, generator=torch.Generator().manual_seed(7)) < 0.5
    signs = [torch.where(flip, -1.0, 1.0), 1.0 * (torch.arange(30) % 2 == 0)]
    signs.append(1 - signs[1])
    locks = [shuffled_labels(contrast, places, 7), *halves(contrast, places)]
    for lock, sign in zip(locks, signs, strict=True):
        expected = torch.stack([sign @ gaps[:, layer, head] for layer, head in places])
        expected /= expected.norm(dim=1, keepdim=True)
        torch.testing.assert_close(lock.unit, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("k", [1, 4, 12, 16])
def test_random_heads_lie_outside_the_lock(contrast, k):
    lock, _ = find_lock(contrast, k)
    others = set(np.ndindex(4, 8)) - set(lock.heads)
    assert set(outside(contrast, lock)) == others
    draws = [random_heads(contrast, lock, seed) for seed in range(60)]
    assert all(len(set(draw.heads)) == len(draw) == k for draw in draws)
    drawn = {head for draw in draws for head in draw.heads}
    assert drawn == others if k > 1 else drawn <= others  # every other head is drawn some time
    assert random_heads(contrast, lock, 5).digest() == draws[5].digest()


def test_too_few_heads_outside_are_refused(contrast):
    lock, _ = find_lock(contrast, 17)
    with pytest.raises(ValueError, match="15 heads lie outside a lock of 17"):
        random_heads(contrast, lock, 0)


def test_controls_keep_what_they_must(contrast):
    lock, _ = find_lock(contrast, 8)
    random = random_directions(lock, 3)
    assert random.heads == lock.heads
    assert torch.equal(random.scale, lock.scale)
    assert (random.unit * lock.unit).sum(1).abs().mean() < 0.6
    heads = random_heads(contrast, lock, 3)
    assert len(set(heads.heads)) == 8
    everything, _ = find_lock(contrast, 32)
    true = dict(zip(everything.heads, everything.unit, strict=True))
    assert all(float(true[c] @ u) > 0.999 for c, u in zip(heads.heads, heads.unit, strict=True))
    draws = [shuffled_labels(contrast, lock.heads, i) for i in range(40)]
    mean = np.mean([np.mean(list(cosines(lock, d).values())) for d in draws])
    assert abs(mean) < 0.35
    same = cosines(lock, lock)
    assert set(same) == set(lock.heads)
    assert all(v == pytest.approx(1) for v in same.values())


@pytest.mark.parametrize("sign", [1, -1])
def test_cosines_of_equal_directions_are_never_past_one(sign):
    """A descendant whose first layers were left alone has them; a metric beyond 1 is refused."""
    unit = torch.randn(64, 128, generator=torch.Generator().manual_seed(0))
    unit, places = unit / unit.norm(dim=1, keepdim=True), torch.arange(64)
    one, other = (
        HeadDirections(layer=places, head=places % 4, unit=unit * side, scale=torch.ones(64))
        for side in (1, sign)
    )
    values = list(cosines(one, other).values())
    assert values == pytest.approx([sign] * 64)
    measured("direction_cosine", values, "heads", limits=(-1.0, 1.0))
