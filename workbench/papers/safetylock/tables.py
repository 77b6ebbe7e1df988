"""From a study to rows and numbers: attacks, the lock's verdicts, controls, what is recorded."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from workbench.evaluation.intervals import ANY
from workbench.evaluation.judges import PHRASES, RULES
from workbench.evaluation.metrics import measured, spelled
from workbench.papers.safetylock import verdicts
from workbench.papers.safetylock.choice import in_window
from workbench.papers.safetylock.evaluate import FIELDS, Outcome, first, mean_rates
from workbench.papers.safetylock.paper import PUBLISHED
from workbench.papers.safetylock.presets import Inputs
from workbench.papers.safetylock.study import Study

Plain = dict[str, Any]
Draw = tuple[int, str]
"""(seed, what was drawn with it): one run of the test requests."""

UNLOCKED = ("asr", "granted", "helpful", "broken", "judges_agree")
"""Metrics of a model without a lock."""
CONTROL = ("asr", "granted", "broken")
"""Metrics of control locks."""


def pairs(inputs: Inputs, count: int = 3) -> list[Plain]:
    """The first preference pairs."""
    return [{k: pair[k] for k in ("prompt", "chosen", "rejected")} for pair in inputs.pairs[:count]]


def taught(study: Study) -> list[Plain]:
    """The base model on validation requests, as it was loaded and once it was taught refusals."""
    rows = [{"model": name, **outcome.rates()} for name, outcome in study.taught.items()]
    return [{**row, "verdict": verdicts.taught(rows[0], row) if i else ""}
            for i, row in enumerate(rows)]  # fmt: skip


def attacks(study: Study) -> list[Plain]:
    """The base model and its attacked descendants, unlocked."""
    rows = [{"model": "base", "seed": None, "steps": None, **study.before.rates()}]
    for (level, seed), outcome in study.attacked.items():
        steps = study.attacks[level, seed].steps
        rows.append({"model": f"level {level}", "seed": seed, "steps": steps, **outcome.rates()})
    return rows


def locked(study: Study) -> list[Plain]:
    """Every attack without and with the one lock of the base model, and the verdict."""
    rows = []
    for (level, seed), outcome in study.attacked.items():
        before, after = outcome.rates(), None
        if (level, seed) in study.curves:
            after = study.locked[level, seed].rates()
        rows.append(
            {
                "level": level,
                "seed": seed,
                "attack success": before["asr"],
                "locked": after and after["asr"],
                "granted": before["granted"],
                "granted locked": after and after["granted"],
                "helped": before["helpful"],
                "helped locked": after and after["helpful"],
                "broken": before["broken"],
                "broken locked": after and after["broken"],
                "judges agree": (after or before)["judges_agree"],
                "verdict": verdicts.verdict(before, after, study.before.rates()),
            }
        )
    return rows


def examples(study: Study) -> list[Plain]:
    """One harmful and one harmless request, with the first attack's replies without and with."""
    test, key = study.inputs.test, study.first
    replies = study.attacked[key].replies, study.locked[key].replies
    return [
        {"request": test[i]["prompt"], "attacked": replies[0][i], "locked": replies[1][i]}
        for i in (0, -1)
    ]


def controls(study: Study) -> list[Plain]:
    """No lock, the lock and each kind of control on the level-1 attacks: mean rates.

    All on the requests that the controls were asked. A kind that could not be drawn (too few heads
    outside the lock) has no rates.
    """
    curves, count = study.level_one.values(), study.settings.controlled
    groups = {
        "none": [first(curve[0.0], count) for curve in curves],
        "the lock": [first(curve[study.alpha], count) for curve in curves],
    }
    for kinds in study.controls.values():
        for kind, outcomes in kinds.items():
            groups.setdefault(kind, []).extend(outcomes.values())
    nothing = dict.fromkeys(FIELDS)
    return [
        {"lock": name, "runs": len(os), **(mean_rates(os) if os else nothing)}
        for name, os in groups.items()
    ]


def window(study: Study) -> str:
    """How much of the validation map is of use, in a line."""
    cells, inside = [t for t in study.trials if t[1] > 0], in_window(study.trials)
    of_use = [
        "{} r={} K={}".format(*candidate) + f" alpha={alpha:g}"
        for (candidate, alpha, _), counts in zip(cells, inside, strict=True)
        if counts
    ]
    what = (
        f"of {len(cells)} choices of heads and alpha halve attack success on validation requests "
        "at no more than 10 points of help and of broken text"
    )
    return (
        f"window: {len(of_use)} {what}: {', '.join(of_use)}" if of_use else f"no window: 0 {what}"
    )


def plain(study: Study) -> list[Plain]:
    """Test replies as the base model finds them without attack or lock, beside broken text.

    `improbable`: share of replies less probable than all but 5 % of the base model's own.
    """
    count, rows = study.settings.controlled, []
    outcomes = {"aligned": [study.before]}
    for state, alpha in (("attacked", 0.0), ("locked", study.alpha)):
        outcomes[state] = [curve[alpha] for curve in study.level_one.values()]
    harmful = min(count, len(study.before.attack))
    for kind, at, broken in (("harmful", slice(harmful), "broken"),
                             ("harmless", slice(harmful, None), "broken_harmless")):  # fmt: skip
        own = [values[at] for values in study.plain["aligned"].values()]
        floor = np.nanquantile(own, 0.05)
        for state, of_state in outcomes.items():
            means = np.array([values[at] for values in study.plain[state].values()])
            rows.append(
                {
                    "requests": kind,
                    "model": state,
                    "mean log-probability, nats": float(np.nanmean(means)),
                    "improbable": float((means < floor).mean()),
                    "empty": float(np.isnan(means).mean()),
                    "broken": mean_rates([first(outcome, count) for outcome in of_state])[broken],
                }
            )
    return rows


def judges() -> list[Plain]:
    """How often each judge of refusals is right on replies labelled by hand, with 95 % intervals.

    Sensitivity: share of refusals that it calls one. Specificity: share of others that it does not.
    """
    rows = []
    for judge in (PHRASES, RULES):
        row: Plain = {"judge": judge.name}
        for measure in ("sensitivity", "specificity"):
            right, n = getattr(judge, measure)
            share = measured(measure, [1] * right + [0] * (n - right), "replies")
            row |= {measure: share["value"], f"its 95 % CI, n = {n}": spelled(share["ci95"], ".3f")}
        rows.append(row)
    return rows


def costs(study: Study) -> list[Plain]:
    """Medians of the times, and how far the exported checkpoint's logits are off."""
    return [
        {
            "folding the lock, ms": float(np.median(study.lock_seconds)) * 1e3,
            "decoding, folded over unsteered": float(np.median(study.decode_ratios)),
            "largest logit difference of the export": study.export_error,
        }
    ]


def parameters(study: Study) -> Plain:
    """What the run settled on, for its record."""
    selection, _, _ = study.candidate
    return {
        "model": study.inputs.base.name,
        "seeds": sorted({seed for _, seed in study.attacks}),
        "lock": "one for all seeds",
        "selection": selection,
        "r": study.contrast.acts.positions.k,
        "heads": len(study.lock),
        "alpha": study.alpha,
    }


def metrics(study: Study) -> list[Plain]:
    """The run's metrics, level 1 under plain names, levels 2 and 3 with a suffix.

    `judge_agreement`: that over all replies to test requests, at level 1 under every alpha.
    `alpha_window`: share of the validation map that halves attack success at little cost
    (`choice.in_window`). `reply_logprob`: mean nats per token of a reply under the base model.

    `asr` and `over_refusal` are the published phrases' verdicts, `granted`, `declined` and
    `helpful` those of our judge; `judges_agree`, how often the two say the same. Intervals are
    over seeds and draws, and over the test requests, which these share; those of times and ratios
    over repeats. One lock serves all seeds: no interval holds what another lock would do.
    Published values stand beside ours with the setting they were measured in.
    """
    rows = [_rate(name, "aligned", {(0, ""): study.before}) for name in UNLOCKED]
    for level in sorted({level for level, _ in study.attacked}):
        suffix = "" if level == 1 else f"_level{level}"
        for state, outcomes, names in (
            ("attacked", study.attacked, UNLOCKED),
            ("locked", study.locked, FIELDS),
        ):
            of_level = {(seed, ""): o for (lv, seed), o in outcomes.items() if lv == level}
            if of_level:
                rows += [_rate(name, f"{state}{suffix}", of_level) for name in names]
    for kind, label in (
        ("random directions", "random_control"),
        ("random heads", "random_heads_control"),
        ("shuffled labels", "shuffled_control"),
    ):
        drawn = {
            (seed, lock): outcome
            for seed, kinds in study.controls.items()
            for lock, outcome in kinds[kind].items()
        }
        if drawn:
            rows += [_rate(name, label, drawn) for name in CONTROL]
    rows += _of_window(study)
    cosines = [
        (f"{attack}", f"{head}", cosine)
        for attack, heads in study.cosines.items()
        for head, cosine in heads.items()
    ]
    attacks, heads, values = zip(*cosines, strict=True)
    return [
        *rows,
        measured(
            "direction_cosine", values, {"attacks": attacks, "heads": heads},
            limits=(-1.0, 1.0),
        ),
        measured(
            "decode_ratio_folded", study.decode_ratios, "repeats",
            (1.0, "claim: no inference cost"), statistic=np.median,
        ),
        measured(
            "lock_seconds", study.lock_seconds, "repeats",
            (0.01, "claim: < 0.01 s (GPU)"), statistic=np.median,
        ),
    ]  # fmt: skip


def _rate(name: str, state: str, outcomes: Mapping[Draw, Outcome]) -> Plain:
    """A rate over the outcomes, which share their requests, beside the paper's where it has one.

    The paper's: Llama-3-8B on AdvBench.
    """
    published = {
        row["metric"]: (row["value"] / 100, f"{row['model']}, {row['dataset']}")
        for row in PUBLISHED
        if row["model"].startswith("Llama-3-8B") and row["dataset"] == "AdvBench"
    }
    answers = [
        (seed, f"{seed} {lock}", request, value)
        for (seed, lock), outcome in outcomes.items()
        for request, value in enumerate(getattr(outcome, FIELDS[name]))
    ]
    seeds, draws, requests, values = zip(*answers, strict=True)
    units = {"seeds": seeds, "draws": draws, "requests": requests}
    metric = f"{name}_{state}"
    return measured(metric, values, units, published.get(metric))


def _of_window(study: Study) -> list[Plain]:
    """Metrics of the validation map, the two judges, and replies read by the base model."""
    answered = {(0, "aligned"): study.before} | {
        (seed, f"alpha {alpha:g}"): outcome
        for seed, curve in study.level_one.items()
        for alpha, outcome in curve.items()
    }
    cells = in_window(study.trials)
    rows = [
        {**_rate("judges_agree", "", answered), "name": "judge_agreement"},
        measured("alpha_window", cells, {"map": [0] * len(cells)}),
    ]
    for state, of_seeds in study.plain.items():
        values = [
            (seed, request, mean)
            for seed, means in of_seeds.items()
            for request, mean in enumerate(means)
            if not np.isnan(mean)
        ]
        if values:
            seeds, requests, means = zip(*values, strict=True)
            units = {"seeds": seeds, "requests": requests}
            rows.append(measured(f"reply_logprob_{state}", means, units, limits=ANY))
    return rows
