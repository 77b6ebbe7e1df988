"""What is trained, with which arguments, and a checkpoint that is gone."""

import pytest

from workbench.errors import ModelError
from workbench.papers.fpo.paper import Settings
from workbench.papers.fpo.train import conditions, config, load_policy


def test_fpo_at_alpha_zero_stands_for_ln_dpo():
    names = [c.name for c in conditions(Settings())]
    assert names == ["LN-DPO", "FPO α=0.5", "DPO", "SimPO", "TDPO-2"]


def test_every_condition_has_its_own_beta_and_reference(tmp_path):
    settings = Settings(beta=0.3, beta_dpo=0.2, checkpointing=False, learning_rate=1e-3, warmup=7,
                        max_length=50)  # fmt: skip
    args = {
        c.name: config(settings, c, 7, tmp_path / c.name, "blocks.1.hook_resid_post")
        for c in conditions(settings)
    }
    assert {name: a.beta for name, a in args.items()} == {
        "LN-DPO": 0.3, "FPO α=0.5": 0.3, "DPO": 0.2, "SimPO": 2.0, "TDPO-2": 0.2
    }  # fmt: skip
    fpo = args["FPO α=0.5"]
    assert (fpo.learning_rate, fpo.warmup_steps, fpo.max_length) == (1e-3, 7, 50)
    assert args["TDPO-2"].reference == "online"
    assert args["FPO α=0.5"].reference == "offline"
    assert len({a.cache_dir for a in args.values()}) == 1  # one reference serves them all
    assert args["FPO α=0.5"].gradient_accumulation_steps == 16
    assert (args["FPO α=0.5"].constraint.alpha, args["FPO α=0.5"].constraint.k) == (0.5, 50)


def test_a_checkpoint_that_is_gone_is_named(tmp_path):
    with pytest.raises(ModelError, match="holds no checkpoint, though its results are cached"):
        load_policy(tmp_path / "absent", None)
