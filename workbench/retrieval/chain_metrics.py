"""What a predicted chain is worth beside the gold one: facts, order, end (arXiv 2210.08763, §4).

Where gold evidence branches, facts that do not lead to each other have no order of their own: any
order of reading is right that has each fact after all that lead to it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError
from itertools import pairwise
from statistics import fmean
from typing import Any

from workbench import arguments
from workbench.retrieval.graphs import ROOT, Edge, Evidence, checked, nodes, reading_order
from workbench.retrieval.metrics import overlap

KS = (1, 5, 10, 20)
"""Of R@k in tables."""


@dataclass(frozen=True)
class ChainScores:
    """Of one question. `precision`, `recall`, `f1` and `exact` are of the facts as a set.

    `chain_exact`: all of them in a right order. `prefix`: of the gold facts, the share that is read
    before the first wrong one (`right_start`). `order`: Kendall's τ over the pairs of which one
    leads to the other, 1 where none does; None where `exact` is 0, to be left out of a mean.
    `chain_f1`: F1 of the sets of paths from the question to a leaf, of which several chains have
    several. `excess`: facts more than gold ones; below 0, fewer.
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
    """The scores of a predicted chain, places of facts in order.

    Of an empty one all are 0 but `order`, which is None, and `excess`. `edges`: the predicted
    graph, where it is more than the one chain; `chain_f1` is of it, and 0 where it is circular.
    Macro averages are means of these over questions. Raises `ValueError` for what is no place of a
    fact, or is there twice; `GraphError` for gold edges that are none (`graphs.checked`).

    >>> chain_scored(question, [4, 7, 1]).prefix  # of the gold chain 4, 1, 7
    0.3333333333333333
    """
    length, predicted = _length(gold), _places("predicted", predicted, len(gold.facts))
    facts = overlap(set(gold.nodes), set(predicted))
    exact = int(facts[0] == facts[1] == 1)
    right = right_start(gold.edges, predicted)
    along = [*pairwise([ROOT, *predicted])] if edges is None else [(u, v) for u, v in edges]
    return ChainScores(
        *facts,
        exact,
        chain_exact=int(right == length == len(predicted)),
        prefix=right / length,
        order=_kendall(gold.edges, predicted) if exact else None,
        chain_f1=_path_f1(gold.edges, along),
        excess=len(predicted) - length,
    )


def right_start(gold: Sequence[Edge], predicted: Sequence[int]) -> int:
    """How many facts of a chain, from its first, are gold, and read after all that lead to them.

    >>> right_start([(-1, 4), (-1, 7), (4, 1)], [7, 4, 5, 1])
    2
    """
    before, read = _before(gold), {ROOT}
    for count, fact in enumerate(predicted):
        if fact in read or not before.get(fact, {fact}) <= read:
            return count
        read.add(fact)
    return len(predicted)


def step_accuracy(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> list[tuple[float, int]]:
    """At each step, from the first: P(its fact is right | all before it are), and of how many.

    What is right is as `right_start` has it. A chain that ends early is wrong there; what comes
    after the last gold fact does not count. The list ends where no start is right any more. Raises
    as `chain_scored`.
    """
    asked: Counter[int] = Counter()
    right: Counter[int] = Counter()
    for gold, length, predicted in _compared(golds, predictions):
        start = right_start(gold.edges, predicted)
        asked.update(range(min(start + 1, length)))
        right.update(range(start))
    return [(right[step] / asked[step], asked[step]) for step in sorted(asked)]


def stop_table(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Whether chains end where they should: for each gold `length`, of `n` questions the shares.

    `short`, `right` and `long` add up to 1; `excess` is the mean of predicted - gold length.
    """
    of_length = defaultdict(list)
    for _, length, predicted in _compared(golds, predictions):
        of_length[length].append(len(predicted) - length)
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


def _compared(
    golds: Sequence[Evidence], predictions: Sequence[Sequence[int]]
) -> Iterator[tuple[Evidence, int, list[int]]]:
    """Yield questions, how many facts of each are gold, and predicted chains."""
    if len(golds) != len(predictions):
        raise ValueError(f"{len(predictions)} predictions for {len(golds)} questions")
    for gold, predicted in zip(golds, predictions, strict=True):
        places = _places(f"prediction of {gold.id}", predicted, len(gold.facts))
        yield gold, _length(gold), places


def _length(gold: Evidence) -> int:
    return len(nodes(checked(gold.edges, len(gold.facts), f"question {gold.id}")))


def _places(name: str, predicted: Sequence[int], count: int) -> list[int]:
    places = arguments.listed(name, predicted, empty=True)
    return arguments.indices(name, places, count) if places else []


def _kendall(gold: Sequence[Edge], predicted: Sequence[int]) -> float:
    """τ: of the pairs of facts of which one leads to the other, those read so less the others."""
    before, above = _before(gold), {ROOT: {ROOT}}
    for fact in reading_order(gold):
        above[fact] = {fact}.union(*(above[u] for u in before[fact]))
    ordered, right, read = 0, 0, set()
    for fact in predicted:
        ordered += len(above[fact]) - 2
        right += len(above[fact] & read)
        read.add(fact)
    return 2 * right / ordered - 1 if ordered else 1.0


def _before(edges: Collection[Edge]) -> dict[int, set[int]]:
    """Fact → what leads to it."""
    before = defaultdict(set)
    for u, v in edges:
        before[v].add(u)
    return before


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
    before, ways = _before(edges), {ROOT: 1}
    for v in reading_order([*edges]):
        ways[v] = sum(ways.get(u, 0) for u in before[v])
    return sum(ways.get(end, 0) for end in ends)
