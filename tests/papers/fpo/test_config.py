"""The configuration: the paper's values, and what is refused."""

import logging
import math

import pytest
import torch

from workbench.papers.fpo.config import FPOConfig


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "ipo"}, "loss='ipo'"),
        ({"fpo_alpha": -1.0}, "fpo_alpha"),
        ({"fpo_alpha": math.nan}, "fpo_alpha"),
        ({"fpo_alpha": math.inf}, "fpo_alpha"),
        ({"beta": 0.0}, "beta"),
        ({"fpo_k": 0}, "fpo_k"),
        ({"cache_top": 10, "fpo_k": 50}, "cache_top=10 is below fpo_k=50"),
        ({"loss": "tdpo2"}, "reference='online'"),
        ({"fpo_pool": "padded"}, "padded"),
        ({"ld_alpha": 0.5}, "ld_alpha"),
        ({"f_divergence_type": "forward_kl"}, "f_divergence_type"),
        ({"sync_ref_model": True}, "sync_ref_model"),
        ({"use_weighting": True}, "use_weighting"),
        ({"loss_type": ["sigmoid", "sft"]}, "loss_type"),
    ],
)
def test_an_impossible_configuration_is_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        FPOConfig(output_dir=str(tmp_path), **{"sae": "somewhere", **given})


def test_without_a_gpu_training_is_in_float32_with_a_notice(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.WARNING):
        args = FPOConfig(output_dir=str(tmp_path), loss="sigmoid_norm", bf16=True)
    assert args.bf16 is False
    assert "float32" in caplog.text


def test_the_papers_values_are_the_defaults(tmp_path):
    args = FPOConfig(output_dir=str(tmp_path), sae="x")
    assert (args.beta, args.fpo_alpha, args.fpo_k, args.learning_rate) == (0.1, 0.5, 50, 5e-7)
    assert (args.lr_scheduler_type, args.warmup_steps) == ("constant_with_warmup", 150)
    assert args.precompute_ref_log_probs
