"""Agreement against scikit-learn, scipy, published examples, slow loops, and known truths."""

import numpy as np
import pytest

from workbench.evaluation.agreement import corrected


def judged(rate, n, sensitivity, specificity, sizes, repeats, seed=0):
    """Counts of `repeats` studies: positives, and those of the judge's own two samples."""
    rng = np.random.default_rng(seed)
    positives = rng.binomial(n, rate * sensitivity + (1 - rate) * (1 - specificity), repeats)
    found = rng.binomial(sizes[0], sensitivity, repeats)
    alone = rng.binomial(sizes[1], specificity, repeats)
    return zip(positives.tolist(), found.tolist(), alone.tolist(), strict=True)


def test_a_judge_without_errors_leaves_the_share_and_a_perfect_calibration_its_wilson_interval():
    value, low, high = corrected(30, 100, (10**7, 10**7), (10**7, 10**7))
    assert value == pytest.approx(0.3)
    assert (low, high) == pytest.approx((0.2189, 0.3958), abs=1e-4)


def test_the_rate_behind_known_errors():
    """Rogan and Gladen: (share + specificity − 1) / (sensitivity + specificity − 1)."""
    assert corrected(30, 100, (61, 67), (70, 72))[0] == pytest.approx(
        (0.3 + 70 / 72 - 1) / (61 / 67 + 70 / 72 - 1)
    )
    # Swapping what counts as positive swaps the judge's two figures, and the rate.
    value, low, high = corrected(70, 100, (70, 72), (61, 67))
    assert corrected(30, 100, (61, 67), (70, 72)) == pytest.approx((1 - value, 1 - high, 1 - low))


@pytest.mark.parametrize(("n", "sizes"), [(50, (20, 20)), (200, (67, 72)), (1000, (500, 100))])
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.97), (0.7, 0.8), (0.6, 0.6)])
def test_corrected_rates_are_covered(n, sizes, sensitivity, specificity):
    """95 % in the middle; at rates of 0 and 1, or with few errors of the judge, up to 100 %."""
    for rate in (0.0, 0.1, 0.5, 0.9, 1.0):
        covered = []
        for positives, *right in judged(rate, n, sensitivity, specificity, sizes, 600):
            if right[0] / sizes[0] + right[1] / sizes[1] <= 1:
                continue
            pairs = zip(right, sizes, strict=True)
            try:
                value, low, high = corrected(positives, n, *pairs)
            except ValueError:
                covered.append(False)
                continue
            assert 0 <= low <= value <= high <= 1
            covered.append(low <= rate <= high)
        assert np.mean(covered) >= 0.95 - 3 * (0.95 * 0.05 / 600) ** 0.5, rate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 10, (5, 10), (5, 10)), "sensitivity 0.5 and specificity 0.5 .*no better than chance"),
        ((3, 10, (0, 10), (10, 10)), "no better than chance"),
        ((0, 113, (74, 76), (30, 50)), "no rate explains 0 positives of 113"),
        ((90, 93, (40, 70), (56, 70)), "no rate explains 90 positives of 93"),
        ((11, 10, (9, 10), (9, 10)), "positives=11: .*at most 10"),
        ((0.3, 10, (9, 10), (9, 10)), r"positives=0\.3: it must be a whole number"),
        ((0, 0, (9, 10), (9, 10)), "n=0: .*at least 1"),
        ((1, 10, (0, 0), (9, 10)), r"sensitivity\[1\]=0: .*at least 1"),
        ((1, 10, (9, 10), (11, 10)), r"specificity\[0\]=11: .*at most 10"),
        ((1, 10, 0.9, (9, 10)), r"sensitivity=0\.9: it must be a list"),
        ((1, 10, (9, 10, 1), (9, 10)), r"sensitivity=\[9, 10, 1\]: give \(right, of how many\)"),
    ],
)
def test_what_cannot_be_corrected_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        corrected(*arguments)


def test_a_judge_that_may_be_chance_leaves_every_rate_open():
    assert corrected(5, 10, (6, 10), (6, 10))[1:] == (0, 1)
