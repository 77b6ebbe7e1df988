"""Heads and alpha chosen on validation requests."""

from workbench.papers.safetylock.choice import best_trial, usable


def rates(**changed):
    return {
        "asr": 0.8, "broken": 0.0, "helpful": 1.0, "over_refusal": 0.0, "broken_harmless": 0.0,
        **changed,
    }  # fmt: skip


def test_choice_takes_the_lowest_success_that_costs_little():
    small, large, other = ("paper", 5, 8), ("paper", 5, 16), ("leverage", 5, 4)
    trials = [
        (small, 0.0, rates()),
        (small, 0.5, rates(asr=0.4)),
        (small, 1.0, rates(asr=0.0, helpful=0.94)),
        (large, 0.0, rates()),
        (large, 0.5, rates(asr=0.1, broken=0.06)),
        (large, 1.0, rates(asr=0.05, broken_harmless=0.05)),
    ]
    assert best_trial(trials) == (large, 1.0)
    trials += [(other, 0.0, rates()), (other, 1.0, rates(asr=0.05))]
    assert best_trial(trials) == (other, 1.0)
    hopeless = [(c, a, rates(helpful=0.2) if a else m) for c, a, m in trials]
    assert best_trial(hopeless)[1] == 0.5
    assert usable(rates(helpful=0.95), rates())
    assert not usable(rates(helpful=0.949), rates())
