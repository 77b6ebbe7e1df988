"""Errors of every method: who answered what, how far off, and how like the person (§4)."""

from collections.abc import Callable, Sequence

import numpy as np

from workbench.data.keying import reverse
from workbench.data.respondents import Respondents
from workbench.errors import RunError
from workbench.papers.pas.answer import collapsed
from workbench.papers.pas.reference import errors, middle
from workbench.papers.pas.search import RULES, Searched, chosen
from workbench.papers.pas.study import Group, Study

Answers = np.ndarray
"""int `[subject, test item]`, 1..5 (0: unreadable)."""
ZERO = {"pas": "no persona", "fewshot+pas": "fewshot", "p2+pas": "p2"}
"""A mode's name without steering."""


def answers(searched: Sequence[Searched], rule: str) -> Answers:
    """Everybody's answers to the test items at the alpha that one of `RULES` chooses."""
    places = chosen(searched, rule)
    return np.array([s.answers[i] for s, i in zip(searched, places, strict=True)])


def methods(group: Group) -> dict[str, Answers]:
    """Every method's answers for one seed's subjects; DPO's are in `group.tuned`."""
    out = {}
    for condition, searched in group.searched.items():
        if condition in ZERO:
            out[ZERO[condition]] = answers(searched, "alpha 0")
        for rule in RULES[:3]:
            out[f"{condition}, {rule}"] = answers(searched, rule)
    return out


def method_errors(study: Study) -> dict[str, list[np.ndarray]]:
    """Method → per seed, errors `[subject, trait]`.

    Where DPO tuned some subjects: its errors, and other methods' on these subjects alone.
    """
    out: dict[str, list[np.ndarray]] = {}
    for group in study.groups:
        for name, answered in methods(group).items():
            out.setdefault(name, []).append(errors(answered, group.respondents))
    if study.groups[0].tuned:
        out["DPO per subject"] = [tuned_errors(g) for g in study.groups]
        for name in ("pas, validated", "fewshot"):
            if name in out:
                out[f"{name}, DPO's subjects only"] = [
                    e[: len(g.tuned)] for e, g in zip(out[name], study.groups, strict=True)
                ]
    return out


def tuned_errors(group: Group) -> np.ndarray:
    """DPO's errors `[its subjects, trait]`."""
    tuned = group.respondents.take(range(len(group.tuned)))
    return errors(np.array([t.answers for t in group.tuned]), tuned)


def baseline(study: Study, predict: Callable[[Respondents], np.ndarray]) -> list[np.ndarray]:
    """Per seed, the Score of each subject under a predictor that needs no model."""
    return [errors(predict(g.respondents), g.respondents).sum(1) for g in study.groups]


def neutral(study: Study) -> float:
    """Score of always answering the middle, mean over all subjects."""
    return float(np.mean(np.concatenate(baseline(study, middle))))


def pooled(study: Study) -> Respondents:
    """The subjects of all seeds; one who was drawn twice counts once."""
    people = [g.respondents for g in study.groups]
    first = people[0]
    ids = [i for p in people for i in p.ids]
    values = np.concatenate([p.values for p in people])
    places = [ids.index(i) for i in dict.fromkeys(ids)]
    return Respondents(
        first.inventory, values[places], tuple(ids[k] for k in places), first.targets, first.keying
    )


def curves(study: Study, column: str) -> dict[str, dict[float, list[float]]]:
    """Condition → alpha → Score per seed; `column`: `"test"` or `"validation"`."""
    out: dict[str, dict[float, list[float]]] = {}
    for group in study.groups:
        for condition, searched in group.searched.items():
            mean = np.mean([getattr(s, column) for s in searched], 0)
            for alpha, value in zip(searched[0].alphas, mean.tolist(), strict=True):
                out.setdefault(condition, {}).setdefault(alpha, []).append(value)
    return out


def correlations(respondents: Respondents, answered: Answers) -> np.ndarray:
    """Pearson r over subjects between predicted and own trait means on the test items, `[trait]`.

    Missing answers are left out. 0 where the predictions do not differ between subjects: nothing
    was told apart. NaN where the subjects' own means do not differ, those of one subject say: there
    was nothing to tell apart.
    """
    inventory = respondents.inventory
    test = inventory.split("test")
    trait = inventory.trait_of(test)
    predicted = np.zeros_like(respondents.values)
    predicted[:, test] = answered
    raw = respondents.targets == "raw"
    keyed = [reverse(v, inventory) if raw else v for v in (predicted, respondents.values)]
    out = np.full(len(inventory.traits), np.nan)
    for t in range(len(inventory.traits)):
        answers_of_trait = [k[:, test][:, trait == t].astype(float) for k in keyed]
        known = np.all([(a > 0).any(1) for a in answers_of_trait], 0)
        told, own = (a[known].sum(1) / (a[known] > 0).sum(1) for a in answers_of_trait)
        # Compared, not their spread with 0: that of equal means is not 0 to the last digit.
        if len(set(own.tolist())) > 1:
            differ = len(set(told.tolist())) > 1
            out[t] = np.corrcoef(told, own)[0, 1] if differ else 0.0
    return out


def gains(group: Group) -> list[float]:
    """By how much each subject's validated PAS answers err less than without a persona."""
    searched = group.searched["pas"]
    return [
        s.test[s.alphas.index(0.0)] - s.test[place]
        for s, place in zip(searched, chosen(searched, "validated"), strict=True)
    ]


def extreme(group: Group) -> int:
    """The subject who gains most."""
    return int(np.argmax(gains(group)))


def collapses(study: Study, rule: str = "validated") -> dict[str, str]:
    """Mode → how its answers at a rule's alpha have collapsed, in words; only where they have."""
    out = {}
    for mode in ZERO:
        answered = [answers(g.searched[mode], rule) for g in study.groups if mode in g.searched]
        if answered and (how := collapsed(np.concatenate(answered))):
            out[mode] = how
    return out


def check(study: Study) -> str:
    """A null result in words: the answers that are reported have collapsed; empty where not.

    Raises `RunError`, with the histogram, where they have, and had not before the model was
    steered: that is no property of the model, but of this run.
    """
    reported = collapses(study)
    if not reported:
        return ""
    how = "; ".join(f"{mode}: {collapse}" for mode, collapse in reported.items())
    if "pas" not in collapses(study, "alpha 0"):
        raise RunError(
            f"{how}. Such a run measures the letter, not the person: lower alpha, or look at the "
            "chat template and the option letters."
        )
    return (
        f"NULL RESULT. {how}. So it was without a persona and not steered: {study.model} answers "
        "the same whatever the statement is. Scores below are those of constants; nothing here is "
        "about people, or about PAS. Take a better model with -p model_id=HUB_ID_OR_FOLDER"
    )
