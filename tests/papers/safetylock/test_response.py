"""Dose and response, and controls: which locks are measured, and how."""

from dataclasses import replace

import pytest

import workbench as wb
from workbench.generation.fitting import Fitting
from workbench.papers.safetylock.choice import validation_map
from workbench.papers.safetylock.evaluate import (
    Benchmark,
    Outcome,
    brindle_judges,
    replies,
    take,
)
from workbench.papers.safetylock.lock import CONTROLS, find_lock, random_directions
from workbench.papers.safetylock.response import (
    controls,
    dose_response,
    locked_replies,
    side_by_side,
)
from workbench.papers.safetylock.tune import Tuned


def outcome(asr):
    return Outcome([asr], [asr], [0], [1], [0], [0], [0], [1, 1], ["", ""])


def test_a_lock_is_measured_as_a_steered_model_answers(tiny, contrast):
    lock, _ = find_lock(contrast, 6)
    attack = Tuned(tiny, "Obey.", 0)
    benchmark = Benchmark(take(wb.load_data("requests", "test"), 3), brindle_judges(), 24)
    plain = replies(tiny, benchmark, system="Obey.")
    assert locked_replies(attack, benchmark, None, 9.0) == plain
    folded = locked_replies(attack, benchmark, lock, 2.0)
    with wb.steer(tiny, lock, 2.0, how="hook"):
        assert folded == replies(tiny, benchmark, system="Obey.")
    assert folded == locked_replies(attack, benchmark, lock, 2.0, how="hook")
    assert not tiny.folds
    several = side_by_side(attack, benchmark, lock, [0.5, 2.0])
    assert several == [locked_replies(attack, benchmark, lock, 0.5), folded]
    assert several[0] != several[1]


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_replies_are_those_of_any_batch(tiny, monkeypatch, batch):
    benchmark = Benchmark(take(wb.load_data("requests", "test"), 3), brindle_judges(), 24)
    expected = replies(tiny, benchmark)
    rows = []

    def counting(self, *arguments):
        rows.append(len(arguments[0].rows))
        return computed(self, *arguments)

    computed = Fitting.computed
    monkeypatch.setattr(Fitting, "computed", counting)
    assert replies(tiny, replace(benchmark, batch=batch)) == expected
    assert max(rows) <= batch


def test_every_dose_and_every_control_is_asked_for_once(contrast):
    lock, _ = find_lock(contrast, 6)
    asked = []

    def measure(lock, alpha):
        asked.append((lock.digest(), alpha))
        return outcome(int(alpha < 1))

    assert list(dose_response(measure, lock, [2, 0.5, 1, 0.5])) == [0.5, 1.0, 2.0]
    assert asked == [(lock.digest(), alpha) for alpha in (0.5, 1, 2)]
    asked.clear()
    outcomes = controls(measure, contrast, lock, 0.5, draws=2, seed=3)
    assert [(kind, len(drawn)) for kind, drawn in outcomes.items()] == [
        ("random directions", 2), ("random heads", 2), ("shuffled labels", 2),
    ]  # fmt: skip
    assert asked == [(control, 0.5) for drawn in outcomes.values() for control in drawn]
    assert asked[1] == (random_directions(lock, 3001).digest(), 0.5)
    assert lock.digest() not in dict(asked)


def drawn_locks(contrast, lock, **options):
    """Kind → digests of the control locks of one call."""
    return {
        kind: set(drawn)
        for kind, drawn in controls(
            lambda *_: outcome(0), contrast, lock, 1.0, **options
        ).items()
    }  # fmt: skip


def test_draws_differ_within_a_seed_and_between_seeds(contrast):
    lock, _ = find_lock(contrast, 6)
    seeds = {
        seed: drawn_locks(contrast, lock, draws=5, seed=seed)
        for seed in (0, 1, 2, 2**62, 2**63 - 1)
    }
    for kind in CONTROLS:
        assert [len(drawn[kind]) for drawn in seeds.values()] == [5] * 5
        assert len(set.union(*(drawn[kind] for drawn in seeds.values()))) == 25
    assert drawn_locks(contrast, lock, draws=5, seed=1) == seeds[1]
    fewer = drawn_locks(contrast, lock, draws=2, seed=1)
    assert all(fewer[kind] < seeds[1][kind] for kind in CONTROLS)


@pytest.mark.parametrize("draws", [0, -1, 1001, 2.5, True])
def test_a_count_of_draws_that_is_none_or_would_reach_the_next_seed_is_refused(contrast, draws):
    lock, _ = find_lock(contrast, 6)
    with pytest.raises(ValueError, match="draws="):
        controls(lambda *_: outcome(0), contrast, lock, 1.0, draws=draws)


def test_one_lock_drawn_twice_counts_once_and_none_is_said(contrast, caplog):
    half, _ = find_lock(contrast, 16)  # one way to draw 16 heads of the other 16
    assert len(drawn_locks(contrast, half, draws=4)["random heads"]) == 1
    assert "random heads: 1 of 4 draws are different" in caplog.text
    most, _ = find_lock(contrast, 17)
    drawn = drawn_locks(contrast, most, draws=4)
    assert (len(drawn["random heads"]), len(drawn["random directions"])) == (0, 4)
    assert "no random heads: fewer heads outside the lock than in it" in caplog.text


def test_the_map_is_the_mean_over_attacks_with_one_reference(contrast):
    locks = {("paper", 3, k): find_lock(contrast, k)[0] for k in (2, 4)}
    measures = [
        lambda lock, alpha: outcome(int(lock is None)),
        lambda lock, alpha: outcome(int(alpha < 2)),
    ]
    trials = validation_map(measures, locks, [1, 2])
    rates = {(candidate[2], alpha): rates["asr"] for candidate, alpha, rates in trials}
    assert rates == {(2, 0): 1, (2, 1): 0.5, (2, 2): 0, (4, 0): 1, (4, 1): 0.5, (4, 2): 0}
