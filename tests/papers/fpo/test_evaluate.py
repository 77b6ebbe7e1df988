"""Evaluation against loops over single responses."""

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import llama, tokenised_pairs, toy_sae
from workbench.papers.fpo.evaluate import evaluate
from workbench.sae.health import stream_shift
from workbench.sae.pooling import Constraint

HOOK = "blocks.1.hook_resid_post"


@pytest.mark.parametrize("size", [0.0, 1e-8, 1e-7, 1e-6])
def test_the_kl_of_nearly_equal_models_is_never_below_0(size):
    policy, reference, sae = llama().eval(), llama().eval(), toy_sae("jumprelu")
    with torch.no_grad():
        policy.lm_head.weight += size * torch.randn(policy.lm_head.weight.shape)
    found = evaluate(policy, reference, tokenised_pairs(40, seed=0), sae, HOOK, Constraint(k=6))
    both = np.concatenate([found.kl_chosen, found.kl_rejected])
    assert both.min() >= 0
    assert both.max() < 1e-4


def test_evaluation_is_the_loop_over_single_responses():
    policy, reference, sae = llama(seed=3).eval(), llama().eval(), toy_sae("jumprelu")
    sae.requires_grad_(False)
    policy.lm_head.weight.data *= 20  # so that tokens differ in entropy
    rows = tokenised_pairs(5, seed=0)
    found = evaluate(policy, reference, rows, sae, HOOK, Constraint(k=6), batch=2)
    for r, row in enumerate(rows):
        entropy = tokens = 0.0
        for side in ("chosen", "rejected"):
            ids = torch.tensor([row["prompt_ids"] + row[f"{side}_ids"]])
            start = len(row["prompt_ids"])
            logs, pooled = [], []
            for model in (policy, reference):
                with torch.no_grad():
                    out = model(ids, output_hidden_states=True)
                logs.append(out.logits[0, start - 1 : -1].double().log_softmax(-1))
                codes = sae.encode(out.hidden_states[2][0, start - 1 : -1])
                pooled.append((codes * sae.W_dec.norm(dim=1)).mean(0))
            n = len(logs[0])
            said = [x[range(n), ids[0, start:]].mean().item() for x in logs]
            kl = (logs[1].exp() * (logs[1] - logs[0])).sum().item()
            top = {i for p in pooled for i in p.topk(6).indices.tolist() if p[i] > 0}
            d = sum(((pooled[0][i] - pooled[1][i]) ** 2).item() for i in top) / 6
            expected = {"score": said[0] - said[1], "logp": said[0], "kl": kl, "d": d}
            for name, value in expected.items():
                assert getattr(found, f"{name}_{side}")[r] == pytest.approx(value, rel=1e-3)
            entropy -= (logs[0].exp() * logs[0]).sum().item()
            tokens += n
        assert found.entropy[r] == pytest.approx(entropy / tokens, rel=1e-4)


def test_the_drift_is_that_of_its_own_pass_and_leaves_the_first_token_out():
    policy, reference, sae = llama(seed=3).eval(), llama().eval(), toy_sae("jumprelu")
    rows = [row | {"prompt_ids": row["prompt_ids"][:1]} for row in tokenised_pairs(5, seed=0)]
    found = evaluate(policy, reference, rows, sae, HOOK, Constraint(k=6), batch=2)
    assert tuple(found.shift) == stream_shift(policy, reference, rows, sae, HOOK, batch=2)
