"""Self-Verification beside voting: one pool of candidates, equal cost, intervals everywhere."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.generation import Completer
from workbench.metrics import bootstrap_ci, mcnemar_p, metric, wilson_ci
from workbench.papers.self_verification import Settings, published
from workbench.papers.self_verification.decision import Verified, decide, majority
from workbench.papers.self_verification.extract import same
from workbench.papers.self_verification.verify import self_verify, solve
from workbench.problems import Problem
from workbench.store import SampleStore

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


@dataclass
class Study:
    """One seed's problems solved every way. `right[method]`: 0/1 a problem (`random`: a share).

    `tokens[method]`: generated tokens a problem, mean; prompts are not counted. `pool`: forward
    samples, as many as the costliest method needs; `verified`: SV on the first k of them;
    `reranked`: SV on the two most frequent answers of the first `sc`. `matched`: samples of
    self-consistency that cost at least what SV did.
    """

    settings: Settings
    pool: list[Verified]
    verified: list[Verified]
    reranked: list[Verified]
    matched: int
    right: dict[str, list[float]]
    tokens: dict[str, float]


def run(
    model: Completer, problems: Sequence[Problem], settings: Settings, store: SampleStore
) -> Study:
    """Every method on the same samples (§4); voting also with as many tokens as SV used.

    Raises as `self_verify`; `ValueError` for no problems.
    """
    if not problems:
        raise ValueError("no problems to solve")
    greedy = solve(model, problems, settings, store, n=1, temperature=0.0)
    verified = self_verify(model, problems, settings, store=store)
    spent = sum(sum(v.tokens.values()) for v in verified)
    forward = sum(v.tokens["forward"] for v in verified)
    n = max(settings.k, settings.sc, round(settings.k * spent / max(1, forward)))
    pool, reach = _pool(model, problems, settings, store, n)
    while reach[-1] < spent and settings.t_forward > 0:
        n += max(1, n // 10)
        pool, reach = _pool(model, problems, settings, store, n)
    matched = min(len(reach), max(settings.k, int(np.searchsorted(reach, spent)) + 1))
    two = [majority(v.answers[: settings.sc], 2) for v in pool]
    plain = replace(settings, early_stop=False)
    reranked = self_verify(model, problems, plain, candidates=two, store=store)
    right = {
        "greedy": voted(greedy, 1),
        "first": voted(pool, 1),
        "random": [share_right(v) for v in verified],
        "sc": voted(pool, settings.sc),
        "sc_matched": voted(pool, matched),
        "sv": [float(v.correct) for v in verified],
        "sc_sv": [float(v.correct) for v in reranked],
        "pass": [float(share_right(v) > 0) for v in verified],
    }
    sc = reach[min(settings.sc, len(reach)) - 1]
    tokens = {
        "greedy": sum(v.tokens["forward"] for v in greedy),
        "sc": sc,
        "sc_matched": reach[matched - 1],
        "sv": spent,
        "sc_sv": sc + sum(sum(v.tokens.values()) for v in reranked),
    }
    tokens = {name: float(count) / len(problems) for name, count in tokens.items()}
    return Study(settings, pool, verified, reranked, matched, right, tokens)


def _pool(
    model: Completer, problems: Sequence[Problem], settings: Settings, store: SampleStore, n: int
) -> tuple[list[Verified], np.ndarray]:
    """`n` forward samples a problem, and the tokens that the first 1, 2, … of each add up to."""
    pool = solve(model, problems, settings, store, n=n)
    return pool, np.asarray([v.sample_tokens for v in pool]).sum(0).cumsum()


def voted(pool: Sequence[Verified], n: int) -> list[float]:
    """0/1 a problem: is the majority of the first `n` answers right?"""
    picks = [majority(v.answers[:n]) for v in pool]
    return [
        float(bool(pick) and same(pick[0], v.problem.answer))
        for pick, v in zip(picks, pool, strict=True)
    ]


def share_right(one: Verified) -> float:
    """Share of a problem's different candidates that are right: what a random pick scores."""
    right = [same(c, one.problem.answer) for c in one.candidates]
    return sum(right) / len(right) if right else 0.0


def fewer(one: Verified, settings: Settings, p: int, conditions: int = 0) -> Verified:
    """The same question with only the first `p` samples of the first conditions (0: all)."""
    hits = [[samples[:p] for samples in hits[: conditions or None]] for hits in one.hits]
    cut = replace(one, hits=hits, scores=[], answer=None, reason="")
    decide(cut, settings)
    return cut


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
