"""Self-Verification beside voting, on the same samples and at equal cost, for every seed."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from workbench.data.problems import Problem
from workbench.evaluation.answers import same_answer
from workbench.generation.complete import Completer, backend
from workbench.generation.sample_store import SampleStore
from workbench.papers.self_verification.decision import Verified, decide, majority
from workbench.papers.self_verification.paper import Settings, called
from workbench.papers.self_verification.verify import self_verify, solve


@dataclass
class Comparison:
    """One seed's problems solved by every method.

    `right[method]`: 0/1 per problem (`random`: a share). `tokens[method]`: generated tokens per
    problem; prompts are not counted. `pool`: forward samples, as many as the costliest method
    needs; `verified`: SV on the first k of them; `reranked`: SV on the two most frequent answers of
    the first `sc`. `matched`: samples of self-consistency that cost at least what SV did, over all
    problems.
    """

    settings: Settings
    pool: list[Verified]
    verified: list[Verified]
    reranked: list[Verified]
    matched: int
    right: dict[str, list[float]]
    tokens: dict[str, list[float]]


@dataclass(frozen=True)
class Variant:
    """Another way to verify: `right` and `tokens` as `[seed][problem]`.

    No tokens where it reuses samples that are counted elsewhere.
    """

    right: list[list[float]]
    tokens: list[list[float]]


@dataclass(frozen=True)
class Study:
    """Everything that was run.

    `model`, `device`, `dataset`: names. `comparisons`: one per seed, in the order of `seeds`.
    `variants`: name → other ways to verify the same problems. `stages`: title → comparisons, one
    per seed, of other models or problems.
    """

    model: str
    device: str
    dataset: str
    settings: Settings
    seeds: list[int]
    comparisons: list[Comparison]
    variants: dict[str, Variant]
    stages: dict[str, list[Comparison]] = field(default_factory=dict)


def run(
    model: Completer,
    problems: Mapping[int, Sequence[Problem]],
    settings: Settings,
    store: SampleStore | str | Path,
    stages: Mapping[str, tuple[Completer, Mapping[int, Sequence[Problem]]]] | None = None,
) -> Study:
    """Every method and variant for every seed; what the store holds is not drawn again.

    `problems`: seed → its problems. `stages`: title → another model and its problems, compared in
    the same way (`presets.stages`). Raises as `self_verify`; `ValueError` for no problems.

    >>> settings, problems = presets.settings("tiny"), presets.problems("tiny", "", "", 0, [0])
    >>> study = run(presets.model("tiny"), problems, settings, "out/samples.sqlite")
    """
    if not problems:
        raise ValueError("no seeds to run")
    source = backend(model)
    opened = nullcontext(store) if isinstance(store, SampleStore) else SampleStore(store)
    with opened as samples:
        comparisons = _per_seed(source, problems, settings, samples)
        return Study(
            source.name,
            source.device,
            called(comparisons[0].verified[0].problem),
            settings,
            list(problems),
            comparisons,
            variants(source, problems, settings, samples, comparisons),
            {
                title: _per_seed(other, rows, settings, samples)
                for title, (other, rows) in (stages or {}).items()
            },
        )


def _per_seed(
    model: Completer,
    problems: Mapping[int, Sequence[Problem]],
    settings: Settings,
    store: SampleStore,
) -> list[Comparison]:
    return [
        compare(model, rows, replace(settings, seed=seed), store) for seed, rows in problems.items()
    ]


def compare(
    model: Completer, problems: Sequence[Problem], settings: Settings, store: SampleStore
) -> Comparison:
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
    while sum(voting_tokens(pool, n)) < sum(spent) and settings.t_forward > 0:
        n += max(1, n // 10)
        pool = solve(model, problems, settings, store, n=n)
    drawn = len(pool[0].sample_tokens)
    sizes = range(min(settings.k, drawn), drawn + 1)
    matched = next((k for k in sizes if sum(voting_tokens(pool, k)) >= sum(spent)), drawn)
    top_two = [majority(v.answers[: settings.sc], 2) for v in pool]
    plain = replace(settings, early_stop=False)
    reranked = self_verify(model, problems, plain, candidates=top_two, store=store)
    right = {
        "greedy": voting_right(greedy, 1),
        "first": voting_right(pool, 1),
        "random": [share_right(v) for v in verified],
        "sc": voting_right(pool, settings.sc),
        "sc_matched": voting_right(pool, matched),
        "sv": [float(v.correct) for v in verified],
        "sc_sv": [float(v.correct) for v in reranked],
        "pass": [float(share_right(v) > 0) for v in verified],
    }
    sc = voting_tokens(pool, settings.sc)
    reranking = [float(sum(v.tokens.values())) for v in reranked]
    tokens = {
        "greedy": voting_tokens(greedy, 1),
        "sc": sc,
        "sc_matched": voting_tokens(pool, matched),
        "sv": spent,
        "sc_sv": [a + b for a, b in zip(sc, reranking, strict=True)],
    }
    return Comparison(settings, pool, verified, reranked, matched, right, tokens)


def voting_tokens(pool: Sequence[Verified], n: int) -> list[float]:
    """Tokens of the first `n` forward samples, per problem."""
    return [float(sum(v.sample_tokens[:n])) for v in pool]


def voting_right(pool: Sequence[Verified], n: int) -> list[float]:
    """0/1 per problem: is the majority of the first `n` answers right?"""
    picks = [majority(v.answers[:n]) for v in pool]
    return [
        float(bool(pick) and same_answer(pick[0], v.problem.answer))
        for pick, v in zip(picks, pool, strict=True)
    ]


def share_right(verified: Verified) -> float:
    """Share of a question's different candidates that are right: what a random pick scores."""
    right = [same_answer(c, verified.problem.answer) for c in verified.candidates]
    return sum(right) / len(right) if right else 0.0


def fewer(verified: Verified, settings: Settings, p: int, conditions: int = 0) -> Verified:
    """The same question with only the first `p` samples of the first conditions (0: all)."""
    hits = [[samples[:p] for samples in hits[: conditions or None]] for hits in verified.hits]
    cut = replace(verified, hits=hits, scores=[], answer=None, reason="")
    decide(cut, settings)
    return cut


def variants(
    model: Completer,
    problems: Mapping[int, Sequence[Problem]],
    settings: Settings,
    store: SampleStore,
    comparisons: Sequence[Comparison],
) -> dict[str, Variant]:
    """Other ways to verify the problems that `comparisons` solved.

    All conditions, the first alone (from the same samples, so without tokens of its own), true or
    false instead of masks, and stopping as soon as no candidate can overtake.
    """

    def again(**changes: Any) -> Variant:
        return _variant(
            [
                self_verify(model, rows, replace(settings, seed=seed, **changes), store=store)
                for seed, rows in problems.items()
            ]
        )

    out = {"all conditions": _variant([c.verified for c in comparisons])}
    if any(v.mode == "cmv" for c in comparisons for v in c.verified):
        first = _variant([[fewer(v, settings, settings.p, 1) for v in c.verified]
                          for c in comparisons])  # fmt: skip
        out["first condition"] = replace(first, tokens=[])
        out["true or false"] = again(verification="tfv")
    out["stopping early"] = again(early_stop=True)
    return out


def _variant(by_seed: Sequence[Sequence[Verified]]) -> Variant:
    return Variant(
        [[float(v.correct) for v in seed] for seed in by_seed],
        [[float(sum(v.tokens.values())) for v in seed] for seed in by_seed],
    )
