"""The batched solve reaches scikit-learn's optimum."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.logistic import optimum
from workbench.activations.logistic import logistic


@settings(max_examples=50, deadline=None)
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
