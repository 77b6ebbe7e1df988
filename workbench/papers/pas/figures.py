"""What the notebook draws: profiles, geometry, letters, times. Plain values, no figures."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from workbench.data.respondents import Respondents, reverse
from workbench.generation.choices import entropy
from workbench.papers.pas.contrast import AnswerContrast
from workbench.papers.pas.paper import Settings
from workbench.papers.pas.personas import personas
from workbench.papers.pas.profile import trait_means
from workbench.papers.pas.study import Study
from workbench.papers.pas.tables import ZERO, answers, chosen

Plain = dict[str, Any]


def facets(respondents: Respondents, subject: int) -> dict[str, float]:
    """`trait: facet` → mean of all the subject's answers, reverse-scored, 1 to 5."""
    values = keyed(respondents, respondents.values[subject])
    means: dict[str, list[int]] = {}
    for item, value in zip(respondents.inventory.items, values.tolist(), strict=True):
        if value:
            means.setdefault(f"{item.trait}: {item.facet}", []).append(value)
    return {name: float(np.mean(v)) for name, v in sorted(means.items())}


def keyed(respondents: Respondents, values: np.ndarray) -> np.ndarray:
    """Answers `[item]` so that more is more of the trait."""
    raw = respondents.targets == "raw"
    return reverse(values[None], respondents.inventory)[0] if raw else values


def cosines(
    contrast: AnswerContrast, respondents: Respondents, settings: Settings, count: int = 10
) -> tuple[list[list[float]], list[str], list[str]]:
    """(cosine `[subject][subject]`, labels, labels): raw differences of all heads as one vector."""
    some = respondents.take(range(min(count, len(respondents))))
    train = some.values[:, list(contrast.items)]
    found = personas(contrast, train, settings.direction)
    flat = torch.nn.functional.normalize(found.raw.flatten(1), dim=1)
    return (flat @ flat.T).tolist(), list(some.ids), list(some.ids)


def letters(studies: Sequence[Study], condition: str = "pas") -> list[Plain]:
    """Per alpha: how often each value is answered, entropy, subjects with one answer only."""
    out = []
    searched = [s for study in studies for s in study.searched[condition]]
    for place, alpha in enumerate(searched[0]["alphas"]):
        said = np.array([s["answers"][place] for s in searched])
        shares = {f"answer {v}": float((said == v).mean()) for v in range(1, 6)}
        constant = int(sum(len(set(row)) == 1 for row in said.tolist()))
        bits = float(np.mean([entropy(row) for row in said.tolist()]))
        picked = sum(
            chosen(study.searched[condition], "validated").count(place) for study in studies
        )
        out.append(
            {
                "alpha": alpha,
                **shares,
                "entropy a subject (bits)": bits,
                "subjects with one answer": constant,
                "chosen (validated)": picked,
            }
        )
    return out


def extreme(study: Study) -> int:
    """The subject whose validated PAS answers gain most over no persona."""
    searched = study.searched["pas"]
    gains = [
        s["test"][s["alphas"].index(0.0)] - s["test"][i]
        for s, i in zip(searched, chosen(searched, "validated"), strict=True)
    ]
    return int(np.argmax(gains))


def profiles(study: Study, subject: int) -> dict[str, dict[str, float]]:
    """Who answers → trait → mean on the test statements, more is more of the trait."""
    people = study.respondents
    test = people.inventory.split("test")
    rows = {"own answers": people.values[subject, test]}
    for condition, zero in ZERO.items():
        if condition in study.searched:
            rows[f"{condition}, validated"] = answers(study.searched[condition], "validated")[
                subject
            ]
            if zero != "p2":
                rows[zero] = answers(study.searched[condition], "alpha 0")[subject]
    return {
        name: trait_means(said, test, people.inventory, people.targets)
        for name, said in rows.items()
    }


def times(studies: Sequence[Study]) -> list[Plain]:
    """Seconds a subject, mean over all: PAS by mode, DPO, and DPO over PAS."""
    rows = []
    tuned = [t for s in studies for t in s.tuned]
    dpo = float(np.mean([t["seconds"] for t in tuned])) if tuned else None
    shared = float(np.mean([s.seconds_extract / len(s.respondents) for s in studies]))
    for mode in ZERO:
        found = [x for s in studies for x in s.searched.get(mode, [])]
        if found:
            fit, search = (
                float(np.mean([x[f"seconds_{p}"] for x in found])) for p in ("fit", "search")
            )
            rows.append(
                {
                    "method": mode,
                    "extraction, shared": shared,
                    "fit": fit,
                    "alpha": search,
                    "in all": shared + fit + search,
                    "steps": None,
                    "forwards": float(np.mean([x["prompts"] for x in found])),
                    "DPO takes": f"{dpo / (shared + fit + search):.1f} times that" if dpo else "–",
                }
            )
    if tuned:
        rows.append(
            {
                "method": "DPO",
                "extraction, shared": None,
                "fit": dpo,
                "alpha": None,
                "in all": dpo,
                "steps": tuned[0]["steps"],
                "forwards": None,
                "DPO takes": "–",
            }
        )
    return rows
