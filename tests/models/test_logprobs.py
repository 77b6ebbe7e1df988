"""Log-probabilities, KL and entropy of responses against plain loops in float64."""

import pytest
import torch
from torch.nn.functional import kl_div

from workbench.models import logprobs

torch.manual_seed(1)
POLICY, REFERENCE = torch.randn(3, 5, 11) * 3, torch.randn(3, 5, 11) * 3
REFERENCE[0, 2, 4] = -2000.0  # exp underflows to zero
IDS = torch.randint(0, 11, (3, 5))
# The last text has no response at all.
MASK = torch.tensor([[0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
PLACES = MASK.nonzero().tolist()


def loop(value):
    """Σ value(text, position) over the positions of each text."""
    return [sum(value(b, t) for b, t in PLACES if b == text) for text in range(3)]


def log(logits, b, t):
    return logits[b, t].double().log_softmax(-1)


def test_summed_log_probabilities_are_those_of_the_loop():
    for logits in (POLICY, REFERENCE):
        found = logprobs.sequence_logprobs(logits, IDS, MASK)
        expected = loop(lambda b, t, x=logits: log(x, b, t)[IDS[b, t + 1]].item())
        assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_sequence_kl_is_torchs_and_survives_underflow():
    kl, *summed = logprobs.sequence_kl(POLICY, REFERENCE, IDS, MASK)
    expected = loop(
        lambda b, t: kl_div(
            log(POLICY, b, t), log(REFERENCE, b, t), log_target=True, reduction="sum"
        ).item()
    )
    assert kl.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    for logits, found in zip((POLICY, REFERENCE), summed, strict=True):
        assert torch.equal(found, logprobs.sequence_logprobs(logits, IDS, MASK))


def test_the_gradient_of_the_kl_is_that_of_the_loop_and_the_policys_alone():
    policy, reference = (x.clone().requires_grad_(True) for x in (POLICY, REFERENCE))
    logprobs.sequence_kl(policy, reference, IDS, MASK)[0].sum().backward()
    assert reference.grad is None
    exact = POLICY.double().requires_grad_(True)
    sum(
        kl_div(log(exact, b, t), log(REFERENCE, b, t), log_target=True, reduction="sum")
        for b, t in PLACES
    ).backward()
    assert torch.allclose(policy.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


def test_entropy_is_that_of_torchs_categorical():
    found = logprobs.entropy(logprobs.next_tokens(POLICY, MASK))
    expected = [
        torch.distributions.Categorical(logits=POLICY[b, t].double()).entropy().item()
        for b, t in PLACES
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def test_half_precision_logits_are_summed_in_float32():
    found = logprobs.sequence_logprobs(POLICY.bfloat16(), IDS, MASK)
    assert found.dtype == torch.float32
    expected = logprobs.sequence_logprobs(POLICY.bfloat16().double(), IDS, MASK)
    assert torch.allclose(found, expected, rtol=1e-6)
