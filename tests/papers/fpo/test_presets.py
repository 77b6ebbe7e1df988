"""Presets and the parameters that pin their values."""

from dataclasses import replace

import pytest

from workbench.errors import FeatureError
from workbench.papers.fpo import presets


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
