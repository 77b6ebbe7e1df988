"""The health of an SAE against loops over single texts, and SAEs that are known."""

import logging
from dataclasses import replace

import pytest
import torch
from sae_lens import StandardSAE, StandardSAEConfig

from tests.helpers.fpo_toys import D, M, llama, tokenised_pairs, toy_sae
from workbench.errors import FeatureError
from workbench.models.hooks import find_hook
from workbench.sae import health as health_module
from workbench.sae.health import check_health, health, stream_shift

REFERENCE, POLICY = llama().eval(), llama(seed=3).eval()


# Last a prompt that is BOS alone: the first response token is predicted from it, and left out.
ROWS = [
    *tokenised_pairs(7, seed=5),
    {"prompt_ids": [1], "chosen_ids": [5, 6, 7], "rejected_ids": [8, 2]},
]


def texts():
    """(ids `[1, T]`, positions) of every response, one by one."""
    for row in ROWS:
        for side in ("chosen_ids", "rejected_ids"):
            ids = row["prompt_ids"] + row[side]
            start = max(len(row["prompt_ids"]) - 1, 1)
            yield torch.tensor([ids]), list(range(start, len(ids) - 1))


def own_forward(model, layer, ids, at=(), value=None):
    """Stream behind `layer` and −Σ log p behind the positions `at`, by the model's own blocks."""
    stream = {}

    def change(_, __, output):
        out = output.clone()
        stream["h"] = output[0]
        if value is not None:
            out[0, at] = value
        return out

    handle = model.model.layers[layer].register_forward_hook(change)
    with torch.no_grad():
        said = model(ids).logits[0].double().log_softmax(-1)
    handle.remove()
    return stream["h"], -sum(said[t, ids[0, t + 1]].item() for t in at)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_health_is_that_of_one_text_at_a_time(kind):
    sae = toy_sae(kind).requires_grad_(False)
    streams, totals = [], [0.0, 0.0, 0.0]
    for ids, at in texts():
        h, plain = own_forward(REFERENCE, 1, ids, at)
        again = sae.encode(h[at]) @ sae.W_dec + sae.b_dec
        streams.append(h[at])
        totals[0] += plain
        totals[1] += own_forward(REFERENCE, 1, ids, at, again)[1]
        totals[2] += own_forward(REFERENCE, 1, ids, at, torch.zeros_like(again))[1]
    h = torch.cat(streams)
    codes = sae.encode(h)
    left = ((codes @ sae.W_dec + sae.b_dec - h) ** 2).sum() / ((h - h.mean(0)) ** 2).sum()
    found = health(REFERENCE, ROWS, sae, "blocks.1.hook_resid_post", batch=3)
    assert found.tokens == len(h)
    assert found.fvu == pytest.approx(left.item(), rel=1e-4)
    assert found.l0 == pytest.approx((codes > 0).sum().item() / len(h))
    assert found.dead == pytest.approx(1 - (codes > 0).any(0).sum().item() / M)
    expected = [t / len(h) for t in totals]
    assert [found.ce, found.ce_spliced, found.ce_zeroed] == pytest.approx(expected, rel=1e-4)


def mirror(site, **more):
    """2d features: the positive and the negative part of every coordinate. Explains all."""
    sae = StandardSAE(StandardSAEConfig(d_in=D, d_sae=2 * D, **more))
    both = torch.cat([torch.eye(D), -torch.eye(D)])
    sae.W_dec.data, sae.W_enc.data = both.clone(), both.T.clone()
    sae.b_enc.data.zero_()
    sae.b_dec.data.zero_()
    sae.cfg.metadata.hook_name = site
    return sae.requires_grad_(False)


@pytest.mark.parametrize("site", ["hook_resid_pre", "hook_resid_post", "hook_mlp_out"])
def test_an_sae_that_explains_all_costs_the_model_nothing(site):
    sae = mirror(f"blocks.1.{site}")
    found = health(REFERENCE, ROWS, sae, f"blocks.1.{site}")
    assert found.fvu < 1e-10
    assert found.recovered == pytest.approx(1, abs=1e-4)
    assert stream_shift(POLICY, REFERENCE, ROWS, sae, f"blocks.1.{site}")[1] < 1e-10


def test_heads_apart_are_read_and_replaced_too():
    hook = "blocks.1.attn.hook_z"
    sae = mirror(hook, reshape_activations="hook_z")
    sae.cfg.metadata.n_heads = 4
    found = health(REFERENCE, ROWS, sae, hook)
    assert found.fvu < 1e-10
    assert found.recovered == pytest.approx(1, abs=1e-3)
    assert abs(found.ce_zeroed - found.ce) > 1e-5


def test_an_sae_of_nothing_recovers_nothing():
    sae = mirror("blocks.1.hook_resid_post")
    sae.W_dec.data.zero_()
    found = health(REFERENCE, ROWS, sae, "blocks.1.hook_resid_post")
    assert found.recovered == pytest.approx(0, abs=1e-6)
    assert found.fvu >= 1
    assert stream_shift(POLICY, REFERENCE, ROWS, sae, "blocks.1.hook_resid_post")[1] == 1


def test_what_drifts_outside_the_sae_is_that_of_the_loop():
    sae = toy_sae("jumprelu").requires_grad_(False)
    missed = whole = 0.0
    streams = []
    for ids, at in texts():
        h = [own_forward(m, 1, ids, at)[0][at] for m in (POLICY, REFERENCE)]
        gap = h[0] - h[1]
        seen = sae.decode(sae.encode(h[0])) - sae.decode(sae.encode(h[1]))
        missed += ((gap - seen) ** 2).sum().item()
        whole += (gap**2).sum().item()
        streams.append(h[1])
    stream = torch.cat(streams)
    spread = ((stream - stream.mean(0)) ** 2).sum().item()
    found = stream_shift(POLICY, REFERENCE, ROWS, sae, "blocks.1.hook_resid_post", batch=3)
    assert found == pytest.approx((whole / spread, missed / whole), rel=1e-4)
    assert stream_shift(REFERENCE, REFERENCE, ROWS, sae, "blocks.1.hook_resid_post") == (0, 0)
    with pytest.raises(FeatureError, match="0 response tokens; at least 2"):
        stream_shift(POLICY, REFERENCE, [], sae, "blocks.1.hook_resid_post")


def test_hooks_are_gone_afterwards_also_where_a_forward_fails(monkeypatch):
    sae = toy_sae()
    module = find_hook(REFERENCE, "blocks.1.hook_resid_post").module
    health(REFERENCE, ROWS, sae, "blocks.1.hook_resid_post")
    assert not module._forward_hooks
    monkeypatch.setattr(health_module, "sequence_logprobs", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        health(REFERENCE, ROWS, sae, "blocks.1.hook_resid_post")
    assert not module._forward_hooks
    with pytest.raises(FeatureError, match="0 response tokens; at least 2"):
        health(REFERENCE, [], sae, "blocks.1.hook_resid_post")


def test_an_sae_of_another_model_is_refused_unless_forced(caplog):
    good = health(REFERENCE, ROWS, mirror("blocks.1.hook_resid_post"), "blocks.1.hook_resid_post")
    check_health(good, "mine")
    bad = replace(good, fvu=0.81)
    with pytest.raises(FeatureError, match=r"mine: .* 81% .*at most 50%.*force_sae=True"):
        check_health(bad, "mine")
    with caplog.at_level(logging.WARNING):
        check_health(bad, "mine", force_sae=True)
    assert "81%" in caplog.text
