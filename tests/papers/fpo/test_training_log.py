"""Logged values of pairs by hand: ties, halves, and means over the batches of a step."""

import json

import pytest
import torch

from workbench.papers.fpo.losses import Terms
from workbench.papers.fpo.training_log import Timeline, checked, per_pair, saturated


def test_values_of_pairs_by_hand():
    """As in TRL a tie is not right: where training begins, policy and reference are one."""
    terms = Terms(torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.ones(4), distance=torch.arange(4.0))
    u, score = torch.tensor([0.5, 0.0]), torch.tensor([3.0, 1.0, 1.0, 1.0])
    values = per_pair(u, score, torch.tensor([0.1, -0.3]), terms, 2.0)
    expected = {
        "logps/chosen": [-1, -2], "logps/rejected": [-3, -4], "rewards/chosen": [6, 2],
        "rewards/rejected": [2, 2], "rewards/margins": [4, 0], "rewards/accuracies": [1, 0],
        "fpo/margin": [4, 0], "fpo/u": [0.5, 0], "fpo/constraint": [0.1, -0.3],
        "fpo/d_chosen": [0, 1], "fpo/d_rejected": [2, 3],
    }  # fmt: skip
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name].tolist() == pytest.approx(value)
    means = checked(values, [float(v.mean()) for v in values.values()], None, "train")
    assert means["fpo/constraint_to_margin"] == pytest.approx(0.1 / 2)
    assert not saturated(means)
    assert saturated({"fpo/constraint": -0.2, "fpo/constraint_to_margin": 10.1})
    assert not saturated({"fpo/constraint": -0.1, "fpo/constraint_to_margin": 10.1})


def test_a_term_that_is_not_finite_is_named_with_its_pair():
    values = {"fpo/u": torch.zeros(2), "kl/chosen": torch.tensor([0.0, torch.nan])}
    with pytest.raises(FloatingPointError, match="train pair 7: kl/chosen is nan"):
        checked(values, [0.0, float("nan")], torch.tensor([5, 7]), "train")


def test_a_line_of_the_timeline_is_the_mean_over_rejected_responses_and_batches(tmp_path):
    timeline = Timeline(tmp_path)
    timeline.write(0)  # nothing was counted
    timeline.add(torch.tensor([[9.0, 9, 9], [9, 9, 9], [1, 0, 3], [3, 0, 5]]))
    timeline.add(torch.tensor([[9.0, 9, 9], [9, 9, 9], [0, 0, 8], [0, 0, 8]]))
    timeline.write(5)
    timeline.add(torch.tensor([[0.0, 0, 0], [0, 2, 0]]))
    timeline.write(6)
    lines = [json.loads(line) for line in timeline.path.read_text().splitlines()]
    assert lines == [
        {"step": 5, "d_rejected": 7.0, "features": [2, 0], "shares": [6.0, 1.0]},
        {"step": 6, "d_rejected": 2.0, "features": [1], "shares": [2.0]},
    ]
