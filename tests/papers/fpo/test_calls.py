"""What a run asks of its models, counted beforehand."""

from dataclasses import replace

import pytest

from workbench.papers.fpo import calls, presets
from workbench.papers.fpo.train import conditions

SETTINGS = presets.settings("tiny", methods="fpo,tdpo2", alphas="0,1", pairs=32, held_out=8)


@pytest.fixture(scope="module")
def inputs():
    return presets.inputs("tiny", SETTINGS)


def counted(inputs, settings, seeds=(0, 1)):
    return {part.what: part for part in calls.parts("tiny", inputs, settings, seeds)}


def test_steps_and_forwards_of_every_condition_and_seed(inputs):
    parts = counted(inputs, replace(SETTINGS, costs=0))
    assert len(conditions(SETTINGS)) == 3
    assert parts["training steps of 16 pairs"].calls == 2 * 3 * SETTINGS.steps
    assert parts["evaluations on all held-out pairs"].calls == 6
    # The ends of two policies, each beside the reference; three for health.
    assert parts["forwards of all held-out pairs"].calls == 2 * 2 + 3
    assert len(parts) == 4
    epoch = counted(inputs, replace(SETTINGS, costs=0, steps=0))
    assert epoch["training steps of 16 pairs"].calls == 2 * 3 * 2


def test_the_bench_is_counted_where_it_is_asked_for(inputs):
    assert counted(inputs, SETTINGS)["training steps to measure memory and time"].calls == 53


def test_a_step_takes_what_its_passes_take(inputs, monkeypatch):
    monkeypatch.setattr(calls, "reading", lambda hf, texts: (0.5, 0.0))
    step = counted(inputs, replace(SETTINGS, costs=0))["training steps of 16 pairs"]
    # One part of 16 pairs; of three conditions one has its reference beside it at every step.
    assert step.seconds == pytest.approx(calls.BESIDE + 0.5 * (3 + 1 / 3))
    adapted = counted(inputs, replace(SETTINGS, costs=0, lora=2))["training steps of 16 pairs"]
    assert adapted.seconds == pytest.approx(calls.BESIDE + 0.5 * (2 + 1 / 3))
    checkpointed = replace(SETTINGS, costs=0, checkpointing=True, per_device=8)
    step = counted(inputs, checkpointed)["training steps of 16 pairs"]
    assert step.seconds == pytest.approx(calls.BESIDE + 2 * 0.5 * (4 + 1 / 3))
