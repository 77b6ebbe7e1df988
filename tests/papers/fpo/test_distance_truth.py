"""D and its shares against the paper's formula, each on its own, written out in NumPy loops.

Nothing of the package takes part in the expected values, not even an SAE's encoder: a wrong D next
to right shares is seen, and the other way round.
"""

import itertools

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import M, toy_sae
from workbench.papers.fpo.distance import feature_distance
from workbench.sae.pooling import Constraint

K, WIDTH = 5, 7


def codes(sae, kind, h):
    """c of one token: relu, jumprelu or the 6 largest of (h − b_dec) W_enc + b_enc."""
    w, b, b_dec = (getattr(sae, n).double().numpy() for n in ("W_enc", "b_enc", "b_dec"))
    shift = b_dec if sae.cfg.apply_b_dec_to_input else 0 * b_dec
    z = [float((h - shift) @ w[:, i]) + b[i] for i in range(M)]
    if kind == "jumprelu":
        threshold = sae.threshold.double().numpy()
        return [v if v > 0 and v > t else 0.0 for v, t in zip(z, threshold, strict=True)]
    largest = sorted(z)[-6] if kind == "topk" else -np.inf
    return [v if v > 0 and v >= largest else 0.0 for v in z]


def truth(sae, kind, hidden, mask, reference, how, topk, scale):
    """(D, share of every feature) of one response, as §2.3 has it."""
    read = [codes(sae, kind, hidden[t]) for t in range(WIDTH) if mask[t]]
    length = {"mean": len(read), "sum": 1, "padded": WIDTH}[how]
    pooled = [sum(c[i] for c in read) / length for i in range(M)]
    if scale:
        decoder = sae.W_dec.double().numpy()
        pooled = [p * sum(x * x for x in decoder[i]) ** 0.5 for i, p in enumerate(pooled)]

    def top(values):
        return {i for i in sorted(range(M), key=lambda i: -values[i])[:K] if values[i] > 0}

    members = {"policy": top(pooled), "ref": top(reference)}
    members["union"] = members["policy"] | members["ref"]
    gaps = [(pooled[i] - reference[i]) ** 2 if i in members[topk] else 0.0 for i in range(M)]
    return sum(gaps) / K, [gap / K for gap in gaps]


CASES = list(itertools.product(("topk", "jumprelu", "standard"), ("mean", "sum", "padded")))


@pytest.mark.parametrize("gradient", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("topk", ["union", "policy", "ref"])
@pytest.mark.parametrize(("kind", "how"), CASES)
def test_d_and_its_shares_are_the_papers(kind, how, topk, scale, gradient):
    sae = toy_sae(kind).requires_grad_(False)
    if kind == "jumprelu":
        sae.threshold.data *= 30  # positive features below it must count for nothing
    torch.manual_seed(5)
    hidden, mask = torch.randn(4, WIDTH + 1, 32), torch.rand(4, WIDTH) > 0.4
    mask[:, 3] = True
    # Now and then as large as the policy's own features, which makes either's set matter.
    reference = 8 * torch.rand(4, M) * (torch.rand(4, M) > 0.7)
    distance = feature_distance(
        sae, hidden, mask, reference, Constraint(k=K, topk=topk, decoder_scale=scale),
        how=how, gradient=gradient,
    )  # fmt: skip
    for row in range(4):
        d, shares = truth(
            sae, kind, hidden[row].double().numpy(), mask[row].tolist(),
            reference[row].double().tolist(), how, topk, scale,
        )  # fmt: skip
        assert distance.total[row].item() == pytest.approx(d, rel=1e-5)
        assert distance.shares[row].tolist() == pytest.approx(shares, rel=1e-4, abs=1e-6 * d)
        assert [s > 0 for s in distance.shares[row].tolist()] == [share > 0 for share in shares]
