"""Heads and alpha chosen on validation requests."""

from itertools import product

from workbench.papers.safetylock.choice import best_trial, in_window, usable


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
    for name in ("broken", "broken_harmless"):
        assert usable(rates(**{name: 0.15}), rates(**{name: 0.1}))
        assert not usable(rates(**{name: 0.151}), rates(**{name: 0.1}))


def test_of_equal_success_the_smaller_shift_is_taken():
    """√K · alpha: 2 of 4 heads at 1, 3 of 16 at 0.75."""
    few, many = ("paper", 5, 4), ("paper", 5, 16)
    trials = [(few, 0.0, rates()), (few, 1.0, rates(asr=0.1)),
              (many, 0.0, rates()), (many, 0.75, rates(asr=0.1))]  # fmt: skip
    assert best_trial(trials) == (few, 1.0)


def test_the_window_halves_attack_success_at_ten_points_at_most():
    one, two = ("paper", 5, 4), ("leverage", 5, 4)
    trials = [
        (one, 0.0, rates()),
        (one, 0.5, rates(asr=0.4, helpful=0.9, broken=0.1, broken_harmless=0.1)),
        (one, 1.0, rates(asr=0.41)),
        (one, 1.5, rates(asr=0.0, helpful=0.89)),
        (one, 2.0, rates(asr=0.0, broken=0.11)),
        (one, 2.5, rates(asr=0.0, broken_harmless=0.11)),
        (two, 0.0, rates(asr=0.0)),
        (two, 0.5, rates(asr=0.0)),
    ]
    assert in_window(trials) == [1, 0, 0, 0, 0, 0]


def test_exactly_half_is_half_in_whatever_order_it_was_added_up():
    """Means over three attacks, of 7 requests each: rounding moves some past a half."""
    one, means = ("paper", 5, 4), {}
    for counts in product(range(8), repeat=3):
        means.setdefault(sum(counts), set()).add(sum(k / 7 for k in counts) / 3)
    for total in range(2, 22, 2):
        for before, after in product(means[total], means[total // 2]):
            trials = [(one, 0.0, rates(asr=before)), (one, 1.0, rates(asr=after))]
            assert in_window(trials) == [1], total
    least, most = min(means[9]), max(means[9])
    assert least < most
    trials = [(one, 0.0, rates()), (one, 0.5, rates(asr=most)), (one, 1.0, rates(asr=least))]
    assert best_trial(trials) == (one, 0.5)
