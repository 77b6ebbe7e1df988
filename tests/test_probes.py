"""The batched solve against scikit-learn's optimum."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import workbench as wb
from workbench.probes import logistic


def optimum(x, y, C=1.0):
    fit = LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(x, y)
    return fit.coef_[0], fit.intercept_[0]


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(8, 120),
    d=st.integers(1, 12),
    separation=st.floats(0, 8),
    scale=st.sampled_from([0.01, 1.0, 30.0]),
    C=st.sampled_from([0.1, 1.0, 10.0]),
    seed=st.integers(0, 99),
)
def test_reaches_the_same_optimum(n, d, separation, scale, C, seed):
    """Separable data, wide and narrow scales, more features than rows."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    x = scale * (rng.normal(size=(3, n, d)) + separation * y[None, :, None])
    weight, bias = logistic(torch.tensor(x), torch.tensor(y, dtype=torch.float64), C)
    for i in range(3):
        w, b = weight[i].numpy(), bias[i].item()
        margin = (2 * y - 1) * (x[i] @ w + b)
        ours = 0.5 * w @ w + C * np.logaddexp(0, -margin).sum()
        w_ref, b_ref = optimum(x[i], y, C)
        ref = 0.5 * w_ref @ w_ref + C * np.logaddexp(0, -(2 * y - 1) * (x[i] @ w_ref + b_ref)).sum()
        assert ours <= ref + 1e-6 * max(1, ref)
        # Stationarity is the independent proof; scikit-learn itself stops a little early.
        residual = C * (1 / (1 + np.exp(margin))) * (2 * y - 1)
        assert np.abs(w - x[i].T @ residual).max() <= 1e-5 * max(1, np.abs(w).max(), scale * n)
        assert abs(residual.sum()) <= 1e-5 * n


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


def test_bad_labels():
    acts, labels, _ = fake(n=20, heads=(1, 1), d=2, seed=0)
    with pytest.raises(ValueError, match="one 0 or 1 for each of 20 prompts"):
        wb.fit_probes(acts, labels[:-1])
    with pytest.raises(ValueError, match="holds one class only"):
        wb.fit_probes(acts, torch.zeros(20, dtype=torch.long))


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
