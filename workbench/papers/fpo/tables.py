"""From the study to numbers: rows of its tables, which claims hold, the recorded metrics."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from workbench.evaluation.intervals import AMOUNT, SHARE, Limits, Units
from workbench.evaluation.metrics import measured, metric, over_seeds
from workbench.papers.fpo.evaluate import Evaluation
from workbench.papers.fpo.paper import FORMULAS, METHODS, PUBLISHED, Settings
from workbench.papers.fpo.study import Study
from workbench.papers.fpo.train import Trained

Plain = dict[str, Any]

MEASURES: dict[str, Callable[[Evaluation], np.ndarray]] = {
    "accuracy": lambda e: e.score_chosen > e.score_rejected,
    "accuracy, log p a token": lambda e: e.logp_chosen > e.logp_rejected,
    "entropy": lambda e: e.entropy,
    "KL chosen": lambda e: e.kl_chosen,
    "KL rejected": lambda e: e.kl_rejected,
    "D chosen": lambda e: e.d_chosen,
    "D rejected": lambda e: e.d_rejected,
}
"""Column → one value per held-out pair; KL in nats a sequence, entropy in nats a token."""


def losses(settings: Settings) -> list[Plain]:
    """The seven losses with the hyper-parameters of this study."""
    beta = {"SimPO": settings.beta_simpo, "SimPO+KL": settings.beta_simpo}
    beta |= dict.fromkeys(("FPO", "LN-DPO"), settings.beta)
    return [
        {"method": name, "u": u, "reference": needs, "β": beta.get(name, settings.beta_dpo)}
        for name, u, needs in FORMULAS
    ]


def health(study: Study) -> list[Plain]:
    """The SAE's fit to the reference on held-out responses; ce: nats a token."""
    return [{**asdict(study.health), "CE recovered": study.health.recovered}]


def by_seed(trained: Sequence[Trained], measure: str) -> dict[str, list[np.ndarray]]:
    """Condition → one array of pairs per seed."""
    out: dict[str, list[np.ndarray]] = {}
    for each in trained:
        values = MEASURES[measure](each.evaluation).astype(float)
        out.setdefault(each.condition.name, []).append(values)
    return out


def means(trained: Sequence[Trained], measure: str) -> dict[str, list[float]]:
    """Condition → one mean per seed."""
    return {n: [float(v.mean()) for v in seeds] for n, seeds in by_seed(trained, measure).items()}


def methods(trained: Sequence[Trained]) -> list[Plain]:
    """One row per condition: mean over seeds and pairs, [smallest, largest seed]."""
    columns = {measure: means(trained, measure) for measure in MEASURES}
    out = []
    for name in columns["accuracy"]:
        values = {measure: _spread(column[name]) for measure, column in columns.items()}
        seconds = [t.seconds for t in trained if t.condition.name == name]
        out.append({"method": name, **values, "training, s": float(np.mean(seconds))})
    return out


def alphas(trained: Sequence[Trained]) -> dict[float, str]:
    """Alpha of the constraint → name of its condition, rising."""
    conditions = {t.condition for t in trained if t.condition.method == "fpo"}
    return dict(sorted((c.alpha, c.name) for c in conditions))


def claims(trained: Sequence[Trained]) -> list[Plain]:
    """Statements about the constraint, seed by seed; `holds`: "yes" where every seed says so."""
    named = alphas(trained)
    if len(named) < 2:
        return [{"claim": "none: one alpha, nothing to compare", "by seed": "", "holds": ""}]
    d, kl, free = (means(trained, m) for m in ("D rejected", "KL rejected", "D chosen"))
    names, most = list(named.values()), list(named)[-1]
    zero, strong = names[0], names[-1]
    accuracy = means(trained, "accuracy")
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
            _rank_correlation([d[n][s] for n in names], [kl[n][s] for n in names])
            for s in range(len(d[zero]))
        ]
        out.append(
            _claim("D and KL order the alphas alike (Spearman)", ranks, lambda x: x > 0.999,
                   "{:.2f}")
        )  # fmt: skip
    return out


def costs(study: Study) -> list[Plain]:
    """Memory and time of a step per method: medians."""
    return [
        {
            "method": METHODS[c["method"]][0],
            "peak, MB": float(np.median(c["peak_bytes"])) / 1e6,
            "step, s": float(np.median(c["seconds"])),
            "reference": METHODS[c["method"]][2] if c["method"] != "simpo" else "none",
        }
        for c in study.costs
    ] or [{"method": "not measured (costs=0)"}]


def savings(study: Study) -> list[Plain]:
    """FPO's peak beside TDPO-2's, and its step beside LN-DPO's (median of pairs of steps)."""
    if not study.costs:
        return [{"peak less than TDPO-2's by": "not measured (costs=0)"}]
    return [
        {
            "peak less than TDPO-2's by": f"{saving(study.costs):.1%}",
            "step, times LN-DPO's": float(np.median(study.step_ratios)),
            "pairs of steps": len(study.step_ratios),
        }
    ]


def saving(costs: Sequence[Plain], ours: str = "fpo", other: str = "tdpo2") -> float:
    """By how much less one method holds at its peak, as a share of the other's."""
    peak = {c["method"]: float(np.median(c["peak_bytes"])) for c in costs}
    return 1 - peak[ours] / peak[other]


def beside(study: Study) -> list[Plain]:
    """Published accuracy, entropy and memory, one row per method, with this study's."""
    published = {p["metric"]: p["value"] for p in PUBLISHED}
    here = {m: means(study.trained, m) for m in ("accuracy", "entropy")}
    peaks = {c["method"]: float(np.median(c["peak_bytes"])) / 1e9 for c in study.costs}
    out = []
    for method, name in _reported(study.trained).items():
        row: Plain = {"method": name}
        for measure in ("accuracy", "entropy"):
            row[f"{measure}, published"] = published.get(f"{measure}_{method}")
            row[f"{measure}, here"] = float(np.mean(here[measure][name]))
        bytes_ = published.get(f"peak_bytes_{method}")
        row["peak GB, published"] = bytes_ / 1e9 if bytes_ else None
        row["peak GB, here"] = peaks.get(method)
        out.append(row)
    return out


def metrics(study: Study) -> list[Plain]:
    """The metrics of `results.json`; intervals are over seeds, the pairs they share, and prompts,
    where pairs share these."""
    published = {p["metric"]: (p["value"], f"{p['model']}, {p['dataset']}") for p in PUBLISHED}
    named, prompts = alphas(study.trained), [tuple(row["prompt_ids"]) for row in study.rows]
    out: list[Plain] = []

    def add(name: str, values: Sequence, units: Units, limits: Limits = AMOUNT, **how: Any) -> None:
        out.append(measured(name, values, units, published.get(name), limits=limits, **how))

    def add_pairs(name: str, values: Sequence[np.ndarray], limits: Limits = AMOUNT) -> None:
        count = len(values)
        ids = {"pairs": [range(len(prompts))] * count, "prompts": [prompts] * count}
        add(name, *over_seeds(values, **ids), limits)

    for letter, side in product("d kl".split(), ("rejected", "chosen")):
        values = by_seed(study.trained, f"{letter.upper()} {side}")
        for alpha, name in named.items():
            add_pairs(f"{letter}_{side}_alpha{alpha:g}", values[name])
    for alpha, name in named.items():
        add(f"stream_drift_alpha{alpha:g}", [size for size, _ in study.shifts[name]], "seeds")
    for alpha, name in named.items():
        outside = [size * share for size, share in study.shifts[name]]
        add(f"stream_drift_outside_alpha{alpha:g}", outside, "seeds")
    for measure, limits in (("accuracy", SHARE), ("entropy", AMOUNT)):
        values = by_seed(study.trained, measure)
        for method, name in _reported(study.trained).items():
            add_pairs(f"{measure}_{method}", values[name], limits)
    for cost in study.costs:
        add(f"peak_bytes_{cost['method']}", cost["peak_bytes"], "steps", statistic=np.median)
    if study.step_ratios:
        add("step_ratio_fpo_vs_ln_dpo", study.step_ratios, "pairs of steps", statistic=np.median)
    for name in ("fvu", "l0", "dead"):
        value = getattr(study.health, name)
        out.append(metric(f"sae_{name}", value, study.health.tokens))
    return out


def _reported(trained: Sequence[Trained]) -> dict[str, str]:
    """Method → the condition that stands for it; FPO at the paper's alpha, or the one nearest."""
    out = {}
    named = alphas(trained)
    positive = [a for a in named if a > 0]
    if positive:
        paper = Settings().alphas[-1]
        out["fpo"] = named[min(positive, key=lambda a: abs(a - paper))]
    if 0.0 in named:
        out["ln_dpo"] = named[0.0]
    for each in trained:
        if each.condition.method != "fpo":
            out.setdefault(each.condition.method, each.condition.name)
    return {m: out[m] for m in METHODS if m in out}


def _spread(values: Sequence[float]) -> str:
    largest = max(map(abs, values))
    digits = 3 if largest < 1 else 2 if largest < 10 else 1
    low, high, mean = min(values), max(values), sum(values) / len(values)
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ratios(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """By which factor each value fell; infinite where to 0, NaN where there was nothing to fall."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.asarray(before, float) / np.asarray(after, float)).tolist()


def _rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's; NaN where one of them does not vary."""
    return float(spearmanr(a, b).statistic) if len({*a}) > 1 and len({*b}) > 1 else np.nan


def _claim(text: str, values: Sequence[float], holds: Callable[[float], bool], form: str) -> Plain:
    """A claim by seed; a seed where nothing was measured (NaN) neither holds it nor fails it."""
    numbers = [v for v in values if not np.isnan(v)]
    count = sum(map(holds, numbers))
    by_seed = ["–" if np.isnan(v) else "to 0" if np.isinf(v) else form.format(v) for v in values]
    verdict = "yes" if count == len(values) else f"in {count} of {len(numbers)}"
    return {
        "claim": text,
        "by seed": ", ".join(by_seed),
        "holds": verdict if numbers else "not measured: nothing moved",
    }
