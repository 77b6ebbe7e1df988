"""From runs to numbers: the table of methods, what of the claim holds here, what is recorded."""

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from workbench.evaluation.metrics import bootstrap_ci, metric
from workbench.papers.fpo.evaluate import Evaluation
from workbench.papers.fpo.paper import LABELS, PUBLISHED, STANDARD_ERROR, WIN_RATES, Settings
from workbench.papers.fpo.study import Run
from workbench.sae.health import Health

Plain = dict[str, Any]

MEASURES: dict[str, Callable[[Evaluation], np.ndarray]] = {
    "accuracy": lambda e: e.score_w > e.score_l,
    "accuracy, log p a token": lambda e: e.logp_w > e.logp_l,
    "entropy": lambda e: e.entropy,
    "KL chosen": lambda e: e.kl_w,
    "KL rejected": lambda e: e.kl_l,
    "D chosen": lambda e: e.d_w,
    "D rejected": lambda e: e.d_l,
}
"""Column → a value a held-out pair; KL in nats a sequence, entropy in nats a token."""


def by_seed(runs: Sequence[Run], measure: str) -> dict[str, list[np.ndarray]]:
    """Condition → one array of pairs a seed."""
    out: dict[str, list[np.ndarray]] = {}
    for run in runs:
        out.setdefault(run.name, []).append(MEASURES[measure](run.held_out).astype(float))
    return out


def rows(runs: Sequence[Run]) -> list[Plain]:
    """The table: mean over seeds and pairs, [smallest, largest seed]."""
    found = {m: by_seed(runs, m) for m in MEASURES}
    out = []
    for name in found["accuracy"]:
        cells = {m: _spread([float(v.mean()) for v in found[m][name]]) for m in MEASURES}
        seconds = [r.seconds for r in runs if r.name == name]
        out.append({"method": name, **cells, "training, s": float(np.mean(seconds))})
    return out


def means(runs: Sequence[Run], measure: str) -> dict[str, list[float]]:
    """Condition → one mean a seed."""
    return {n: [float(v.mean()) for v in seeds] for n, seeds in by_seed(runs, measure).items()}


def alphas(runs: Sequence[Run]) -> dict[float, str]:
    """Alpha of the constraint → name of its condition, rising."""
    return dict(sorted({r.alpha: r.name for r in runs if r.method == "fpo"}.items()))


def claims(runs: Sequence[Run]) -> list[Plain]:
    """What is said of the constraint, seed by seed; `holds` where it does for every seed."""
    named = alphas(runs)
    if len(named) < 2:
        return []
    d, kl, free = (means(runs, m) for m in ("D rejected", "KL rejected", "D chosen"))
    names, most = list(named.values()), list(named)[-1]
    zero, strong = names[0], names[-1]
    accuracy = means(runs, "accuracy")
    out = [
        _claim(f"D(rejected) falls more than tenfold from α=0 to {most:g}",
               _ratios(d[zero], d[strong]), lambda x: x > 10, "{:.0f}×"),
        _claim(f"KL(rejected) is lower at α={most:g} than at 0",
               _ratios(kl[zero], kl[strong]), lambda x: x > 1, "{:.2f}×"),
        _claim(f"accuracy is within 2 points at α={most:g}",
               [b - a for a, b in zip(accuracy[zero], accuracy[strong], strict=True)],
               lambda x: abs(x) <= 0.02 + 1e-9, "{:+.3f}"),
        _claim(f"D(chosen), which nothing holds, falls less than tenfold by α={most:g}",
               _ratios(free[zero], free[strong]), lambda x: x < 10, "{:.0f}×"),
    ]  # fmt: skip
    if 0.5 in named and most != 0.5:
        early = _ratios(kl[zero], kl[named[0.5]])
        text = "the paper's α=0.5 already lowers KL(rejected)"
        out.insert(2, _claim(text, early, lambda x: x > 1, "{:.2f}×"))
    if len(named) > 2:
        ranks = [
            float(spearmanr([d[n][s] for n in names], [kl[n][s] for n in names]).statistic)
            for s in range(len(d[zero]))
        ]
        out.append(
            _claim("D and KL order the alphas alike (Spearman)", ranks, lambda x: x > 0.999,
                   "{:.2f}")
        )  # fmt: skip
    return out


def win_rates() -> list[Plain]:
    """Published win rates of FPO with their binomial error; `clear`: which differ from a tie."""
    columns = ("AlpacaEval-2, length-controlled", "AlpacaEval-2", "Arena-Hard")
    out = []
    for method, values in WIN_RATES.items():
        clear = [c for c, v, e in zip(columns, values[:3], STANDARD_ERROR, strict=True)
                 if abs(v - 50) > 1.96 * e]  # fmt: skip
        cells = {
            c: f"{v:.1f} ± {1.96 * e:.1f}"
            for c, v, e in zip(columns, values[:3], STANDARD_ERROR, strict=True)
        }
        out.append({"FPO against": method, **cells, "MT-Bench": values[3],
                    "clear of a tie": ", ".join(clear) or "none"})  # fmt: skip
    return out


def beside(runs: Sequence[Run], costs: Sequence[Plain], settings: Settings) -> list[Plain]:
    """Published accuracy, entropy and memory, a row a method, with this run's."""
    published = {p["metric"]: p["value"] for p in PUBLISHED}
    found = {m: means(runs, m) for m in ("accuracy", "entropy")}
    peaks = {c["method"]: float(np.median(c["peak_bytes"])) / 1e9 for c in costs}
    out = []
    for method, name in _reported(runs, settings).items():
        row: Plain = {"method": name}
        for measure in ("accuracy", "entropy"):
            row[f"{measure}, published"] = published.get(f"{measure}_{method}")
            row[f"{measure}, here"] = float(np.mean(found[measure][name]))
        bytes_ = published.get(f"peak_bytes_{method}")
        row["peak GB, published"] = bytes_ / 1e9 if bytes_ else None
        row["peak GB, here"] = peaks.get(method)
        out.append(row)
    return out


def results(
    runs: Sequence[Run],
    costs: Sequence[Plain],
    ratios: Sequence[float],
    health: Health,
    moved: Mapping[str, Mapping[str, Sequence[float]]],
    settings: Settings,
) -> list[Plain]:
    """The metrics of `results.json`; intervals resample seeds, then pairs.

    `moved`: of `show.stream_drift`.
    """
    published = {p["metric"]: p for p in PUBLISHED}
    out: list[Plain] = []

    def add(name: str, values: Sequence[Sequence[float]], statistic: Callable = np.mean) -> None:
        known = published.get(name)
        flat = np.concatenate([np.asarray(v, float) for v in values])
        value = float(statistic(flat))
        low, high = bootstrap_ci(values, statistic)
        beside = (known["value"], f"{known['model']}, {known['dataset']}") if known else ()
        out.append(metric(name, value, len(flat), (min(low, value), max(high, value)), *beside))

    for letter, side in product("d kl".split(), ("rejected", "chosen")):
        prefix, measure = f"{letter}_{side}", f"{letter.upper()} {side}"
        found = by_seed(runs, measure)
        for alpha, name in alphas(runs).items():
            add(f"{prefix}_alpha{alpha:g}", found[name])
    for prefix, part in (("drift", "all"), ("drift_outside", "outside the dictionary")):
        for alpha, name in alphas(runs).items():
            add(f"stream_{prefix}_alpha{alpha:g}", [[v] for v in moved[part][name]])
    for measure in ("accuracy", "entropy"):
        found = by_seed(runs, measure)
        for method, name in _reported(runs, settings).items():
            add(f"{measure}_{method}", found[name])
    for cost in costs:
        add(f"peak_bytes_{cost['method']}", [cost["peak_bytes"]], np.median)
    add("step_ratio_fpo_vs_ln_dpo", [ratios], np.median)
    for name in ("fvu", "l0", "dead"):
        value = getattr(health, name)
        out.append(metric(f"sae_{name}", value, health.tokens, (value, value)))
    return out


def _reported(runs: Sequence[Run], settings: Settings) -> dict[str, str]:
    """Method → the condition that stands for it; FPO at the paper's alpha, or the one nearest."""
    out = {}
    named = alphas(runs)
    positive = [a for a in named if a > 0]
    if positive:
        paper = Settings().alphas[-1]
        out["fpo"] = named[min(positive, key=lambda a: abs(a - paper))]
    if 0.0 in named:
        out["ln_dpo"] = named[0.0]
    for run in runs:
        if run.method != "fpo":
            out.setdefault(run.method, run.name)
    return {m: out[m] for m in LABELS if m in out}


def _spread(values: Sequence[float]) -> str:
    largest = max(map(abs, values))
    digits = 3 if largest < 1 else 2 if largest < 10 else 1
    low, high, mean = min(values), max(values), sum(values) / len(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ratios(before: Sequence[float], after: Sequence[float]) -> list[float]:
    return [a / max(b, 1e-12) for a, b in zip(before, after, strict=True)]


def _claim(
    text: str, values: Sequence[float], holds: Callable[[float], bool], form: str
) -> Plain:  # fmt: skip
    kept = sum(map(holds, values))
    return {
        "claim": text,
        "by seed": ", ".join(form.format(v) for v in values),
        "holds": "yes" if kept == len(values) else f"in {kept} of {len(values)}",
    }
