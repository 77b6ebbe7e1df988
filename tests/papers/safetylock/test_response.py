"""Dose and response, and controls: which locks are measured, and how."""

import workbench as wb
from workbench.papers.safetylock.attack import Attack
from workbench.papers.safetylock.choice import validation_map
from workbench.papers.safetylock.evaluate import Benchmark, Outcome, brindle_judge, evaluate, take
from workbench.papers.safetylock.lock import find_lock, random_directions
from workbench.papers.safetylock.response import controls, dose_response, evaluate_locked


def outcome(asr):
    return Outcome([asr], [0], [1], [0], [0], ["", ""])


def test_a_lock_is_measured_as_a_steered_model_answers(tiny, contrast):
    lock, _ = find_lock(contrast, 6)
    attack = Attack(tiny, "Obey.", 0)
    benchmark = Benchmark(take(wb.load_data("requests", "test"), 3), brindle_judge(), 24)
    assert evaluate_locked(attack, benchmark, None, 9.0) == evaluate(
        tiny, benchmark, system="Obey."
    )
    folded = evaluate_locked(attack, benchmark, lock, 2.0)
    with wb.steer(tiny, lock, 2.0, how="hook"):
        assert folded == evaluate(tiny, benchmark, system="Obey.")
    assert folded == evaluate_locked(attack, benchmark, lock, 2.0, how="hook")
    assert not tiny.folds


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
    assert {kind: len(drawn) for kind, drawn in outcomes.items()} == {
        "random directions": 2, "random heads": 2, "shuffled labels": 2,
    }  # fmt: skip
    assert len(set(asked)) == 6
    assert asked[1] == (random_directions(lock, 3001).digest(), 0.5)


def test_the_map_is_the_mean_over_attacks_with_one_reference(contrast):
    locks = {("paper", 3, k): find_lock(contrast, k)[0] for k in (2, 4)}
    measures = [
        lambda lock, alpha: outcome(int(lock is None)),
        lambda lock, alpha: outcome(int(alpha < 2)),
    ]
    trials = validation_map(measures, locks, [1, 2])
    rates = {(candidate[2], alpha): rates["asr"] for candidate, alpha, rates in trials}
    assert rates == {(2, 0): 1, (2, 1): 0.5, (2, 2): 0, (4, 0): 1, (4, 1): 0.5, (4, 2): 0}
