"""The seven losses against arithmetic by hand."""

import pytest
import torch

from workbench.papers.fpo import losses


def terms(**more):
    torch.manual_seed(0)
    values = {
        "logps": -torch.rand(6) * 20,
        "lengths": torch.tensor([3, 5, 4, 6, 2, 7]),
        "ref_logps": -torch.rand(6) * 20,
        "kl": torch.rand(6) * 5,
        "distance": torch.rand(6),
    }
    return losses.Terms(**{**values, **more})


BETA, ALPHA, GAMMA = 0.7, 1.3, 0.4


def by_hand(loss, t, i):
    """u of pair i, written out from the table of §2.2 in plain floats."""
    w, l = i, i + 3  # noqa: E741 - the paper's names
    lw, ll = t.logps[w].item(), t.logps[l].item()
    rw, rl = t.ref_logps[w].item(), t.ref_logps[l].item()
    nw, nl = t.lengths[w].item(), t.lengths[l].item()
    kw, kl = t.kl[w].item(), t.kl[l].item()
    dpo = BETA * ((lw - rw) - (ll - rl))
    ln = BETA * ((lw - rw) / nw - (ll - rl) / nl)
    return {
        "sigmoid": dpo,
        "simpo": BETA * lw / nw - BETA * ll / nl - GAMMA,
        "tdpo1": dpo - BETA * (kl - kw),
        "tdpo2": dpo - ALPHA * BETA * (kl - kw),
        "sigmoid_norm": ln,
        "fpo": ln - ALPHA * BETA * (t.distance[l] - t.distance[w]).item(),
        "simpo_kl": BETA * (lw / nw - ll / nl) - GAMMA - ALPHA * BETA * (kl / nl - kw / nw),
    }[loss]


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_u_is_the_table_of_the_paper(loss):
    t = terms()
    u, _, _ = losses.logits(loss, t, BETA, ALPHA, GAMMA)
    assert u.tolist() == pytest.approx([by_hand(loss, t, i) for i in range(3)], abs=1e-5)


@pytest.mark.parametrize(
    ("loss", "name", "chosen", "rejected"),
    [("fpo", "distance", False, True), ("tdpo2", "kl", False, True), ("tdpo1", "kl", True, True)],
)
def test_only_the_constraint_on_rejected_has_a_gradient(loss, name, chosen, rejected):
    held = torch.rand(6, requires_grad=True)
    u, _, _ = losses.logits(loss, terms(**{name: held}), BETA, ALPHA, GAMMA)
    (-torch.nn.functional.logsigmoid(u).mean()).backward()
    assert bool(held.grad[:3].any()) is chosen
    assert bool(held.grad[3:].any()) is rejected


def test_alpha_zero_is_length_normalised_dpo_exactly():
    t = terms()
    assert torch.equal(
        losses.logits("fpo", t, BETA, 0.0, GAMMA)[0],
        losses.logits("sigmoid_norm", t, BETA, 0.0, GAMMA)[0],
    )
