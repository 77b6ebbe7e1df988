"""Self-Verification beside voting, on one pool of candidates and at equal cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.data.problems import Problem
from workbench.evaluation.answers import same
from workbench.generation.complete import Completer
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification.decision import Verified, decide, majority
from workbench.papers.self_verification.paper import Settings
from workbench.papers.self_verification.verify import self_verify, solve


@dataclass
class Study:
    """One seed's problems solved every way. `right[method]`: 0/1 a problem (`random`: a share).

    `tokens[method]`: generated tokens a problem; prompts are not counted. `pool`: forward samples,
    as many as the costliest method needs; `verified`: SV on the first k of them; `reranked`: SV on
    the two most frequent answers of the first `sc`. `matched`: samples of self-consistency that
    cost at least what SV did, over all problems.
    """

    settings: Settings
    pool: list[Verified]
    verified: list[Verified]
    reranked: list[Verified]
    matched: int
    right: dict[str, list[float]]
    tokens: dict[str, list[float]]


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
    spent = [float(sum(v.tokens.values())) for v in verified]
    forward = sum(v.tokens["forward"] for v in verified)
    n = max(settings.k, settings.sc, round(settings.k * sum(spent) / max(1, forward)))
    pool = solve(model, problems, settings, store, n=n)
    while sum(reach(pool, n)) < sum(spent) and settings.t_forward > 0:
        n += max(1, n // 10)
        pool = solve(model, problems, settings, store, n=n)
    drawn = len(pool[0].sample_tokens)
    sizes = range(min(settings.k, drawn), drawn + 1)
    matched = next((k for k in sizes if sum(reach(pool, k)) >= sum(spent)), drawn)
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
    sc = reach(pool, settings.sc)
    again = [float(sum(v.tokens.values())) for v in reranked]
    tokens = {
        "greedy": reach(greedy, 1),
        "sc": sc,
        "sc_matched": reach(pool, matched),
        "sv": spent,
        "sc_sv": [a + b for a, b in zip(sc, again, strict=True)],
    }
    return Study(settings, pool, verified, reranked, matched, right, tokens)


def reach(pool: Sequence[Verified], n: int) -> list[float]:
    """Tokens of the first `n` forward samples of every problem."""
    return [float(sum(v.sample_tokens[:n])) for v in pool]


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


def variants(
    model: Completer,
    problems: Mapping[int, Sequence[Problem]],
    settings: Settings,
    store: SampleStore,
    studies: Sequence[Study],
) -> dict[str, dict[str, list[list[float]]]]:
    """Ablations on the studies' own problems: name → `right` and `tokens`, both `[seed][question]`.

    All conditions, the first alone (from the same samples, so without tokens of its own), true or
    false instead of masks, and stopping as soon as no candidate can overtake.
    """

    def scored(found: Sequence[Sequence[Verified]]) -> dict[str, list[list[float]]]:
        return {
            "right": [[float(v.correct) for v in seed] for seed in found],
            "tokens": [[float(sum(v.tokens.values())) for v in seed] for seed in found],
        }

    def again(**changes: Any) -> dict[str, list[list[float]]]:
        return scored(
            [
                self_verify(model, some, replace(settings, seed=seed, **changes), store=store)
                for seed, some in problems.items()
            ]
        )

    out = {"all conditions": scored([s.verified for s in studies])}
    if any(v.mode == "cmv" for s in studies for v in s.verified):
        first = scored([[fewer(v, settings, settings.p, 1) for v in s.verified] for s in studies])
        out["first condition"] = {"right": first["right"], "tokens": []}
        out["true or false"] = again(verification="tfv")
    out["stopping early"] = again(early_stop=True)
    return out
