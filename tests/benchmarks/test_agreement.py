"""Speeds are of right results: what stands beside each stops where results are wrong."""

import pytest
import torch

import workbench as wb
from tests.benchmarks import capture, generation, peers, steering, timing
from workbench.generation import choices


@pytest.fixture(scope="module")
def toy():
    return wb.load(timing.make("toy"), timing.tokenizer())


def test_a_difference_is_a_share_of_the_largest_value():
    reference = torch.tensor([1.0, -20.0])
    assert timing.difference(reference + 1, reference) == pytest.approx(0.05)
    limit = timing.LIMITS[timing.dtype()]
    assert timing.require_close("x", reference * (1 + 0.9 * limit), reference) < limit
    for wrong in (reference * (1 + 1.1 * limit), reference * torch.nan):
        with pytest.raises(SystemExit, match="x: off by"):
            timing.require_close("x", wrong, reference)


def test_ratios_are_of_the_same_round():
    times = {"slow": [2.0, 30.0, 8.0], "fast": [1.0, 10.0, 2.0]}
    assert timing.ratios(times, "slow", "fast") == [2, 3, 4]
    assert timing.ratio(times, "slow", "fast") == 3


def test_random_models_have_the_dtype_and_shape_asked_for():
    hf = timing.make("toy", num_hidden_layers=1)
    assert hf.dtype == timing.dtype()
    assert (hf.config.num_hidden_layers, hf.config.hidden_size) == (1, 64)


@pytest.mark.parametrize("how", ["fold", "hook"])
def test_steering_that_is_off_by_a_little_is_seen(monkeypatch, toy, how):
    lock, steer = steering.some_lock(toy, 2), wb.steer
    assert steering.agreement(toy, lock)["steered_effect"] > 0.1

    def off(model, direction, alpha, *, how):
        return steer(model, direction, alpha * (1.01 if how == wrong else 1), how=how)

    wrong = how
    monkeypatch.setattr(steering.wb, "steer", off)
    with pytest.raises(SystemExit, match=how):
        steering.agreement(toy, lock)


def test_a_shift_that_rounding_hides_is_no_check(toy):
    with pytest.raises(SystemExit, match="rounding hides it"):
        steering.agreement(toy, steering.some_lock(toy, 2), alpha=0.0)


def test_a_shared_beginning_computed_wrongly_is_seen(monkeypatch):
    monkeypatch.setattr(generation, "PREFIX", 20)
    model, asked = generation.behind_one_text("toy")
    assert generation.shared_agreement(model, asked) < 1e-4
    scored = choices.scored

    def off(*given):
        scores = scored(*given)
        return scores + 1e-3 * torch.arange(scores.shape[1])

    monkeypatch.setattr(choices, "scored", off)
    with pytest.raises(SystemExit, match="shared beginning"):
        generation.shared_agreement(model, asked)


def test_a_peer_with_other_activations_is_named():
    def other(hf, tokenizer, prompts):
        call = peers.hidden_states(hf, tokenizer, prompts)
        return lambda: call().roll(1, 0)

    with pytest.raises(SystemExit, match="another: off by"):
        capture.timed("toy", {"another": other}, timing.prompts(3), one_model=True)
