"""What the paper printed besides its metrics, and what was measured once on its model's shapes."""

from typing import Any

Plain = dict[str, Any]

WIN_RATES = {
    "SFT": (54.7, 55.1, 53.2, 0.5),
    "DPO": (51.7, 50.8, 51.6, 0.1),
    "TDPO-1": (51.5, 54.4, 51.4, 0.3),
    "TDPO-2": (50.9, 54.0, 50.6, 0.2),
    "SimPO": (51.1, 52.2, 51.4, 0.4),
}
"""Table 2, left, 2B, FPO against each: AlpacaEval-2 length-controlled and raw, Arena-Hard (%; 50 is
a tie), MT-Bench difference."""
STANDARD_ERROR = (1.76, 1.76, 2.24)
"""Percentage points at a tie, of the three win rates: 805 prompts and 500."""
ABLATION_ALPHA = {
    "no stop-gradient": {
        0.1: (64.1, 1.630), 0.5: (63.7, 1.642), 1.0: (63.4, 1.666), 2.0: (61.9, 1.643),
    },
    "stop-gradient": {
        0.1: (64.0, 1.652), 0.5: (63.6, 1.680), 1.0: (62.7, 1.682), 2.0: (62.1, 1.679),
    },
}  # fmt: skip
"""Table 3: accuracy (%) and entropy by alpha. Table 2's FPO row (64.1, 1.68) is no cell of it."""
MEASURED = [
    {"method": "FPO", "peak, GB": 26.5, "step, s": 0.344},
    {"method": "LN-DPO", "peak, GB": 26.2, "step, s": 0.325},
    {"method": "DPO", "peak, GB": 26.2, "step, s": 0.31},
    {"method": "SimPO", "peak, GB": 26.2, "step, s": 0.39},
    {"method": "TDPO-2", "peak, GB": 32.6, "step, s": 0.43},
]
"""By `tests/benchmarks/fpo.py --shape gemma-2-2b` on one H100."""


def win_rates() -> list[Plain]:
    """Published win rates of FPO with their binomial error; `clear`: which differ from a tie."""
    columns = ("AlpacaEval-2, length-controlled", "AlpacaEval-2", "Arena-Hard")
    out = []
    for method, (*rates, bench) in WIN_RATES.items():
        clear = [c for c, rate, error in zip(columns, rates, STANDARD_ERROR, strict=True)
                 if abs(rate - 50) > 1.96 * error]  # fmt: skip
        texts = {
            c: f"{rate:.1f} ± {1.96 * error:.1f}"
            for c, rate, error in zip(columns, rates, STANDARD_ERROR, strict=True)
        }
        out.append({"FPO against": method, **texts, "MT-Bench": bench,
                    "clear of a tie": ", ".join(clear) or "none"})  # fmt: skip
    return out


def ablation() -> list[Plain]:
    """The published ablation of alpha: accuracy in % / entropy in nats."""
    return [
        {"variant": variant, **{f"α={a:g}": f"{x:.1f} / {h:.3f}" for a, (x, h) in values.items()}}
        for variant, values in ABLATION_ALPHA.items()
    ]
