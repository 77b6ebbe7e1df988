"""Sparse weights: the heads and ReLU units of a layer, by dimension of the residual stream."""

import math
from dataclasses import dataclass, field

from workbench.papers.neural_comprehension.language import Node

ONE, BOS, ONE2 = 0, 1, 2
"""Dimensions that every row has: 1, whether it is BOS, and 1 again."""
Weights = dict[int, float]
"""By dimension of the residual stream."""


@dataclass
class Head:
    """One attention head; `q`, `k`, `v`: per coordinate what it reads; `o`: dimension → coordinate.

    Queries and keys have their own coordinates, values theirs.
    """

    node: Node
    q: list[Weights] = field(default_factory=list)
    k: list[Weights] = field(default_factory=list)
    v: list[Weights] = field(default_factory=list)
    o: dict[int, int] = field(default_factory=dict)


@dataclass
class Unit:
    """One ReLU unit: what it reads and what it writes."""

    node: Node
    reads: Weights
    writes: Weights


@dataclass
class Layer:
    """The heads and units of one layer; attention comes first."""

    heads: list[Head] = field(default_factory=list)
    units: list[Unit] = field(default_factory=list)

    @property
    def head_dim(self) -> int:
        """All heads are as wide as the widest."""
        return max((max(len(head.q), len(head.v)) for head in self.heads), default=0)


def plus(weights: Weights, constant: float) -> Weights:
    """A reading and a constant, in two parts where eight bits do not hold it."""
    weights = dict(weights)
    high = _eight_bits(constant)
    for dim, part in ((ONE, high), (ONE2, constant - high)):
        if part:
            weights[dim] = weights.get(dim, 0.0) + part
    return weights


def _eight_bits(number: float) -> float:
    """The number without what lies below its eight highest bits, as bfloat16 holds it."""
    fraction, exponent = math.frexp(number)
    return math.ldexp(math.trunc(fraction * 256), exponent - 8)


def above(number: float) -> float:
    """A power of two above a whole number that is not negative."""
    return 2.0 ** int(number).bit_length()
