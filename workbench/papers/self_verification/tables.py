"""What a study says: accuracies, differences, curves, Table 2, the run's metrics, all with n."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.metrics import bootstrap_ci, mcnemar_p, metric, wilson_ci
from workbench.papers.self_verification import published
from workbench.papers.self_verification.extract import same
from workbench.papers.self_verification.study import Study, fewer, share_right, voted

METHODS = {
    "greedy": "greedy (T = 0)",
    "first": "first sample",
    "random": "random among distinct",
    "sc": "self-consistency",
    "sc_matched": "self-consistency, tokens of SV",
    "sv": "self-verification (SV)",
    "sc_sv": "SC + SV (two most frequent)",
}
"""Short name → what it is called; `pass` (any of the k candidates right) is a bound, no method."""


def curves(study: Study) -> dict[str, list[tuple[float, float]]]:
    """method → (generated tokens a problem, accuracy), from the samples at hand.

    Voting with 1, 2, 5, … samples; SV and SC + SV with 1, 2, … verification samples a prompt.
    """
    settings, n = study.settings, len(study.pool)
    reach = np.asarray([v.sample_tokens for v in study.pool]).sum(0).cumsum() / n
    sizes = sorted({k for k in (1, 2, 3, 5, 10, 20, 40, study.matched) if k <= len(reach)})
    out = {"SC": [(float(reach[k - 1]), float(np.mean(voted(study.pool, k)))) for k in sizes]}
    for name, base in (("SV", study.verified), ("SC + SV", study.reranked)):
        out[name] = []
        before = study.tokens["sc"] if name == "SC + SV" else 0.0
        for p in sorted({p for p in (1, 2, 3, 5, 10, 20, settings.p) if p <= settings.p}):
            cut = [fewer(v, settings, p) for v in base]
            back = sum(v.tokens.get("backward", 0) for v in base) * p / settings.p
            rest = sum(sum(v.tokens.values()) - v.tokens.get("backward", 0) for v in base)
            out[name].append((before + (back + rest) / n, float(np.mean([v.correct for v in cut]))))
    return out


def picks(studies: Sequence[Study]) -> dict[str, float]:
    """Table 2: questions with one right and at least one wrong candidate, and who picks well.

    Also (not published) the verifier's own quality over candidates: AUROC of the score as a share
    of its maximum, its mean for right and wrong candidates.
    """
    from scipy.stats import mannwhitneyu

    rows = [
        (v, greedy)
        for s in studies
        for v, greedy in zip(s.verified, s.right["greedy"], strict=True)
        if v.hits and 0 < share_right(v) < 1
    ]
    scored: dict[bool, list[float]] = {True: [], False: []}
    for v, _ in rows:
        for candidate, hits in zip(v.candidates, v.hits, strict=True):
            rate = float(np.mean([np.mean(samples) for samples in hits]))
            scored[same(candidate, v.problem.answer)].append(rate)
    if not rows:
        return {"contested": 0, "scored": sum(len(s.verified) for s in studies)}
    wins = mannwhitneyu(scored[True], scored[False]).statistic
    return {
        "contested": len(rows),
        "scored": sum(len(s.verified) for s in studies),
        "distinct": float(np.mean([len(v.candidates) for v, _ in rows])),
        "random_pick": float(np.mean([share_right(v) for v, _ in rows])),
        "greedy_pick": float(np.mean([greedy for _, greedy in rows])),
        "sv_pick": float(np.mean([v.correct for v, _ in rows])),
        "auroc": float(wins / (len(scored[True]) * len(scored[False]))),
        "score_right": float(np.mean(scored[True])),
        "score_wrong": float(np.mean(scored[False])),
    }


def recovery(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """How often a masked condition is recovered from a right and from a wrong conclusion.

    One row a condition (its place in the question), grouped by the part of a problem's id before
    the dash (the sums' family). A useful condition has a high rate on the right and a low one on
    the wrong side; an irrelevant one is low on both.
    """
    cells: dict[tuple[str, int], dict[bool, list[float]]] = {}
    for v in (v for s in studies for v in s.verified if v.hits and v.conditions):
        group = v.problem.id.partition("-")[0] if "-" in v.problem.id else v.problem.dataset
        for candidate, hits in zip(v.candidates, v.hits, strict=True):
            right = same(candidate, v.problem.answer)
            for r, samples in enumerate(hits):
                cell = cells.setdefault((group, r + 1), {True: [], False: []})
                cell[right].append(float(np.mean(samples)))
    return [
        {
            "group": group,
            "condition": r,
            "right conclusion": float(np.mean(cell[True])) if cell[True] else None,
            "wrong conclusion": float(np.mean(cell[False])) if cell[False] else None,
            "n right": len(cell[True]),
            "n wrong": len(cell[False]),
        }
        for (group, r), cell in sorted(cells.items())
    ]


def gains(studies: Sequence[Study], other: str, ours: str = "sv") -> list[list[float]]:
    """Difference a question of two methods, `[seed][question]`."""
    return [[a - b for a, b in zip(s.right[ours], s.right[other], strict=True)] for s in studies]


def comparisons(studies: Sequence[Study], ours: str = "sv") -> list[dict[str, Any]]:
    """SV against every other method on the same questions: difference, bootstrap CI, McNemar p."""
    out = []
    for name in ("greedy", "first", "sc", "sc_matched"):
        pairs = gains(studies, name, ours)
        low, high = bootstrap_ci(pairs, resamples=10_000)
        flat = [[bool(x) for s in studies for x in s.right[m]] for m in (ours, name)]
        out.append(
            {
                f"{METHODS[ours]} minus": METHODS[name],
                "difference": float(np.mean(np.concatenate(pairs))),
                "95 % CI": f"[{low:+.3f}, {high:+.3f}]",
                "McNemar p": mcnemar_p(*flat),
                "n": len(flat[0]),
            }
        )
    return out


def accuracies(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """One row a method: accuracy over all seeds with its Wilson interval, tokens a question."""
    out = []
    for name, title in METHODS.items():
        values = [x for s in studies for x in s.right[name]]
        low, high = wilson_ci(round(sum(values)), len(values))
        tokens = [s.tokens[name] for s in studies if name in s.tokens]
        row = {"method": title, "accuracy": float(np.mean(values))}
        row["Wilson 95 %"] = f"[{low:.3f}, {high:.3f}]"
        row["by seed"] = " ".join(f"{np.mean(s.right[name]):.3f}" for s in studies)
        out.append(row | {"tokens": float(np.mean(tokens)) if tokens else None})
    return out


def results(
    studies: Sequence[Study], extra: Mapping[str, Sequence[Sequence[float]]], dataset: str
) -> list[dict[str, Any]]:
    """The run's metrics; intervals resample seeds, then questions. `extra`: name → values[seed].

    `dataset`: whose published figures stand beside them.
    """
    out = []
    for name in (*METHODS, "pass"):
        values = [s.right[name] for s in studies]
        label = "pass_at_k" if name == "pass" else f"acc_{name}"
        out.append(_row(label, values, *published(label, dataset)))
    for name in studies[0].tokens:
        totals = [[s.tokens[name]] for s in studies]
        out.append(_row(f"tokens_{name}", totals))
    for other in ("greedy", "sc_matched"):
        out.append(_row(f"sv_minus_{other}", gains(studies, other)))
    out += [_row(name, values) for name, values in extra.items()]
    return out


def _row(
    name: str,
    values: Sequence[Sequence[float]],
    value: float | None = None,
    setting: str | None = None,
) -> dict[str, Any]:
    flat = np.concatenate([np.asarray(v, float) for v in values])
    return metric(name, float(flat.mean()), len(flat), bootstrap_ci(values), value, setting)
