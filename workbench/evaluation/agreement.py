"""How far judges, raters and predictors of the same items agree, and what their errors hide."""

from scipy.special import ndtri

from workbench import arguments


def corrected(
    positives: int, n: int, sensitivity: tuple[int, int], specificity: tuple[int, int]
) -> tuple[float, float, float]:
    """Rate behind a judge's `positives` among `n` texts: value and 95 % interval (low, high).

    `sensitivity`, `specificity`: (right, of how many) on labelled texts of either kind, as
    `judges.RULES` has them. The value is Rogan and Gladen's (1978), within 0 and 1. The
    interval holds the rates that a score test does not reject; it carries the chance in all three
    counts, with one success and one failure added to either of the judge's (Lang and Reiczigel
    2014). Texts are taken for independent, and alike to those that the judge was measured on.

    Raises `ValueError` for counts that are none, for a judge no better than chance (sensitivity +
    specificity at most 1), and where no rate explains the share: the judge errs otherwise here.

    >>> value, low, high = corrected(30, 100, sensitivity=(61, 67), specificity=(70, 72))
    """
    share = arguments.whole("positives", positives, 0, arguments.whole("n", n, 1)) / n
    raw, smooth, variance = [], [], []
    for name, counts in {"sensitivity": sensitivity, "specificity": specificity}.items():
        if len(counts := arguments.listed(name, counts)) != 2:
            raise ValueError(f"{name}={counts!r:.80}: give (right, of how many)")
        of = arguments.whole(f"{name}[1]", counts[1], 1)
        right = arguments.whole(f"{name}[0]", counts[0], 0, of)
        raw.append(right / of)
        smooth.append((right + 1) / (of + 2))
        variance.append(smooth[-1] * (1 - smooth[-1]) / (of + 2))
    if sum(raw) <= 1:
        raise ValueError(
            f"sensitivity {raw[0]:.3g} and specificity {raw[1]:.3g} add up to no more than 1: this "
            "judge is no better than chance, and nothing can be read off its verdicts"
        )
    value = min(1.0, max(0.0, (share + raw[1] - 1) / (sum(raw) - 1)))
    # The rates p with (share − false − p·gain)² ≤ z²·Var, both sides quadratic in p.
    z2, false, gain = float(ndtri(0.975)) ** 2, 1 - smooth[1], sum(smooth) - 1
    a = gain**2 * (1 + z2 / n) - z2 * sum(variance)
    b = gain * (share - false) + z2 * (gain * (0.5 - false) / n - variance[1])
    c = (share - false) ** 2 - z2 * (false * (1 - false) / n + variance[1])
    if a <= 0:
        return value, 0.0, 1.0
    half = max(b * b - a * c, 0.0) ** 0.5
    low, high = (b - half) / a, (b + half) / a
    if high < 0 or low > 1:
        raise ValueError(
            f"no rate explains {positives} positives of {n} by a judge of sensitivity "
            f"{raw[0]:.3g} and specificity {raw[1]:.3g}: measure it on texts like these"
        )
    return value, max(0.0, min(low, value)), min(1.0, max(high, value))
