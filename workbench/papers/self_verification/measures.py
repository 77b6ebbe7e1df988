"""Measures of comparisons: gains, cost curves, Table 2's picks, recovery of conditions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.evaluation.answers import same_answer
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.study import (
    Comparison,
    fewer,
    share_right,
    voting_right,
    voting_tokens,
)

_STEPS = (1, 2, 3, 5, 10, 20, 40)


def first_right(comparisons: Sequence[Comparison], method: str) -> list[float]:
    """`right[method]` of every different question, from the first seed that has it."""
    out: dict[str, float] = {}
    for comparison in comparisons:
        for v, right in zip(comparison.verified, comparison.right[method], strict=True):
            out.setdefault(v.problem.id, right)
    return list(out.values())


def gains(comparisons: Sequence[Comparison], other: str, method: str = "sv") -> list[list[float]]:
    """`right[method]` minus `right[other]`, `[seed][question]`."""
    return [
        [a - b for a, b in zip(c.right[method], c.right[other], strict=True)] for c in comparisons
    ]


def cost_curves(comparison: Comparison) -> dict[str, list[tuple[float, float]]]:
    """Method → (generated tokens per problem, accuracy), from the samples at hand.

    Voting with 1, 2, 3, 5, … samples; SV and SC + SV with as many verification samples per prompt.
    """
    settings, pool = comparison.settings, comparison.pool
    drawn = len(pool[0].sample_tokens)
    out = {
        "SC": [
            (float(np.mean(voting_tokens(pool, k))), float(np.mean(voting_right(pool, k))))
            for k in _STEPS
            if k <= min(drawn, settings.sc)
        ]
    }
    for name, base in (("SV", comparison.verified), ("SC + SV", comparison.reranked)):
        present = max((len(x) for v in base for hits in v.hits for x in hits), default=0)
        before = float(np.mean(comparison.tokens["sc"])) if name == "SC + SV" else 0.0
        out[name] = []
        for p in (p for p in _STEPS if p <= present):
            spent = [
                sum(n for stage, n in v.tokens.items() if stage != "backward")
                + sum(sum(x[:p]) for hits in v.reply_tokens for x in hits)
                for v in base
            ]
            right = [fewer(v, settings, p).correct for v in base]
            out[name].append((before + float(np.mean(spent)), float(np.mean(right))))
    return out


def picks(comparisons: Sequence[Comparison]) -> dict[str, float]:
    """Table 2: questions with one right and at least one wrong candidate, and who picks well.

    Also (not published) the verifier's own quality over candidates: AUROC of the score as a share
    of its maximum, its mean for right and wrong candidates.
    """
    from scipy.stats import mannwhitneyu

    contested = [
        (v, greedy)
        for c in comparisons
        for v, greedy in zip(c.verified, c.right["greedy"], strict=True)
        if v.hits and 0 < share_right(v) < 1
    ]
    out = {"contested": len(contested), "scored": sum(len(c.verified) for c in comparisons)}
    if not contested:
        return out
    rates: dict[bool, list[float]] = {True: [], False: []}
    for v, _ in contested:
        for candidate, hits in zip(v.candidates, v.hits, strict=True):
            rate = float(np.mean([np.mean(samples) for samples in hits]))
            rates[same_answer(candidate, v.problem.answer)].append(rate)
    wins = mannwhitneyu(rates[True], rates[False]).statistic
    return out | {
        "distinct": float(np.mean([len(v.candidates) for v, _ in contested])),
        "random_pick": float(np.mean([share_right(v) for v, _ in contested])),
        "greedy_pick": float(np.mean([greedy for _, greedy in contested])),
        "sv_pick": float(np.mean([v.correct for v, _ in contested])),
        "auroc": float(wins / (len(rates[True]) * len(rates[False]))),
        "score_right": float(np.mean(rates[True])),
        "score_wrong": float(np.mean(rates[False])),
    }


def recovery(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """How often a masked condition is recovered from a right and from a wrong conclusion.

    One row per condition (its place in the question) and family of problems (of the sums, in whose
    ids it comes first; a dataset is one family elsewhere). A useful condition has a high rate on
    the right and a low one on the wrong side; an irrelevant one is low on both.
    """
    rates: dict[tuple[str, int], dict[bool, list[float]]] = {}
    for v in (v for c in comparisons for v in c.verified if v.hits and v.conditions):
        family = v.problem.id.partition("-")[0] if v.problem.dataset == "sums" else "all"
        for candidate, hits in zip(v.candidates, v.hits, strict=True):
            right = same_answer(candidate, v.problem.answer)
            for r, samples in enumerate(hits):
                sides = rates.setdefault((family, r + 1), {True: [], False: []})
                sides[right].append(float(np.mean(samples)))
    return [
        {
            "family": family,
            "condition": r,
            "right conclusion": float(np.mean(sides[True])) if sides[True] else None,
            "wrong conclusion": float(np.mean(sides[False])) if sides[False] else None,
            "n right": len(sides[True]),
            "n wrong": len(sides[False]),
        }
        for (family, r), sides in sorted(rates.items())
    ]


def right_readings(questions: Sequence[Verified]) -> dict[str, float]:
    """Id → 0/1 for every question of two readings that had both answers among its candidates.

    "A has 12. B has 30. C has 5 more." counts as right with 30 + 5; the other reading is 12 + 5.
    """
    out = {}
    for verified in questions:
        if not verified.hits or len(verified.conditions) != 3:
            continue
        first, second, more = (int(c.value) for c in verified.conditions)
        readings = [str(second + more), str(first + more)]
        if all(any(same_answer(c, r) for c in verified.candidates) for r in readings):
            out[verified.problem.id] = float(verified.correct)
    return out
