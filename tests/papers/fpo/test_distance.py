"""The feature distance and its gradient against the dense loop in float64."""

import copy

import pytest
import torch

from tests.helpers.fpo_toys import M, toy_sae
from workbench.papers.fpo.distance import feature_distance
from workbench.sae.pooling import Constraint


def dense_distance(sae, hidden, mask, reference, k, topk):
    """D by plain loops over responses, codes of every token with gradient, in float64."""
    sae, reference = copy.deepcopy(sae).double(), reference.double()
    norms = sae.W_dec.norm(dim=1)
    out = []
    for b in range(len(hidden)):
        codes = [sae.encode(hidden[b, t]) * norms for t in range(mask.shape[1]) if mask[b, t]]
        pooled = torch.stack(codes).mean(0)

        def top(values):
            order = sorted(range(M), key=lambda i: -values[i].item())[:k]
            return {i for i in order if values[i] > 0}

        sets = {"policy": top(pooled), "ref": top(reference[b])}
        members = sets["policy"] | sets["ref"] if topk == "union" else sets[topk]
        out.append(sum((pooled[i] - reference[b, i]) ** 2 for i in members) / k)
    return torch.stack(out)


@pytest.mark.parametrize("topk", ["union", "policy", "ref"])
@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
def test_distance_and_gradient_are_those_of_the_dense_loop(kind, topk):
    sae = toy_sae(kind).requires_grad_(False)
    if kind == "jumprelu":
        sae.threshold.data *= 30  # positive features below it must count for nothing
    torch.manual_seed(5)
    mask = torch.rand(4, 7) > 0.4
    mask[:, 3] = True
    reference = torch.rand(4, M) * (torch.rand(4, M) > 0.7)
    ours = torch.randn(4, 8, 32, requires_grad=True)
    theirs = ours.detach().double().requires_grad_(True)
    found = feature_distance(sae, ours, mask, reference, Constraint(k=5, topk=topk))
    expected = dense_distance(sae, theirs, mask, reference, 5, topk)
    assert torch.allclose(found.total.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.allclose(found.shares.double().sum(1), expected, rtol=1e-5, atol=1e-6)
    weight = torch.tensor([2.0, -3.0, 0.7, 1.9])
    (found.total * weight).sum().backward()
    (expected[2:] * weight[2:]).sum().backward()  # of the rejected half alone
    assert ours.grad[:2].abs().max() == 0
    assert ours.grad[2:].abs().max() > 0
    # An entry may be what is left of terms that cancel: its error has their size, not its own.
    size = theirs.grad.abs().max().item()
    assert torch.allclose(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6 * size)
