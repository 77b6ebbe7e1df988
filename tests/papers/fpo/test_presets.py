"""Presets and the parameters that pin their values."""

import json
from dataclasses import replace

import pytest
import torch

from workbench.errors import FeatureError, RunError
from workbench.papers.fpo import paper, presets, study
from workbench.sae.health import health
from workbench.sae.loading import sae_digest
from workbench.training.pairs import tokenised


def test_settings_given_by_name():
    assert presets.settings("tiny", alphas="5").alphas == (0.0, 5.0)
    assert presets.settings("paper", k=-1).k == 50
    with pytest.raises(ValueError, match="numbers separated by commas"):
        presets.settings("tiny", alphas="much")
    for given, said in (
        ({"methods": "fpo,ppo"}, "methods='ppo'; use one of fpo"),
        ({"methods": "dpo"}, "methods must hold fpo"),
        ({"alphas": "-1"}, "no finite number from 0 on"),
    ):
        with pytest.raises(ValueError, match=said):
            presets.settings("tiny", **given)


def test_inputs_that_do_not_fit_are_refused_and_splits_share_no_pair():
    tiny = presets.settings("tiny", pairs=600, held_out=60)
    with pytest.raises(ValueError, match=r"k=300: .* at most 256"):
        presets.inputs("tiny", replace(tiny, k=300))
    with pytest.raises(FeatureError, match="sae='nowhere': no SAE"):
        presets.inputs("tiny", tiny, sae="nowhere")
    with pytest.raises(ValueError, match=r"hook=.*hook_resid_post': the model has 3 layers"):
        presets.inputs("tiny", replace(tiny, hook="blocks.9.hook_resid_post"))
    inputs = presets.inputs("tiny", tiny)
    assert (len(inputs.train), len(inputs.test)) == (600, 60)
    assert not set(map(str, inputs.train.to_list())) & set(map(str, inputs.test.to_list()))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate=0.0: .* above 0"),
        ({"batch": 0}, "batch=0"),
        ({"max_length": 129}, "max_length=129: .* at most 128"),
        ({"warmup": 30}, "warmup=30: training ends after steps=30"),
        ({"warmup": 5, "steps": 5}, "warmup=5: training ends after steps=5"),
        ({"lora": 65}, "lora=65: .* at most 64"),
        ({"costs": 2}, "costs=2"),
        ({"train_sae": "64,600"}, "train_sae='64,600': give features, tokens and layer"),
        ({"train_sae": "7,600,1"}, r"k \(of the features of train_sae\)=8: .* at most 7"),
        ({"train_sae": "0,600,1"}, "features of train_sae=0"),
        ({"train_sae": "64,600,1", "k": 65}, "train_sae.=65: .* at most 64"),
        ({"train_sae": f"{10**12},600,1"}, "an SAE of 1000000000000 features takes"),
        ({"alphas": "5,5.0000001"}, "alphas: '5' is there twice"),
        ({"train_sae": "64,511,1"}, "tokens of train_sae=511: .* at least 512"),
        ({"train_sae": "64,600,3"}, "train_sae=64,600,3: the model has 3 layers"),
        ({"train_sae": "64,600,1", "sae": "x:y"}, "sae='x:y' and train_sae are both given"),
        (
            {"train_sae": "64,600,1", "hook": "blocks.0.hook_resid_post"},
            "hook='blocks.0.hook_resid_post' and train_sae are both given",
        ),
        ({"model_id": "sums"}, "or have one trained in the run|Or have one trained in the run"),
    ],
)
def test_what_decides_cost_is_refused_before_anything_loads(given, message):
    with pytest.raises((ValueError, FeatureError, RunError), match=message):
        paper.preflight("tiny", given)


def test_a_batch_is_split_as_the_preset_splits_its_own():
    assert presets.settings("tiny").per_device == 16
    for preset, batch, part in (("tiny", 24, 8), ("tiny", 7, 1), ("tiny", 32, 16), ("paper", 6, 2)):
        chosen = presets.settings(preset, batch=batch)
        assert (chosen.batch, chosen.per_device) == (batch, part)
    paper.preflight("tiny", {"model_id": "sums", "train_sae": "64,600,1"})
    # More steps than a warmup that is not one's own are the preset's affair.
    assert presets.settings("paper", steps=30).warmup == 150


def test_an_sae_is_trained_on_the_answers_and_explains_them():
    given = {"train_sae": "128,4000,1", "pairs": 200, "held_out": 20}
    tiny = presets.settings("tiny", **given)
    one, same = (presets.inputs("tiny", tiny) for _ in range(2))
    assert (one.hook, one.sae.cfg.d_sae) == ("blocks.1.hook_resid_post", 128)
    assert sae_digest(one.sae) == sae_digest(same.sae)
    rows = tokenised(one.test, one.tokenizer, tiny.max_length)
    measured = health(one.reference, rows, one.sae, one.hook)
    assert measured.fvu < 0.2
    assert measured.l0 <= presets.ACTIVE
    embedded = presets.inputs("tiny", replace(tiny, train_sae=()))
    assert embedded.sae.cfg.d_sae == 256


def test_an_sae_of_too_few_tokens_is_refused_in_terms_of_the_pairs(tmp_path):
    own = tmp_path / "own.jsonl"
    pair = {"prompt": "kindly", "chosen": "please please", "rejected": "ugh"}
    own.write_text("\n".join([json.dumps(pair)] * 3))
    chosen = presets.settings("tiny", train_sae="64,600,1")
    with pytest.raises(FeatureError, match=r"answers have 12 tokens, .* 512 at least: give more"):
        presets.inputs("tiny", chosen, pairs_path=str(own))


def test_all_weights_are_trained_only_where_they_fit_four_times(monkeypatch):
    asked = []
    monkeypatch.setattr(presets.parameters, "require_memory", lambda *a: asked.append(a))
    model = presets.inputs("tiny", presets.settings("tiny")).reference
    weights = sum(4 * p.numel() for p in model.parameters())
    assert asked[-1][1] == pytest.approx(4 * weights, rel=1e-3)  # and a few buffers
    asked.clear()
    presets.inputs("tiny", presets.settings("tiny", lora=2))
    assert not asked


def test_an_adapter_is_merged_into_what_is_saved(tmp_path):
    given = {"methods": "fpo", "alphas": "5", "steps": 2, "pairs": 32, "held_out": 4, "costs": 0}
    settings = presets.settings("tiny", lora=2, **given)
    inputs = presets.inputs("tiny", settings)
    done = study.run("tiny", inputs, settings, [0], tmp_path, lambda name, key, make: make())
    assert (done.costs, done.step_ratios) == ([], [])
    policy = study.load_policy(done.trained[0].policy, inputs.reference).state_dict()
    moved = 0
    for name, before in inputs.reference.state_dict().items():
        change = policy[name] - before
        if name.endswith("_proj.weight"):
            values = torch.linalg.svdvals(change)
            moved += values[0] > 1e-5
            assert values[2] < 1e-4 * values[0] + 1e-6
        else:
            assert not change.any(), name
    assert moved == 3 * 7
