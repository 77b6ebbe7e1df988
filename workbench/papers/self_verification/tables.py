"""What a study says: accuracies, differences, curves, Table 2, the run's metrics, all with n."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.evaluation.answers import same
from workbench.evaluation.metrics import bootstrap_ci, mcnemar_p, metric, wilson_ci
from workbench.papers.self_verification.paper import published
from workbench.papers.self_verification.study import Study, fewer, reach, share_right, voted

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


def blocks(studies: Sequence[Study], values: Sequence[Sequence[float]]) -> list[list[float]]:
    """`values[seed][question]` as groups in which no question stands twice.

    One group a seed where every seed has questions of its own; where seeds share questions, one
    group of each question's mean over seeds: the same question again is no new evidence.
    """
    ids = [[v.problem.id for v in s.verified] for s in studies]
    distinct = {i for seed in ids for i in seed}
    if len(distinct) == sum(map(len, ids)):
        return [list(v) for v in values]
    means: dict[str, list[float]] = {}
    for seed, row in zip(ids, values, strict=True):
        for i, value in zip(seed, row, strict=True):
            means.setdefault(i, []).append(value)
    return [[float(np.mean(v)) for v in means.values()]]


def once(studies: Sequence[Study], method: str) -> list[float]:
    """`right[method]` of every different question, from the first seed that has it."""
    out: dict[str, float] = {}
    for s in studies:
        for v, right in zip(s.verified, s.right[method], strict=True):
            out.setdefault(v.problem.id, right)
    return list(out.values())


def curves(study: Study) -> dict[str, list[tuple[float, float]]]:
    """method → (generated tokens a problem, accuracy), from the samples at hand.

    Voting with 1, 2, 3, 5, … samples; SV and SC + SV with as many verification samples a prompt.
    """
    drawn = len(study.pool[0].sample_tokens)
    out = {
        "SC": [
            (float(np.mean(reach(study.pool, k))), float(np.mean(voted(study.pool, k))))
            for k in _STEPS
            if k <= min(drawn, study.settings.sc)
        ]
    }
    for name, base in (("SV", study.verified), ("SC + SV", study.reranked)):
        present = max((len(x) for v in base for hits in v.hits for x in hits), default=0)
        before = float(np.mean(study.tokens["sc"])) if name == "SC + SV" else 0.0
        out[name] = []
        for p in (p for p in _STEPS if p <= present):
            spent = [
                sum(n for stage, n in v.tokens.items() if stage != "backward")
                + sum(sum(x[:p]) for hits in v.reply_tokens for x in hits)
                for v in base
            ]
            right = [fewer(v, study.settings, p).correct for v in base]
            out[name].append((before + float(np.mean(spent)), float(np.mean(right))))
    return out


_STEPS = (1, 2, 3, 5, 10, 20, 40)


def modes(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """How questions were verified: counts by mode, and how many had no readable answer."""
    found = [v for s in studies for v in s.verified]
    titles = {
        "cmv": "masked conditions",
        "tfv": "true or false",
        "yesno": "yes or no",
        "tfv_fallback": "true or false, as nothing could be masked",
    }
    rows = [
        {"verified by": title, "questions": sum(v.mode == mode for v in found)}
        for mode, title in titles.items()
    ]
    agreed = sum(v.mode == "none" and bool(v.candidates) for v in found)
    rows.append({"verified by": "not at all: one candidate, or p = 0", "questions": agreed})
    rows.append(
        {"verified by": "no readable answer", "questions": sum(not v.candidates for v in found)}
    )
    return [row for row in rows if row["questions"]]


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

    One row a condition (its place in the question) and family of problems (of the sums, in whose
    ids it comes first; a dataset is one family elsewhere). A useful condition has a high rate on
    the right and a low one on the wrong side; an irrelevant one is low on both.
    """
    cells: dict[tuple[str, int], dict[bool, list[float]]] = {}
    for v in (v for s in studies for v in s.verified if v.hits and v.conditions):
        family = v.problem.id.partition("-")[0] if v.problem.dataset == "sums" else "all"
        for candidate, hits in zip(v.candidates, v.hits, strict=True):
            right = same(candidate, v.problem.answer)
            for r, samples in enumerate(hits):
                cell = cells.setdefault((family, r + 1), {True: [], False: []})
                cell[right].append(float(np.mean(samples)))
    return [
        {
            "family": family,
            "condition": r,
            "right conclusion": float(np.mean(cell[True])) if cell[True] else None,
            "wrong conclusion": float(np.mean(cell[False])) if cell[False] else None,
            "n right": len(cell[True]),
            "n wrong": len(cell[False]),
        }
        for (family, r), cell in sorted(cells.items())
    ]


def gains(studies: Sequence[Study], other: str, ours: str = "sv") -> list[list[float]]:
    """Difference a question of two methods, in `blocks`."""
    pairs = [[a - b for a, b in zip(s.right[ours], s.right[other], strict=True)] for s in studies]
    return blocks(studies, pairs)


def comparisons(studies: Sequence[Study], ours: str = "sv") -> list[dict[str, Any]]:
    """SV against every other method on the same questions: difference, bootstrap CI, McNemar p.

    McNemar counts every different question once, by its first seed.
    """
    out = []
    for name in ("greedy", "first", "sc", "sc_matched"):
        pairs = gains(studies, name, ours)
        low, high = bootstrap_ci(pairs, resamples=10_000)
        flat = [[bool(x) for x in once(studies, m)] for m in (ours, name)]
        out.append(
            {
                f"{METHODS[ours]} minus": METHODS[name],
                "difference": float(np.mean(np.concatenate(pairs))),
                "95 % CI": f"[{low:+.3f}, {high:+.3f}]",
                "McNemar p": mcnemar_p(*flat),
                "questions": len(flat[0]),
            }
        )
    return out


def accuracies(studies: Sequence[Study]) -> list[dict[str, Any]]:
    """One row a method: accuracy over all seeds, its Wilson interval, tokens a question.

    The interval counts every different question once, by its first seed.
    """
    out = []
    for name, title in METHODS.items():
        distinct = once(studies, name)
        row = {
            "method": title,
            "accuracy": float(np.mean([x for s in studies for x in s.right[name]])),
            "Wilson 95 %": "–",
            "by seed": " ".join(f"{np.mean(s.right[name]):.3f}" for s in studies),
        }
        if set(distinct) <= {0.0, 1.0}:
            low, high = wilson_ci(round(sum(distinct)), len(distinct))
            row["Wilson 95 %"] = f"[{low:.3f}, {high:.3f}]"
        tokens = [x for s in studies for x in s.tokens.get(name, [])]
        out.append(row | {"tokens": round(float(np.mean(tokens)), 1) if tokens else None})
    return out


def results(
    studies: Sequence[Study], extra: Mapping[str, Sequence[Sequence[float]]], dataset: str
) -> list[dict[str, Any]]:
    """The run's metrics; intervals resample seeds, then questions (see `blocks`).

    `extra`: name → values in blocks. `dataset`: whose published figures stand beside them.
    """
    out = []
    for name in (*METHODS, "pass"):
        label = "pass_at_k" if name == "pass" else f"acc_{name}"
        values = blocks(studies, [s.right[name] for s in studies])
        out.append(_row(label, values, *published(label, dataset)))
    for name in studies[0].tokens:
        out.append(_row(f"tokens_{name}", blocks(studies, [s.tokens[name] for s in studies])))
    for other in ("greedy", "sc_matched"):
        out.append(_row(f"sv_minus_{other}", gains(studies, other)))
    for name, holds in (
        ("contested", lambda v: v.contested),
        ("verified_by_fallback", lambda v: v.mode == "tfv_fallback"),
        ("unanswered", lambda v: not v.candidates),
    ):
        values = [[float(holds(v)) for v in s.verified] for s in studies]
        out.append(_row(f"share_{name}", blocks(studies, values)))
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
