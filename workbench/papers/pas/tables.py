"""Study → rows of tables, and the metrics of `results.json`."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.data.inventories import COLUMNS
from workbench.data.respondents import Respondents
from workbench.evaluation.intervals import AMOUNT, ANY, GAIN, Limits, layout
from workbench.evaluation.metrics import measured, over_seeds, spelled
from workbench.generation.choices import entropy
from workbench.papers.pas.paper import PUBLISHED, REFERENCE_300, SCORES_300
from workbench.papers.pas.profile import trait_means
from workbench.papers.pas.reference import middle, misscored, own_mean, reference_rows
from workbench.papers.pas.scores import (
    ZERO,
    answers,
    baseline,
    collapses,
    correlations,
    method_errors,
    pooled,
)
from workbench.papers.pas.search import chosen
from workbench.papers.pas.sentences import described
from workbench.papers.pas.study import Group, Study

Row = dict[str, Any]
PAIRS = (
    ("pas, validated", "no persona"),
    ("pas, one alpha", "no persona"),
    ("pas, oracle", "pas, validated"),
    ("pas shuffled, validated", "no persona"),
    ("pas centered, validated", "pas, validated"),
    ("pas weighted, validated", "pas, validated"),
    ("pas, validated", "fewshot"),
    ("fewshot+pas, validated", "fewshot"),
    ("fewshot+pas, oracle", "fewshot"),
    ("p2+pas, validated", "p2"),
    ("pas, validated, DPO's subjects only", "DPO per subject"),
)
"""Methods whose Scores are compared, subject by subject."""
SCORES = {
    "score_pas_validated": "pas, validated",
    "score_pas_one_alpha": "pas, one alpha",
    "score_pas_oracle": "pas, oracle",
    "score_no_persona": "no persona",
    "score_fewshot": "fewshot",
    "score_fewshot_pas_validated": "fewshot+pas, validated",
    "score_fewshot_pas_oracle": "fewshot+pas, oracle",
    "score_p2": "p2",
    "score_p2_pas_validated": "p2+pas, validated",
    "score_pas_centered": "pas centered, validated",
    "score_pas_weighted": "pas weighted, validated",
    "score_pas_shuffled": "pas shuffled, validated",
    "score_dpo": "DPO per subject",
    "score_pas_validated_dpo_subjects": "pas, validated, DPO's subjects only",
}
"""Metric → method."""
RELEASED = "fewshot+pas, oracle"
"""The method that is published."""


def statements(respondents: Respondents, count: int = 6) -> list[Row]:
    """The first statements with their key."""
    items = respondents.inventory.items[:count]
    return [{name: getattr(item, name) for name in COLUMNS} for item in items]


def references(respondents: Respondents) -> list[Row]:
    """Predictors that need no model, and what scoring raw answers on reversed values costs."""
    return [*reference_rows(respondents), misscored(respondents)]


def published() -> list[Row]:
    """The same predictors on the released subjects, above the published row."""
    columns = ("A", "C", "E", "N", "O", "Score")
    errors = {
        **REFERENCE_300,
        **{name: (*[None] * 5, score) for name, score in SCORES_300.items()},
        f"published: {PUBLISHED[0]['model']}, {PUBLISHED[0]['dataset']}": [
            p["value"] for p in PUBLISHED
        ],
    }
    return [
        {"predictor": name, **dict(zip(columns, values, strict=True))}
        for name, values in errors.items()
    ]


def scores(study: Study) -> list[Row]:
    """Reference rows, then methods: errors per trait and their sum, mean over all subjects."""
    everybody = pooled(study)
    traits = everybody.inventory.traits
    rows = [
        {
            "method": r["predictor"],
            **{t: r[t] for t in traits},
            "Score": r["Score"],
            "95 % CI": None,
            "subjects": len(everybody),
        }
        for r in reference_rows(everybody)
    ]
    for name, by_seed in method_errors(study).items():
        every = np.concatenate(by_seed)
        rows.append(
            {
                "method": name,
                **dict(zip(traits, every.mean(0).tolist(), strict=True)),
                "Score": float(every.sum(1).mean()),
                "95 % CI": _interval(study, [e.sum(1) for e in by_seed]),
                "subjects": len(every),
            }
        )
    return rows


def differences(study: Study) -> list[Row]:
    """Paired differences of Scores over subjects: negative where the first is better."""
    by_method = method_errors(study)
    rows = []
    for a, b in PAIRS:
        if a in by_method and b in by_method:
            gaps = [(x - y).sum(1) for x, y in zip(by_method[a], by_method[b], strict=True)]
            every = np.concatenate(gaps)
            rows.append(
                {
                    "Score of": a,
                    "minus": b,
                    "difference": float(every.mean()),
                    "95 % CI": _interval(study, gaps, ANY),
                    "subjects": len(every),
                }
            )
    return rows


def letters(study: Study, condition: str = "pas") -> list[Row]:
    """Per alpha: how often each value is answered, entropy, subjects with one answer only."""
    by_seed = [g.searched[condition] for g in study.groups]
    everybody = [s for searched in by_seed for s in searched]
    validated = [place for searched in by_seed for place in chosen(searched, "validated")]
    rows = []
    for place, alpha in enumerate(everybody[0].alphas):
        answered = np.array([s.answers[place] for s in everybody])
        bits = [entropy(row) for row in answered.tolist()]
        rows.append(
            {
                "alpha": alpha,
                **{f"answer {v}": float((answered == v).mean()) for v in range(1, 6)},
                "unreadable": float((answered == 0).mean()),
                "entropy per subject (bits)": float(np.mean(bits)),
                "subjects with one answer": sum(len(set(row)) == 1 for row in answered.tolist()),
                "chosen (validated)": validated.count(place),
            }
        )
    return rows


def profiles(group: Group, subject: int) -> dict[str, dict[str, float]]:
    """Who answers → trait → mean on the test statements, more is more of the trait."""
    people = group.respondents
    test = people.inventory.split("test")
    by_answerer = {"own answers": people.values[subject, test]}
    for condition, zero in ZERO.items():
        if condition in group.searched:
            searched = group.searched[condition]
            by_answerer[f"{condition}, validated"] = answers(searched, "validated")[subject]
            if zero != "p2":
                by_answerer[zero] = answers(searched, "alpha 0")[subject]
    return {
        name: trait_means(answered, test, people.inventory, people.targets)
        for name, answered in by_answerer.items()
    }


def times(study: Study) -> list[Row]:
    """Seconds per subject, mean over all: PAS by mode, DPO, and DPO over PAS."""
    tuned = [t for g in study.groups for t in g.tuned]
    dpo = float(np.mean([t.seconds for t in tuned])) if tuned else None
    shared = _seconds_shared(study)
    rows = []
    for mode in ZERO:
        searched = [s for g in study.groups for s in g.searched.get(mode, [])]
        if searched:
            fit = float(np.mean([s.seconds_fit for s in searched]))
            search = float(np.mean([s.seconds_search for s in searched]))
            whole = shared + fit + search
            rows.append(
                {
                    "method": mode,
                    "extraction, shared": shared,
                    "fit": fit,
                    "alpha": search,
                    "in all": whole,
                    "steps": None,
                    "forwards": float(np.mean([s.prompts for s in searched])),
                    "DPO takes": f"{dpo / whole:.1f} times that" if dpo else "–",
                }
            )
    if tuned:
        row = dict.fromkeys(("extraction, shared", "fit", "alpha", "in all", "steps", "forwards"))
        row |= {"fit": dpo, "in all": dpo, "steps": tuned[0].steps, "DPO takes": "–"}
        rows.append({"method": "DPO", **row})
    return rows


def metrics(study: Study) -> list[Row]:
    """The metrics of `results.json`; published values stand beside the paper's own rule.

    None of them beside answers that have collapsed: constants come near 4.41, too.
    """
    by_method = method_errors(study)
    people = study.groups[0].respondents
    here = f"here {study.model}, {described(people, len(pooled(study)))}, {people.targets} values"
    beside = {p["metric"]: (p["value"], f"{p['model']}, {p['dataset']}; {here}") for p in PUBLISHED}
    beside = {} if "fewshot+pas" in collapses(study, "oracle") else beside

    def add(
        name: str,
        values: Sequence,
        limits: Limits = AMOUNT,
        statistic: Callable[[np.ndarray], float] = np.mean,
    ) -> None:
        flat, units = over_seeds(values, subjects=_ids(study, values))
        out.append(
            measured(name, flat, units, beside.get(name), statistic=statistic, limits=limits)
        )

    out: list[Row] = []
    for name, method in SCORES.items():
        if method in by_method:
            add(name, [e.sum(1) for e in by_method[method]])
    for place, trait in enumerate(study.groups[0].respondents.inventory.traits):
        if RELEASED in by_method:
            by_seed = [e[:, place] for e in by_method[RELEASED]]
            add(f"error_{trait}_fewshot_pas_oracle", by_seed)
    neutral = baseline(study, middle)
    add("score_always_neutral", neutral)
    add("score_own_trait_mean", baseline(study, lambda people: own_mean(people, "trait")))
    if "pas, validated" in by_method:
        validated, oracle = by_method["pas, validated"], by_method["pas, oracle"]
        pairs = [np.stack([e.sum(1), n], 1) for e, n in zip(validated, neutral, strict=True)]
        add("skill", pairs, limits=ANY, statistic=lambda p: 1 - p[:, 0].mean() / p[:, 1].mean())
        add("selection_gain", [(v - o).sum(1) for v, o in zip(validated, oracle, strict=True)], ANY)
        by_trait = [
            correlations(g.respondents, answers(g.searched["pas"], "validated"))
            for g in study.groups
        ]
        known = [np.flatnonzero(~np.isnan(r)) for r in by_trait]
        told_apart = [r[traits] for r, traits in zip(by_trait, known, strict=True)]
        if any(map(len, told_apart)):
            # Where nobody is told apart all are 0, which is no count without an event.
            limits = GAIN if np.concatenate(told_apart).any() else ANY
            units = over_seeds(told_apart, traits=known)
            out.append(measured("trait_correlation", *units, limits=limits))
        add("share_common", [[s.share for s in g.searched["pas"]] for g in study.groups])
        shared = _seconds_shared(study)
        seconds = [
            [shared + s.seconds_fit + s.seconds_search for s in g.searched["pas"]]
            for g in study.groups
        ]
        add("seconds_per_subject_pas", seconds)
    if study.groups[0].tuned:
        add("seconds_per_subject_dpo", [[t.seconds for t in g.tuned] for g in study.groups])
    return out


def parameters(study: Study) -> Row:
    """The parameters of `results.json`: what the metrics depend on."""
    people = study.groups[0].respondents
    return {
        "model": study.model, "inventory": people.inventory.name, "targets": people.targets,
        "keying": people.keying.verdict, "subjects": len(people),
        "seeds": [g.seed for g in study.groups], **asdict(study.settings),
    }  # fmt: skip


def over(study: Study) -> str:
    """What the intervals of `scores` and `differences` vary over."""
    by_seed = [g.respondents.ids for g in study.groups]
    ids, units = over_seeds(by_seed, subjects=by_seed)
    return " and ".join(layout(units, len(ids)).names) or "one subject alone"


def _seconds_shared(study: Study) -> float:
    return study.seconds_extract / sum(len(g.respondents) for g in study.groups)


def _ids(study: Study, values: Sequence[Sequence]) -> list[Sequence[str]]:
    """The subjects of `values[seed][subject]`: the first of each seed, where not all."""
    return [g.respondents.ids[: len(v)] for g, v in zip(study.groups, values, strict=True)]


def _interval(study: Study, values: Sequence[np.ndarray], limits: Limits = AMOUNT) -> str:
    row = measured("Score", *over_seeds(values, subjects=_ids(study, values)), limits=limits)
    return spelled(row["ci95"], ".2f")
