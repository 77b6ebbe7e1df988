"""What separates two classes: mean difference, LDA and PCA against other libraries' formulas."""

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.decomposition import PCA

import workbench as wb
from tests.helpers.families import CHATS, build

LABELS = torch.tensor([0, 1, 1] * 3)


@pytest.fixture(scope="module")
def acts(tokenizer):
    return wb.capture(build("llama", tokenizer), CHATS, "heads", wb.last(5))


def test_contrast_is_the_formula(acts):
    lock = wb.HeadDirections.contrast(acts, LABELS, [(0, 1), (2, 5), (1, 0)])
    rows, prompt = acts.rows()
    y = LABELS[prompt].numpy().astype(bool)
    for (layer, head), unit, scale in zip(lock.heads, lock.unit, lock.scale, strict=True):
        x = rows[:, layer, head].double().numpy()
        difference = x[y].mean(0) - x[~y].mean(0)
        theta = difference / np.linalg.norm(difference)
        np.testing.assert_allclose(unit, theta, atol=1e-6)
        np.testing.assert_allclose(scale, (x @ theta).std(), rtol=1e-6)


def test_lda_is_fishers_direction_with_ledoit_wolf_covariance(acts):
    lock = wb.HeadDirections.contrast(acts, LABELS, [(0, 1), (2, 5)], method="lda")
    rows, prompt = acts.rows()
    y = LABELS[prompt].numpy().astype(bool)
    for (layer, head), unit in zip(lock.heads, lock.unit, strict=True):
        x = rows[:, layer, head].double().numpy()
        centred = np.where(y[:, None], x - x[y].mean(0), x - x[~y].mean(0))
        covariance, _ = ledoit_wolf(centred, assume_centered=True)
        theta = np.linalg.solve(covariance, x[y].mean(0) - x[~y].mean(0))
        np.testing.assert_allclose(unit, theta / np.linalg.norm(theta), atol=1e-5)


def test_lda_finds_what_the_mean_difference_misses(acts):
    """A wide nuisance axis tilts the mean difference; the discriminant is known in closed form."""
    rng = np.random.default_rng(0)
    y = np.arange(4000) % 2
    x = rng.normal(size=(4000, 3)) * [10, 1, 1] + np.outer(y, [2.0, 2.0, 0.0])
    synthetic = wb.Activations(
        (torch.tensor(x)[:, None, None],),
        torch.ones(4000, dtype=torch.long), (0,), "resid", wb.last(), "m", {},
    )  # fmt: skip
    exact = np.array([2 / 100, 2.0, 0.0]) / np.linalg.norm([2 / 100, 2.0, 0.0])
    cosine = {
        method: float(wb.ResidualDirection.contrast(synthetic, y, method=method).unit[0] @ exact)
        for method in ("mean", "lda")
    }
    assert cosine["lda"] > 0.99 > 0.95 > cosine["mean"]


@pytest.mark.parametrize("paired", [True, False])
def test_pca_is_the_first_component_towards_class_one(acts, paired):
    labels, groups = torch.tensor([0, 1] * 4), torch.arange(8) // 2
    few = wb.Activations(
        (acts.values[:8],), acts.lengths[:8], acts.layers, "heads", acts.positions, "m", acts.sizes
    )
    lock = wb.HeadDirections.contrast(
        few, labels, [(1, 2)], method="pca", groups=groups if paired else None
    )
    rows, prompt = few.rows()
    x = rows[:, 1, 2].double().numpy()
    group = groups[prompt].numpy() if paired else np.zeros(len(x))
    centred = np.concatenate([x[group == g] - x[group == g].mean(0) for g in np.unique(group)])
    axis = PCA(1).fit(centred).components_[0]
    y = labels[prompt].numpy().astype(bool)
    axis *= np.sign(axis @ (x[y].mean(0) - x[~y].mean(0)))
    np.testing.assert_allclose(lock.unit[0], axis, atol=1e-5)
