"""What a predicted chain is worth beside the gold one: facts, order, end (arXiv 2210.08763, §4)."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from itertools import combinations, pairwise, takewhile
from statistics import fmean
from typing import Any

from workbench import arguments
from workbench.retrieval.chains import chain_of
from workbench.retrieval.graphs import ROOT, Edge, Evidence, reading_order
from workbench.retrieval.metrics import overlap

KS = (1, 5, 10, 20)
"""Of R@k in tables."""


@dataclass(frozen=True)
class ChainScores:
    """Of one question. `precision`, `recall`, `f1` and `exact` are of the facts as a set.

    `chain_exact`: the very sequence. `prefix`: the share of the gold chain before its first wrong
    fact. `order`: Kendall's τ between the two orders, 1 for a single fact; None where `exact` is 0,
    to be left out of a mean. `chain_f1`: F1 of the sets of paths from the question to a leaf, of
    which several chains have several. `excess`: facts more than gold ones; below 0, fewer.
    """

    precision: float
    recall: float
    f1: float
    exact: int
    chain_exact: int
    prefix: float
    order: float | None
    chain_f1: float
    excess: int


def chain_scored(
    gold: Evidence, predicted: Sequence[int], edges: Sequence[Edge] | None = None
) -> ChainScores:
    """The scores of a predicted chain, places of facts in order; all 0 of an empty one.

    `edges`: the predicted graph, where it is more than the one chain; only `chain_f1` reads it, and
    is 0 where they go in a circle. Macro averages are means of these over questions. Raises
    `ValueError` for what is no place of a fact, or is there twice.

    >>> chain_scored(question, [4, 7, 1]).prefix  # of the gold chain 4, 1, 7
    0.3333333333333333
    """
    chain, predicted = chain_of(gold), _places("predicted", predicted, len(gold.facts))
    facts = overlap(set(chain), set(predicted))
    exact = int(facts[0] == facts[1] == 1)
    beside = zip(chain, predicted, strict=False)
    same = len([*takewhile(lambda facts: facts[0] == facts[1], beside)])
    along = [*pairwise([ROOT, *predicted])] if edges is None else [(u, v) for u, v in edges]
    return ChainScores(
        *facts,
        exact,
        chain_exact=int(chain == tuple(predicted)),
        prefix=same / len(chain),
        order=_kendall(chain, predicted) if exact else None,
        chain_f1=_path_f1(gold.edges, along),
        excess=len(predicted) - len(chain),
    )


def step_accuracy(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> list[tuple[float, int]]:
    """At each step, from the first: P(its fact is right | all before it are), and of how many.

    A chain that ends early is wrong there; what comes after the gold chain does not count. The list
    ends where no prefix is right any more. Raises `ValueError` as `chain_scored`.
    """
    asked: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for chain, predicted in _pairs(golds, predictions):
        for step, fact in enumerate(chain):
            asked[step] += 1
            if predicted[step : step + 1] != [fact]:
                break
            right[step] += 1
    return [(right[step] / asked[step], asked[step]) for step in sorted(asked)]


def stop_table(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Whether chains end where they should: for each gold `length`, of `n` questions the shares.

    `short`, `right` and `long` add up to 1; `excess` is the mean of predicted - gold length.
    """
    of_length = defaultdict(list)
    for chain, predicted in _pairs(golds, predictions):
        of_length[len(chain)].append(len(predicted) - len(chain))
    return [
        {"length": length, "n": len(excess), "short": fmean(e < 0 for e in excess),
         "right": fmean(e == 0 for e in excess), "long": fmean(e > 0 for e in excess),
         "excess": fmean(excess)}
        for length, excess in sorted(of_length.items())
    ]  # fmt: skip


def recall_at(ranking: Sequence[int], gold: Collection[int], k: int) -> float:
    """The share of gold facts among the first `k` of a ranking, the best first.

    Raises `ValueError` for no gold fact, a fact that is ranked twice, and for `k` outside 1 to the
    number of facts ranked.

    >>> recall_at([4, 2, 1], {4, 1}, 2)
    0.5
    """
    arguments.whole("k", k, 1, len(ranking))
    ranked = arguments.different("ranking", arguments.listed("ranking", ranking))
    if not gold:
        raise ValueError("no gold fact: a question needs one at least")
    return len({*gold} & {*ranked[:k]}) / len({*gold})


def full_chain_at(ranking: Sequence[int], gold: Collection[int], k: int) -> int:
    """1 where all gold facts are among the first `k` of a ranking; else as `recall_at`."""
    return int(recall_at(ranking, gold, k) == 1)


def _pairs(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> Iterator[tuple[tuple[int, ...], list[int]]]:
    """Yield gold and predicted chains."""
    if len(golds) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(golds)} questions")
    for gold, predicted in zip(golds, predictions, strict=True):
        yield chain_of(gold), _places(f"prediction of {gold.id}", predicted, len(gold.facts))


def _places(name: str, predicted: Sequence[int], count: int) -> list[int]:
    places = arguments.listed(name, predicted, empty=True)
    return arguments.indices(name, places, count) if places else []


def _kendall(a: Sequence[int], b: Sequence[int]) -> float:
    """τ of two orders of the same facts: pairs in one order less those in the other, of all."""
    if len(a) == 1:
        return 1.0
    place = {fact: i for i, fact in enumerate(b)}
    signs = [1 if place[u] < place[v] else -1 for u, v in combinations(a, 2)]
    return sum(signs) / len(signs)


def _path_f1(gold: Sequence[Edge], predicted: Sequence[Edge]) -> float:
    """F1 of the sets of paths from the question to a leaf, which are counted, never listed.

    A path is in both where its edges are in both graphs and its end is a leaf of both.
    """
    common = {*gold} & {*predicted}
    leaves = [{v for _, v in edges} - {u for u, _ in edges} for edges in (gold, predicted)]
    try:
        right = _paths(common, leaves[0] & leaves[1])
        totals = right and _paths(gold, leaves[0]) + _paths(predicted, leaves[1])
    except CycleError:
        return 0.0
    return 2 * right / totals if right else 0.0


def _paths(edges: Collection[Edge], ends: Collection[int]) -> int:
    """How many paths lead from the question to these facts."""
    before = defaultdict(list)
    for u, v in set(edges):
        before[v].append(u)
    ways = {ROOT: 1}
    for v in reading_order([*edges]):
        ways[v] = sum(ways.get(u, 0) for u in before[v])
    return sum(ways.get(end, 0) for end in ends)
