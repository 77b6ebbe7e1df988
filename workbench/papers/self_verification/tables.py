"""Tables of a study: rows for the page, the run's metrics, the published figures beside them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.evaluation.intervals import AMOUNT, GAIN, SHARE, Limits
from workbench.evaluation.metrics import measured, over_seeds, spelled
from workbench.evaluation.paired import mcnemar_p
from workbench.papers.self_verification import measures, parsers
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.measures import first_right, gains, right_readings
from workbench.papers.self_verification.paper import (
    BENCHMARK,
    BESIDE,
    PICKS,
    TABLE_1,
    TABLE_2,
    published,
)
from workbench.papers.self_verification.presets import CONTROL
from workbench.papers.self_verification.study import Comparison, Study

METHODS = {
    "greedy": "greedy (T = 0)",
    "first": "first sample",
    "random": "random among distinct",
    "sc": "self-consistency",
    "sc_matched": "self-consistency, tokens of SV",
    "sv": "self-verification (SV)",
    "sc_sv": "SC + SV (two most frequent)",
}
"""Short name → title; `pass` (any of the k candidates right) is a bound, no method."""

_MODES = {
    "cmv": "masked conditions",
    "tfv": "true or false",
    "yesno": "yes or no",
    "tfv_fallback": "true or false, as nothing could be masked",
}
_NOT_VERIFIED = {
    "tied": "the order of candidates: the best were tied",
    "nothing": "the order of candidates: every one scored 0",
    "votes": "votes, as verification told the best not apart",
    "alone": "nothing: one candidate",
    "majority": "the majority: p = 0",
    "unreadable": "nothing: no readable answer",
}
"""What settled questions that verification did not, by `decision.PICKS`."""
_STAGE_METRICS = {"sums-early": "early", "sums-late": "late", CONTROL: "two_readings"}


def accuracies(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row per method: accuracy over all seeds, its 95 % interval, tokens per question."""
    rows = []
    for name, title in METHODS.items():
        right = [c.right[name] for c in comparisons]
        accuracy = measured(name, *_questions(comparisons, right), limits=SHARE)
        row = {
            "method": title,
            "accuracy": accuracy["value"],
            "95 % CI": spelled(accuracy["ci95"], ".3f"),
            "by seed": " ".join(f"{np.mean(c.right[name]):.3f}" for c in comparisons),
        }
        tokens = [x for c in comparisons for x in c.tokens.get(name, [])]
        rows.append(row | {"tokens": round(float(np.mean(tokens)), 1) if tokens else None})
    return rows


def difference(comparisons: Sequence[Comparison], other: str) -> dict[str, Any]:
    """SV minus another method on the same questions: difference, its interval, McNemar p.

    McNemar counts every different question once, by its first seed.
    """
    gained = _questions(comparisons, gains(comparisons, other))
    row = measured(other, *gained, limits=GAIN)
    ours, theirs = ([bool(x) for x in first_right(comparisons, method)] for method in ("sv", other))
    return {
        f"{METHODS['sv']} minus": METHODS[other],
        "difference": row["value"],
        "95 % CI": spelled(row["ci95"], "+.3f"),
        "McNemar p": mcnemar_p(ours, theirs),
        "questions": len(ours),
    }


def differences(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row per method that SV is set against."""
    return [difference(comparisons, name) for name in ("greedy", "first", "sc", "sc_matched")]


def modes(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """What settled the questions: counts by the mode that did, or by what did instead."""
    questions = [v for c in comparisons for v in c.verified]
    picked = Counter((v.pick, v.mode if v.pick == "verified" else "") for v in questions)
    titles = {("verified", mode): title for mode, title in _MODES.items()}
    titles |= {(pick, ""): title for pick, title in _NOT_VERIFIED.items()}
    return [
        {"settled by": title, "questions": picked[which]}
        for which, title in titles.items()
        if picked[which]
    ]


def picks(study: Study) -> list[dict[str, Any]]:
    """Table 2 of this run: `measures.picks` in one row."""
    return [{"this run": study.dataset, **measures.picks(study.comparisons)}]


def variants(study: Study) -> list[dict[str, Any]]:
    """Accuracy and tokens per question of every way to verify."""

    def mean(values: Sequence[Sequence[float]]) -> float | None:
        return float(np.mean(np.concatenate(values))) if values else None

    return [
        {"verification": title, "accuracy": mean(v.right), "tokens": mean(v.tokens)}
        for title, v in study.variants.items()
    ]


def stages(study: Study) -> list[dict[str, Any]]:
    """One row per stage of training or control: accuracies, and SV minus greedy decoding."""
    rows = []
    for title, comparisons in study.stages.items():
        gain = difference(comparisons, "greedy")
        accuracy = {row["method"]: row["accuracy"] for row in accuracies(comparisons)}
        rows.append(
            {"model": title, "questions": gain["questions"], **accuracy,
             "SV minus greedy": gain["difference"], "95 % CI": gain["95 % CI"]}
        )  # fmt: skip
    return rows


def readings(study: Study) -> list[dict[str, float]]:
    """`right_readings` of the negative control, per seed."""
    return [right_readings(c.verified) for c in study.stages.get(CONTROL, [])]


def metrics(study: Study) -> list[dict[str, Any]]:
    """The run's metrics; intervals are over seeds and questions."""
    comparisons, rows = study.comparisons, []
    dataset = BESIDE.get(study.dataset, study.dataset)

    def add(
        name: str,
        values: Sequence[Sequence[float]],
        limits: Limits = SHARE,
        of: Sequence[Comparison] = comparisons,
    ) -> None:
        flat, units = _questions(of, values)
        rows.append(measured(name, flat, units, published(name, dataset), limits=limits))

    def per_question(value: Callable[[Verified], bool]) -> list[list[float]]:
        return [[float(value(v)) for v in c.verified] for c in comparisons]

    for name in METHODS:
        add(f"acc_{name}", [c.right[name] for c in comparisons])
    add("pass_at_k", [c.right["pass"] for c in comparisons])
    for name in comparisons[0].tokens:
        add(f"tokens_{name}", [c.tokens[name] for c in comparisons], AMOUNT)
    for other in ("greedy", "sc_matched"):
        add(f"sv_minus_{other}", gains(comparisons, other), GAIN)
    add("share_contested", per_question(lambda v: v.contested))
    add("share_verified_by_fallback", per_question(lambda v: v.mode == "tfv_fallback"))
    add("share_unanswered", per_question(lambda v: not v.candidates))
    for style in parsers.available(comparisons):
        if style != "robust":
            name = f"{style.replace('-', '_')}_differs_from_robust"
            add(name, parsers.differing(comparisons, style))
    add("tokens_sv_early_stop", study.variants["stopping early"].tokens, AMOUNT)
    for title in ("first condition", "true or false"):
        if title in study.variants:
            name = f"acc_sv_{title.replace(' ', '_')}"
            add(name, study.variants[title].right)
    for title, name in _STAGE_METRICS.items():
        if title in study.stages:
            stage = study.stages[title]
            add(f"sv_minus_greedy_{name}", gains(stage, "greedy"), GAIN, stage)
    if any(readings(study)):
        right = [list(seed.values()) for seed in readings(study)]
        flat, units = over_seeds(right, questions=[list(seed) for seed in readings(study)])
        rows.append(measured("sv_picks_right_reading", flat, units))
    return rows


def _questions(comparisons: Sequence[Comparison], values: Sequence[Sequence[float]]) -> Any:
    """`values[seed][question]` in one list, and their seeds and questions."""
    return over_seeds(values, questions=[[v.problem.id for v in c.verified] for c in comparisons])


def parameters(study: Study) -> dict[str, Any]:
    """What the run was given, for its record."""
    settings = {name: value for name, value in asdict(study.settings).items() if name != "seed"}
    return {
        "model": study.model,
        "dataset": study.dataset,
        "problems": len(study.comparisons[0].verified),
        "seeds": study.seeds,
        **settings,
    }


def table_1() -> list[dict[str, Any]]:
    """Published solve rates, percent: one row per model and method."""
    return [
        {"model": model, "method": method, **dict(zip(BENCHMARK, rates, strict=True))}
        for (model, method), rates in TABLE_1.items()
    ]


def table_2() -> list[dict[str, Any]]:
    """Published picks among contested candidates, percent: one row per dataset."""
    return [{"published": name, **dict(zip(PICKS, values, strict=True))}
            for name, values in TABLE_2.items()]  # fmt: skip
