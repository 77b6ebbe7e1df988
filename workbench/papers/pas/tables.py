"""From studies to numbers: scores of every method, paired differences, what is recorded."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from workbench.data.respondents import Respondents, reverse
from workbench.evaluation.metrics import bootstrap_ci, metric
from workbench.papers.pas.answer import check_collapse
from workbench.papers.pas.paper import PUBLISHED
from workbench.papers.pas.reference import errors, own_mean, reference_rows
from workbench.papers.pas.study import Study

Plain = dict[str, Any]
Answers = np.ndarray
"""int `[subject, test item]`, 1..5 (0: unreadable)."""
RULES = ("validated", "one alpha", "oracle", "alpha 0")
"""How alpha is chosen: per subject on held-out train items; one for all subjects of a seed, on
theirs; per subject on the test items, as the paper does; not steered at all."""
ZERO = {"pas": "no persona", "fewshot+pas": "fewshot", "p2+pas": "p2"}
"""What a mode is called without steering."""


def chosen(searched: Sequence[Plain], rule: str) -> list[int]:
    """Place in the grid of each subject's alpha; ties go to the smaller one."""
    if rule == "alpha 0":
        return [s["alphas"].index(0.0) for s in searched]
    if rule == "one alpha":
        total = np.sum([s["validation"] for s in searched], 0)
        return [int(total.argmin())] * len(searched)
    column = {"validated": "validation", "oracle": "test"}[rule]
    return [int(np.argmin(s[column])) for s in searched]


def answers(searched: Sequence[Plain], rule: str) -> Answers:
    """Everybody's answers to the test items at the alpha that the rule chooses."""
    picks = chosen(searched, rule)
    return np.array([s["answers"][i] for s, i in zip(searched, picks, strict=True)])


def methods(study: Study) -> dict[str, Answers]:
    """Every method's answers for one seed's subjects; DPO's are in `study.tuned`."""
    out = {}
    for condition, searched in study.searched.items():
        if condition in ZERO:
            out[ZERO[condition]] = answers(searched, "alpha 0")
        for rule in RULES[:3]:
            out[f"{condition}, {rule}"] = answers(searched, rule)
    return out


def subject_errors(study: Study) -> dict[str, np.ndarray]:
    """Method → error `[subject, trait]`."""
    return {name: errors(said, study.respondents) for name, said in methods(study).items()}


def rows(studies: Sequence[Study]) -> list[Plain]:
    """The table: reference rows, then methods; errors per trait and their sum, mean over all."""
    everybody = pooled(studies)
    traits = everybody.inventory.traits
    table = [
        {
            "method": r["predictor"],
            **{t: r[t] for t in traits},
            "Score": r["Score"],
            "95 % CI": None,
            "subjects": len(everybody),
        }
        for r in reference_rows(everybody)
    ]
    by_seed = [subject_errors(s) for s in studies]
    for name in by_seed[0]:
        table.append(_row(name, [e[name] for e in by_seed], traits))
    if studies[0].tuned:
        table.append(_row("DPO per subject", [tuned_errors(s) for s in studies], traits))
        for name in ("pas, validated", "fewshot"):
            if name in by_seed[0]:
                few = [e[name][: len(s.tuned)] for e, s in zip(by_seed, studies, strict=True)]
                table.append(_row(f"{name}, DPO's subjects only", few, traits))
    return table


def tuned_errors(study: Study) -> np.ndarray:
    """DPO's error `[its subjects, trait]`."""
    some = study.respondents.take(range(len(study.tuned)))
    return errors(np.array([t["answers"] for t in study.tuned]), some)


def pooled(studies: Sequence[Study]) -> Respondents:
    """The subjects of all seeds; one who was drawn twice counts once."""
    first = studies[0].respondents
    ids = [i for s in studies for i in s.respondents.ids]
    values = np.concatenate([s.respondents.values for s in studies])
    keep = [ids.index(i) for i in dict.fromkeys(ids)]
    return Respondents(
        first.inventory, values[keep], tuple(ids[k] for k in keep), first.targets, first.keying
    )


def differences(studies: Sequence[Study]) -> list[Plain]:
    """Paired differences of Scores over subjects: negative where the first is better."""
    by_seed = [subject_errors(s) for s in studies]
    pairs = (
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
    )
    out = []
    for a, b in pairs:
        if a in by_seed[0] and b in by_seed[0]:
            gaps = [(e[a] - e[b]).sum(1) for e in by_seed]
            out.append(_difference(a, b, gaps))
    if studies[0].tuned and "pas, validated" in by_seed[0]:
        gaps = [
            (e["pas, validated"][: len(s.tuned)] - tuned_errors(s)).sum(1)
            for e, s in zip(by_seed, studies, strict=True)
        ]
        out.append(_difference("pas, validated", "DPO per subject", gaps))
    return out


def curves(studies: Sequence[Study], column: str) -> dict[str, dict[float, list[float]]]:
    """Condition → alpha → Score per seed; `column`: `"test"` or `"validation"`."""
    out: dict[str, dict[float, list[float]]] = {}
    for study in studies:
        for condition, searched in study.searched.items():
            mean = np.mean([s[column] for s in searched], 0)
            for alpha, value in zip(searched[0]["alphas"], mean.tolist(), strict=True):
                out.setdefault(condition, {}).setdefault(alpha, []).append(value)
    return out


def correlations(study: Study, said: Answers) -> np.ndarray:
    """Pearson r over subjects between predicted and own trait means on the test items, `[trait]`.

    Missing answers are left out. 0 where the predictions do not differ between subjects: nothing
    was told apart.
    """
    people = study.respondents
    test = people.inventory.split("test")
    trait = people.inventory.trait_of(test)
    full = np.zeros_like(people.values)
    full[:, test] = said
    raw = people.targets == "raw"
    keyed = [reverse(v, people.inventory) if raw else v for v in (full, people.values)]
    out = []
    for t in range(len(people.inventory.traits)):
        a, b = (np.ma.masked_equal(k[:, test][:, trait == t], 0).mean(1) for k in keyed)
        out.append(float(np.ma.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0)
    return np.array(out)


def neutral(studies: Sequence[Study]) -> float:
    """Score of always answering the middle, mean over all subjects."""
    return float(np.mean(np.concatenate([_baseline(s, _middle) for s in studies])))


def check(studies: Sequence[Study]) -> None:
    """Raise `RunError` where the answers that are reported have collapsed to one letter."""
    for condition in ZERO:
        found = [
            answers(s.searched[condition], "validated") for s in studies if condition in s.searched
        ]
        if found:
            check_collapse(np.concatenate(found), condition)


def results(studies: Sequence[Study], preset: str) -> list[Plain]:
    """The metrics of `results.json`; published values stand beside the paper preset's own rule."""
    by_seed = [subject_errors(s) for s in studies]
    published = {p["metric"]: p for p in PUBLISHED}
    out = []

    def add(name: str, values: Sequence[Sequence[float]], statistic: Callable = np.mean) -> None:
        known = published.get(name)
        flat = np.concatenate([np.asarray(v, float) for v in values])
        beside = (known["value"], f"{known['model']}, {known['dataset']}") if known else ()
        value = float(statistic(flat))
        low, high = bootstrap_ci(values, statistic)
        out.append(metric(name, value, len(flat), (min(low, value), max(high, value)), *beside))

    names = {
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
    }
    for name, method in names.items():
        if method in by_seed[0]:
            add(name, [e[method].sum(1) for e in by_seed])
    if "pas, oracle" in by_seed[0]:
        for place, trait in enumerate(studies[0].respondents.inventory.traits):
            add(f"error_{trait}", [e["pas, oracle"][:, place] for e in by_seed])
    middle = [_baseline(s, _middle) for s in studies]
    add("score_always_neutral", middle)
    add("score_own_trait_mean", [_baseline(s, lambda r: own_mean(r, "trait")) for s in studies])
    if "pas, validated" in by_seed[0]:
        pairs = [
            np.stack([e["pas, validated"].sum(1), m], 1)
            for e, m in zip(by_seed, middle, strict=True)
        ]
        out.append(_skill(pairs))
        r = [correlations(s, answers(s.searched["pas"], "validated")) for s in studies]
        add("trait_correlation", r)
        add("selection_gain", [(e["pas, validated"] - e["pas, oracle"]).sum(1) for e in by_seed])
        add("share_common", [[s["share"] for s in x.searched["pas"]] for x in studies])
        add(
            "seconds_per_subject_pas",
            [
                [
                    x.seconds_extract / len(x.respondents) + s["seconds_fit"] + s["seconds_search"]
                    for s in x.searched["pas"]
                ]
                for x in studies
            ],
        )
    if studies[0].tuned:
        add("score_dpo", [tuned_errors(s).sum(1) for s in studies])
        add("seconds_per_subject_dpo", [[t["seconds"] for t in s.tuned] for s in studies])
        if "pas, validated" in by_seed[0]:
            add(
                "score_pas_validated_dpo_subjects",
                [
                    e["pas, validated"][: len(s.tuned)].sum(1)
                    for e, s in zip(by_seed, studies, strict=True)
                ],
            )
    return out


def _middle(people: Respondents) -> np.ndarray:
    return np.full((len(people), len(people.inventory.split("test"))), 3.0)


def _baseline(study: Study, predict: Callable[[Respondents], np.ndarray]) -> np.ndarray:
    return errors(predict(study.respondents), study.respondents).sum(1)


def _skill(pairs: Sequence[np.ndarray]) -> Plain:
    """1 − Score / Score of "always neutral", resampled over seeds, then subjects."""
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(2000):
        groups = [pairs[i] for i in rng.integers(len(pairs), size=len(pairs))]
        picked = np.concatenate([g[rng.integers(len(g), size=len(g))] for g in groups])
        draws.append(1 - picked[:, 0].mean() / picked[:, 1].mean())
    every = np.concatenate(pairs)
    value = 1 - every[:, 0].mean() / every[:, 1].mean()
    low, high = np.percentile(draws, [2.5, 97.5])
    return metric("skill", value, len(every), (min(low, value), max(high, value)))


def _row(name: str, by_seed: Sequence[np.ndarray], traits: Sequence[str]) -> Plain:
    every = np.concatenate(by_seed)
    low, high = bootstrap_ci([e.sum(1) for e in by_seed])
    means = dict(zip(traits, every.mean(0).tolist(), strict=True))
    return {
        "method": name,
        **means,
        "Score": float(every.sum(1).mean()),
        "95 % CI": f"[{low:.2f}, {high:.2f}]",
        "subjects": len(every),
    }


def _difference(a: str, b: str, gaps: Sequence[np.ndarray]) -> Plain:
    low, high = bootstrap_ci(gaps)
    every = np.concatenate(gaps)
    return {
        "Score of": a,
        "minus": b,
        "difference": float(every.mean()),
        "95 % CI": f"[{low:.2f}, {high:.2f}]",
        "subjects": len(every),
    }
