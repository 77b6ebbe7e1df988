"""What predicted evidence is worth beside the gold one: its facts, its edges, its shape (§4)."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from workbench.retrieval.graphs import Edge, nodes
from workbench.retrieval.shapes import MOST_STEPS, edit_distance, same_shape


@dataclass(frozen=True)
class Scores:
    """Of one question. `precision`, `recall`, `f1` and `exact` are of facts, `edge_*` of edges.

    `structure`: the very edges ("Structural Acc"). `shape`: a graph of the gold one's shape,
    whatever its facts ("Graph Acc"; a wrong star may have it). `distance`: unlabelled edit
    distance, lower is better; None where it takes too long.
    """

    precision: float
    recall: float
    f1: float
    exact: int
    edge_precision: float
    edge_recall: float
    edge_f1: float
    structure: int
    shape: int
    distance: int | None


def scored(gold: Sequence[Edge], predicted: Sequence[Edge], steps: int = MOST_STEPS) -> Scores:
    """The scores of a predicted graph; one without edges has 0 of everything but `distance`.

    `steps`: as `shapes.edit_distance`. Macro averages are means of these over questions.

    >>> scored([(-1, 3), (3, 7)], [(-1, 3), (-1, 7)]).exact
    1
    """
    gold, predicted = ([(u, v) for u, v in edges] for edges in (gold, predicted))
    facts = overlap(set(nodes(gold)), set(nodes(predicted)))
    edges = overlap(set(gold), set(predicted))
    return Scores(
        *facts,
        int(facts[0] == facts[1] == 1),
        *edges,
        structure=int(edges[0] == edges[1] == 1),
        shape=int(same_shape(gold, predicted)),
        distance=edit_distance(gold, predicted, steps),
    )


def overlap(gold: AbstractSet, predicted: AbstractSet) -> tuple[float, float, float]:
    """Precision, recall and F1 of a set; 0 where none of it is right, or nothing is predicted."""
    right = len(gold & predicted)
    if not right:
        return 0.0, 0.0, 0.0
    precision, recall = right / len(predicted), right / len(gold)
    return precision, recall, 2 * precision * recall / (precision + recall)
