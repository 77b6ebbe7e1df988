"""Evaluation against loops over single responses, and the study on the embedded scale."""

import copy
import json
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from tests.helpers.fpo_toys import dictionary, llama, tokenised_pairs
from workbench.errors import FeatureError
from workbench.papers.fpo import presets, study
from workbench.papers.fpo.evaluate import evaluate, from_plain
from workbench.runs.cache import cached
from workbench.training import memory

HOOK = "blocks.1.hook_resid_post"


def test_evaluation_is_the_loop_over_single_responses():
    policy, reference, sae = llama(seed=3).eval(), llama().eval(), dictionary("jumprelu")
    sae.requires_grad_(False)
    rows = tokenised_pairs(5, seed=0)
    found = evaluate(policy, reference, rows, sae, HOOK, k=6, batch=2)
    for r, row in enumerate(rows):
        entropy = tokens = 0.0
        for side, letter in (("chosen", "w"), ("rejected", "l")):
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
                assert getattr(found, f"{name}_{letter}")[r] == pytest.approx(value, rel=1e-3)
            entropy -= (logs[0].exp() * logs[0]).sum().item()
            tokens += n
        assert found.entropy[r] == pytest.approx(entropy / tokens, rel=1e-4)
    again = from_plain(json.loads(json.dumps(found.plain())))
    assert np.array_equal(again.kl_l, found.kl_l)


@pytest.fixture(scope="module")
def embedded():
    chosen = presets.settings("tiny", methods="fpo,tdpo2", alphas="50", steps=60, held_out=60)
    return chosen, presets.scale("tiny", replace(chosen, pairs=600))


def test_the_constraint_holds_the_features_of_rejected_answers(embedded, tmp_path):
    """The mechanism (§6 i): much less drift and KL at alpha 50 than at 0, as accurate."""
    chosen, scale = embedded
    before = copy.deepcopy(scale.reference.state_dict())
    runs = study.run(scale, chosen, [0], tmp_path, partial(cached, tmp_path / "cache"))
    assert [r.name for r in runs] == ["LN-DPO", "FPO α=50", "TDPO-2"]
    free, held, _ = (r.held_out for r in runs)
    assert free.d_l.mean() > 10 * held.d_l.mean()
    assert free.kl_l.mean() > held.kl_l.mean()
    accuracy = [(r.held_out.score_w > r.held_out.score_l).mean() for r in runs]
    assert min(accuracy) > 0.75  # 15 % of the labels are wrong
    assert all(torch.equal(before[k], v) for k, v in scale.reference.state_dict().items())
    assert runs[1].curves["fpo/d_rejected"][-1][0] == 60
    trained = []
    again = study.run(scale, chosen, [0], tmp_path, lambda name, key, compute: cached(
        tmp_path / "cache", name, key, lambda: trained.append(name) or compute()))  # fmt: skip
    assert trained == []
    assert np.array_equal(again[1].held_out.kl_l, held.kl_l)


def test_settings_given_by_name(embedded):
    assert presets.settings("tiny", alphas="5").alphas == (0.0, 5.0)
    assert presets.settings("paper", k=-1).k == 50
    with pytest.raises(ValueError, match="numbers separated by commas"):
        presets.settings("tiny", alphas="much")
    for given, said in (
        ({"methods": "fpo,ppo"}, "methods ppo; use fpo"),
        ({"methods": "dpo"}, "methods must hold fpo"),
        ({"alphas": "-1"}, "must be 0 or more"),
    ):
        with pytest.raises(ValueError, match=said):
            presets.settings("tiny", **given)
    tiny = presets.settings("tiny")
    with pytest.raises(ValueError, match="k=300 of 256"):
        presets.scale("tiny", replace(tiny, k=300))
    with pytest.raises(FeatureError, match="'nowhere' is no SAE"):
        presets.scale("tiny", tiny, sae="nowhere")
    with pytest.raises(FeatureError, match="layer 9, but the model has 3 layers"):
        presets.scale("tiny", replace(tiny, hook="blocks.9.hook_resid_post"))
    _, scale = embedded
    assert (len(scale.train), len(scale.test)) == (600, 60)
    assert not set(map(str, scale.train.to_list())) & set(map(str, scale.test.to_list()))


def test_bytes_of_a_step_are_those_it_allocates():
    a = torch.zeros(1000, 1000)
    assert memory.held([a, a[:10], torch.nn.Linear(10, 10)]) == 4_000_000 + 440
    assert memory.transient(lambda: a + 1) == pytest.approx(4_000_000, rel=0.01)
    assert memory.transient(lambda: (a + 1) * 2 + 3) == pytest.approx(8_000_000, rel=0.01)
    assert math.isfinite(memory.seconds(lambda: a + 1))
