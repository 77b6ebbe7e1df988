"""Costs of a step against what must be held at least."""

import numpy as np

from workbench.papers.fpo import costs


def test_tdpo_holds_both_distributions_and_fpo_hardly_more_than_ln_dpo(tmp_path):
    """2 texts of 64 tokens, at least 64 response positions: float32 of policy and reference."""
    on = costs.wide(40_000, 64)
    for pair in costs.random_pairs(on, 3):
        prompt = len(on.tokenizer(pair["prompt"])["input_ids"])
        assert 8 <= prompt <= 32
        for side in ("chosen", "rejected"):
            # The rest is response, and all of it is filled.
            assert len(on.tokenizer(pair["prompt"] + pair[side])["input_ids"]) > 64
    found = {c["method"]: c for c in costs.costs(on, tmp_path, ("fpo", "ln_dpo", "tdpo2"))}
    weights = sum(p.numel() * p.element_size() for p in on.model().parameters())
    peak = {m: float(np.median(c["peak_bytes"])) for m, c in found.items()}
    least = 4 * weights + 2 * 64 * 40_000 * 4  # gradient and Adam; both log-softmaxes
    assert peak["tdpo2"] > least - weights
    sae = sum(p.numel() * 4 for p in on.sae.parameters())
    features = 2 * 64 * on.sae.cfg.d_sae * 4
    assert 0 < peak["fpo"] - peak["ln_dpo"] < sae + 4 * features
    ratios = costs.step_ratios(on, tmp_path, rounds=3)
    assert len(ratios) == 3
