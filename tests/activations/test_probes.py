"""The batched solve against scikit-learn's optimum."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import workbench as wb
from tests.helpers.logistic import optimum


def test_weights_and_accuracies_equal_sklearn():
    acts, labels, groups = fake(n=200, heads=(2, 3), d=16, seed=0)
    probes = wb.fit_probes(acts, labels, groups=groups, seed=3)
    rows, prompt = acts.rows()
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    train = torch.isin(groups, order[:60])[prompt]
    y = labels[prompt].numpy()
    for layer in range(2):
        for head in range(3):
            x = rows[:, layer, head].double().numpy()
            fit = LogisticRegression(tol=1e-10, max_iter=10000).fit(x[train], y[train])
            np.testing.assert_allclose(probes.weight[layer, head], fit.coef_[0], atol=1e-3)
            np.testing.assert_allclose(probes.bias[layer, head], fit.intercept_[0], atol=1e-3)
            assert probes.train_accuracy[layer, head] == pytest.approx(
                fit.score(x[train], y[train])
            )
            assert probes.validation_accuracy[layer, head] == pytest.approx(
                fit.score(x[~train], y[~train])
            )


@pytest.mark.parametrize(
    ("power", "scale", "offset", "gap"),
    [
        pytest.param(0.0, 1.0, 0.0, 0.5, id="white"),
        pytest.param(0.5, 10.0, 3.0, 0.7, id="correlated"),
        pytest.param(1.5, 30.0, 5.0, 0.7, id="ill-conditioned"),
        pytest.param(0.5, 1.0, 0.0, 20.0, id="separable"),
        pytest.param(1.0, 1000.0, 1000.0, 0.7, id="massive"),
    ],
)
def test_float32_rows_agree_with_sklearn_to_a_thousandth(power, scale, offset, gap):
    """Feature scales from 1 to d^-power, rotated, with a common offset, as activations have."""
    rng = np.random.default_rng(1)
    n, d, heads = 500, 64, 4
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x = scale * rng.normal(size=(n, heads, d)) * np.arange(1, d + 1) ** -power @ rotation
    y = rng.integers(0, 2, n)
    unit = rotation[rng.integers(0, d // 2)]
    x += gap * (x @ unit).std() * np.where(y, 1, -1)[:, None, None] * unit + offset
    acts = acts_of(torch.tensor(x, dtype=torch.float32)[:, None, None])
    probes = wb.fit_probes(acts, y, seed=2)
    train = np.isin(
        np.arange(n), torch.randperm(n, generator=torch.Generator().manual_seed(2))[:300].numpy()
    )
    for head in range(heads):
        rows = acts.values[:, 0, 0, head].double().numpy()
        # Centred for scikit-learn's sake: with a free intercept the optimum is the same.
        mean = rows[train].mean(0)
        fit = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=1000)
        fit.fit(rows[train] - mean, y[train])
        bias = fit.intercept_[0] - fit.coef_[0] @ mean
        weight = probes.weight[0, head].numpy()
        assert np.abs(weight - fit.coef_[0]).max() <= 1e-3 * max(1, np.abs(fit.coef_).max())
        assert abs(probes.bias[0, head] - bias) <= 1e-3 * max(1, abs(bias))
        for side, ours in (
            (train, probes.train_accuracy[0, head]),
            (~train, probes.validation_accuracy[0, head]),
        ):
            assert float(ours) == pytest.approx(fit.score(rows[side] - mean, y[side]), abs=1e-3)


def test_residual_stream_probes_with_more_dimensions_than_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(41, 1, 3, 200)).astype(np.float32)
    y = np.arange(41) % 2
    acts = wb.Activations(
        (torch.tensor(x),), torch.ones(41, dtype=torch.long), (6, 1, 4), "resid", wb.last(), "m", {}
    )
    probes = wb.fit_probes(acts, y, C=0.2, seed=5)
    order = torch.randperm(41, generator=torch.Generator().manual_seed(5)).numpy()
    assert probes.weight.shape == (3, 200)
    assert probes.layers == (6, 1, 4)
    for i in range(3):
        w, b = optimum(x[order[:25], 0, i], y[order[:25]], C=0.2)
        np.testing.assert_allclose(probes.weight[i], w, atol=1e-4)
        np.testing.assert_allclose(probes.bias[i], b, atol=1e-4)


def test_shards_and_blocks_change_nothing(monkeypatch):
    acts, labels, groups = fake(n=120, heads=(2, 5), d=12, seed=1)
    whole = wb.fit_probes(acts, labels, groups=groups)
    parts = replace(acts, shards=acts.values.split(7))
    monkeypatch.setattr("workbench.activations.probes._CPU_BLOCK", 2 * 4 * 240 * 12)  # two heads
    sharded = wb.fit_probes(parts, labels, groups=groups)
    torch.testing.assert_close(sharded.weight, whole.weight)
    assert torch.equal(sharded.validation_accuracy, whole.validation_accuracy)


def test_groups_never_straddle_the_split():
    """Groups with private features: leaking one would lift validation accuracy."""
    generator = torch.Generator().manual_seed(0)
    n = 60
    x = torch.zeros(n, 1, 1, 1, n // 2)
    for i in range(n):
        x[i, 0, 0, 0, i // 2] = 1 if i % 2 else -1
    labels = torch.tensor([i % 2 for i in range(n)])
    acts = acts_of(x)
    grouped = wb.fit_probes(acts, labels, groups=torch.arange(n) // 2, seed=1)
    assert grouped.validation_accuracy.item() == pytest.approx(0.5, abs=0.01)
    loose = wb.fit_probes(acts, labels, groups=torch.randperm(n, generator=generator), seed=1)
    assert loose.validation_accuracy.item() > 0.6


def test_gap_is_the_distance_of_the_means_over_the_pooled_spread_along_it():
    """Cohen's d of the projections, in numpy, with classes of different size and spread."""
    acts, _, _ = fake(n=42, heads=(2, 2), d=5, seed=4)
    labels = (torch.arange(42) % 3 == 0).long()
    acts.values[labels == 1] *= 3
    gap = wb.fit_probes(acts, labels).gap
    rows, prompt = acts.rows()
    y = labels[prompt].numpy() == 1
    for place in np.ndindex(2, 2):
        x = rows[:, *place].double().numpy()
        difference = x[y].mean(0) - x[~y].mean(0)
        along = x @ difference / np.linalg.norm(difference)
        spread = np.sqrt((along[y].var(ddof=1) + along[~y].var(ddof=1)) / 2)
        assert gap[place] == pytest.approx(np.linalg.norm(difference) / spread, rel=1e-5)


def test_top_orders_by_accuracy_then_gap_then_place():
    acc = torch.tensor([[0.9, 0.8], [0.9, 0.9]])
    gap = torch.tensor([[1.0, 5.0], [2.0, 1.0]])
    zero = torch.zeros(2, 2)
    train = torch.tensor([[0.9, 1.0], [0.9, 0.9]])
    probes = wb.Probes(zero[..., None], zero, train, acc, gap, (4, 7))
    assert probes.top(4) == [(7, 0), (4, 0), (7, 1), (4, 1)]
    assert probes.top(4, by="paper") == [(7, 1), (7, 0), (4, 1), (4, 0)]
    with pytest.raises(ValueError, match="K=5 heads asked of 2 layers × 2 heads"):
        probes.top(5)
    with pytest.raises(ValueError, match="unknown head selection 'best'"):
        probes.top(1, by="best")


def test_a_dead_head_neither_warns_nor_spoils_its_block(caplog):
    acts, labels, _ = fake(n=80, heads=(1, 4), d=6, seed=0)
    alone = wb.fit_probes(acts, labels, seed=1)
    acts.values[:, :, 0, 2] = 0.0
    probes = wb.fit_probes(acts, labels.to(torch.uint8), seed=1)
    assert not caplog.records
    assert probes.weight[0, 2].abs().max() == 0
    for head in (0, 1, 3):
        torch.testing.assert_close(probes.weight[0, head], alone.weight[0, head], atol=1e-3, rtol=0)


def test_bad_labels():
    acts, labels, _ = fake(n=20, heads=(1, 1), d=2, seed=0)
    with pytest.raises(ValueError, match="19 labels for 20 prompts"):
        wb.fit_probes(acts, labels[:-1])
    with pytest.raises(ValueError, match="the labels hold one class only"):
        wb.fit_probes(acts, torch.zeros(20, dtype=torch.long))
    with pytest.raises(ValueError, match=r"the (training|validation) side .* holds one class only"):
        wb.fit_probes(acts, torch.arange(20) // 19, seed=1)
    with pytest.raises(ValueError, match="19 groups for 20 prompts"):
        wb.fit_probes(acts, labels, groups=torch.arange(19))
    two, pair, _ = fake(n=2, heads=(1, 1), d=2, seed=0)
    with pytest.raises(ValueError, match="holds one class only; add data"):
        wb.fit_probes(two, pair)


def acts_of(values):
    n, width = values.shape[:2]
    return wb.Activations(
        (values,),
        torch.full((n,), width),
        tuple(range(values.shape[2])),
        "heads",
        wb.last(width),
        "m",
        {},
    )


def fake(n, heads, d, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    values = torch.randn(n, 2, *heads, d, generator=generator)
    values += 0.4 * labels[:, None, None, None, None]
    return acts_of(values), labels, torch.arange(n) // 2
