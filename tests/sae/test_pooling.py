"""Pooled features, index sets and response masks against loops and arithmetic by hand."""

import pytest
import torch

from tests.helpers.fpo_toys import M, toy_sae
from workbench.sae.loading import encode
from workbench.sae.pooling import index_set, pool, pooled_distance, response_mask


@pytest.mark.parametrize("how", ["mean", "sum", "padded"])
@pytest.mark.parametrize("budget", [1 << 26, 4 * M * 3])
def test_pooling_is_the_dense_loop(how, budget):
    sae = toy_sae("jumprelu")
    torch.manual_seed(0)
    hidden, mask = torch.randn(3, 8, 32), torch.rand(3, 7) > 0.5
    found = pool(sae, hidden, mask, how=how, budget=budget)
    for b in range(3):
        total = torch.zeros(M)
        for t in range(7):
            if mask[b, t]:
                total += sae.encode(hidden[b, t]) * sae.W_dec.norm(dim=1)
        n = {"mean": mask[b].sum(), "sum": 1, "padded": 7}[how]
        assert torch.allclose(found[b], total / n, atol=1e-5)


def test_positions_are_those_that_predict_the_response():
    mask = response_mask(torch.tensor([[0, 0, 1, 1, 0]]))
    assert mask.tolist() == [[False, True, True, False]]


def test_index_sets_hold_only_active_features():
    policy = torch.tensor([[5.0, 0, 3, 1, 0]])
    reference = torch.tensor([[0.0, 2, 0, 0, 0]])
    expected = {"policy": [0, 2], "ref": [1], "union": [0, 1, 2]}
    for topk, members in expected.items():
        found = index_set(policy, reference, 2, topk)
        assert found[0].nonzero()[:, 0].tolist() == members
    union = index_set(policy, reference, 2, "union")
    assert pooled_distance(policy, reference, union, 2).tolist() == [(25 + 4 + 9) / 2]
    with pytest.raises(ValueError, match=r"k=6: .* at most 5"):
        index_set(policy, reference, 6, "union")


def test_pooling_skips_prompt_and_padding():
    sae = toy_sae("jumprelu").requires_grad_(False)
    torch.manual_seed(0)
    hidden, mask = torch.randn(2, 6, 32), torch.tensor([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    expected = encode(sae, hidden[0, 1:3]).mean(0) * sae.W_dec.norm(dim=1)
    assert torch.allclose(pool(sae, hidden, mask)[0], expected, atol=1e-6)
