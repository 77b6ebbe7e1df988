"""The study on the embedded model: the mechanism, what is measured, and that it goes on."""

import copy
from functools import partial

import numpy as np
import pytest
import torch

from tests.helpers.fpo_study import TRAINED
from workbench.errors import FeatureError
from workbench.papers.fpo import costs, presets, study, tables
from workbench.runs.cache import cached


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(study, run again with a list of what it computed, weights of the reference before)."""
    out = tmp_path_factory.mktemp("study")
    settings = presets.settings(
        "tiny", methods="fpo,tdpo2", alphas="50", steps=40, pairs=480, held_out=60
    )
    inputs = presets.inputs("tiny", settings)
    before = copy.deepcopy(inputs.reference.state_dict())
    computed = []

    def keep(name, key, compute):
        return cached(out / "cache", name, key, lambda: computed.append(name) or compute())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "bench", lambda *_: costs.wide(2000, 16))
        run = partial(study.run, "tiny", inputs, settings, [0], out, keep)
        done = run()
        first = list(computed)
        computed.clear()
        yield done, run(), first, list(computed), before


def test_the_constraint_holds_the_features_of_rejected_answers(finished):
    """The mechanism (§6 i): much less drift and KL at alpha 50 than at 0, as accurate."""
    done, *_, before = finished
    assert [t.condition.name for t in done.trained] == ["LN-DPO", "FPO α=50", "TDPO-2"]
    free, held, _ = (t.evaluation for t in done.trained)
    assert free.d_rejected.mean() > 10 * held.d_rejected.mean()
    assert free.kl_rejected.mean() > held.kl_rejected.mean()
    accuracy = [(t.evaluation.score_chosen > t.evaluation.score_rejected).mean()
                for t in done.trained]  # fmt: skip
    assert min(accuracy) > 0.75  # 15 % of the labels are wrong
    assert all(torch.equal(before[k], v) for k, v in done.inputs.reference.state_dict().items())
    assert done.trained[1].curves["fpo/d_rejected"][-1][0] == 40


def test_everything_asked_for_is_measured(finished):
    done = finished[0]
    assert len(done.rows) == 60
    assert done.health.fvu < 0.5
    (free, _), (held, _) = (done.shifts[name][0] for name in ("LN-DPO", "FPO α=50"))
    assert free > held
    assert [end.trained.condition.alpha for end in done.ends] == [0, 50]
    # What is held back in the loss is what the features' own pass over the same pairs counts.
    for end in done.ends:
        d = end.trained.evaluation.d_rejected.mean()
        assert end.table["share_rejected"].sum() == pytest.approx(d, rel=1e-3)
    assert len(done.step_ratios) == 8
    names = [m["name"] for m in tables.metrics(done)]
    assert len(set(names)) == len(names)


def test_a_second_run_takes_what_is_there(finished):
    done, again, first, second, _ = finished
    assert {"health", "fpo-0-0", "fpo-50-0", "tdpo2-0.5-0", "costs", "step-ratios"} <= set(first)
    assert second == []
    assert tables.metrics(again) == tables.metrics(done)
    assert np.array_equal(
        again.trained[1].evaluation.kl_rejected, done.trained[1].evaluation.kl_rejected
    )


def test_an_sae_that_does_not_fit_stops_before_any_training(tmp_path):
    settings = presets.settings("tiny", hook="blocks.0.hook_resid_pre", held_out=8)
    inputs = presets.inputs("tiny", settings)
    asked = []

    def keep(name, key, compute):
        asked.append(name)
        return compute()

    with pytest.raises(FeatureError, match="of the variance unexplained"):
        study.run("tiny", inputs, settings, [0], tmp_path, keep)
    assert asked == ["health"]


def test_extremes_are_the_weakest_and_strongest_constraint_of_a_seed():
    ends = study.extremes(TRAINED, 1)
    assert [(t.condition.name, t.seed) for t in ends] == [("LN-DPO", 1), ("FPO α=50", 1)]
    assert [t.condition.name for t in study.extremes(TRAINED[:2], 0)] == ["LN-DPO"]
