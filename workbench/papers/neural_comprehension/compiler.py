"""A program as weights: its nodes scheduled into layers of heads and ReLU units (spec of §2.1).

The residual stream holds `one`, `bos`, `one2` (constants), then a one-hot block per categorical
node and a number per numeric one; each is written once. Losers of a softmax are at least 128
behind, so that their weights are exactly 0 and what is copied is exact.

The row of BOS attends to itself alone. What it holds is therefore known here, and taken out of
every reading: behind any node it counts as nothing.
"""

from collections import defaultdict
from itertools import pairwise
from typing import Any

from workbench.arguments import whole
from workbench.errors import CompileBudgetError, ProgramInputError
from workbench.papers.neural_comprehension.domains import (
    Domain,
    combinations,
    counted,
    domains,
    reached,
    require_few,
)
from workbench.papers.neural_comprehension.language import (
    Average,
    Categorical,
    Category,
    Copy,
    Count,
    Gate,
    Index,
    Linear,
    Map,
    Nearest,
    Node,
    Number,
    Numeric,
    Position,
    Select,
    Token,
    Zip,
    described,
    nodes_of,
)
from workbench.papers.neural_comprehension.layers import (
    BOS,
    ONE,
    Head,
    Layer,
    Unit,
    Weights,
    above,
    plus,
)

SELECTED, STEP = 256.0, 128.0
"""Logits: of a selected key, and between the ranks of `Nearest`."""
WIDEST, MOST_PAIRS, MOST_WEIGHTS = 4096, 2**24, 2**28
"""Dimensions of a head, values that a Select compares, and weights of a network (1 GB)."""


class Compiled:
    """A program at a window as sparse weights. `labels`: (node, value) of each dimension.

    `of`: where a node's values (or its number, under None) are. `layers`: as they run.
    """

    def __init__(self, program: Categorical, window: int) -> None:
        if not isinstance(program, Categorical):
            raise ProgramInputError(
                f"{described(program)}: a program's last node must be categorical"
            )
        self.program, self.window = program, whole("window", window, 1)
        self.domain: dict[Node, Domain] = domains(program, window)
        self.labels: list[tuple[Node | None, Any]] = [(None, n) for n in ("one", "bos", "one2")]
        self.of: dict[Node, dict[Any, int]] = {}
        self.bos: Weights = {}
        self.readings: dict[Numeric, tuple[Weights, float]] = {}
        self.layers: dict[int, Layer] = defaultdict(Layer)
        self.depth: dict[Node, int] = {}
        nodes = nodes_of(program)
        self.index = next((node for node in nodes if isinstance(node, Index)), Index())
        tokens = [node for node in nodes if isinstance(node, Token)]
        if len(tokens) != 1:
            raise ProgramInputError(f"a program reads one Token; this one has {len(tokens)}")
        if not self.domain[program]:
            raise ProgramInputError(f"{program}: the program has no value, whatever it reads")
        (self.token,) = tokens
        for node in nodes:
            self._place(node)
        last = max(self.depth.values())
        self.n_layers = (last + 1) // 2
        wide = max(self.of, key=lambda node: len(self.of[node]))
        weights = sum(4 * sum(h.width for h in layer.heads) + 2 * len(layer.units)
                      for layer in self.layers.values()) * len(self.labels)  # fmt: skip
        require_few(wide, "weights, most for its values,", weights, MOST_WEIGHTS)

    def _place(self, node: Node) -> None:
        """Give the node its sublayer and dimensions, and write it."""
        ready = max((self.depth[each] for each in node.inputs), default=0)
        match node:
            case Token() | Index():
                self.depth[node] = 0
                if node not in self.of:  # `_nearest` may have needed it before
                    self._block(node)
            case Position():
                self.depth[node] = 0
                self._dimension(node)
            case Number() | Linear():
                self.depth[node] = ready
            case Copy() | Average() | Count():
                attention = ready + 1 + ready % 2
                self.depth[node] = attention + isinstance(node, Count)
                self._head(node, self.layers[attention // 2])
            case Map() | Zip() | Category() | Gate():
                self.depth[node] = ready + 2 - ready % 2
                self._block(node)
                self._units(node, self.layers[self.depth[node] // 2 - 1].units)

    def _block(self, node: Node) -> dict[Any, int]:
        start = len(self.labels)
        self.of[node] = {value: start + i for i, value in enumerate(self.domain[node])}
        self.labels += [(node, value) for value in self.domain[node]]
        return self.of[node]

    def _dimension(self, node: Node) -> int:
        self.of[node] = {None: len(self.labels)}
        self.labels.append((node, None))
        return self.of[node][None]

    def _seen(self, weights: Weights) -> Weights:
        """A reading in which the row of BOS counts as nothing, constants aside."""
        if known := sum(w * self.bos.get(dim, 0.0) for dim, w in weights.items()):
            weights = weights | {BOS: weights.get(BOS, 0.0) - known}
        return weights

    def _number(self, node: Numeric) -> tuple[Weights, float]:
        """A numeric node as a reading and a constant; a sum of sums is gone through once."""
        if node not in self.readings:
            self.readings[node] = self._reading(node)
        return self.readings[node]

    def _reading(self, node: Numeric) -> tuple[Weights, float]:
        match node:
            case Number(function=function, of=of):
                return {dim: function(value) for value, dim in self.of[of].items()}, 0
            case Linear(constant=constant, terms=terms):
                weights, total = defaultdict(float), float(constant)
                for factor, each in terms:
                    reading, added = self._number(each)
                    total += factor * added
                    for dim, weight in reading.items():
                        weights[dim] += factor * weight
                return dict(weights), total
        return {self.of[node][None]: 1.0}, 0

    def _head(self, node: Copy | Average | Count, layer: Layer) -> None:
        head = Head(node)
        layer.heads.append(head)
        match node.selector:
            case Select() as select:
                counts = isinstance(node, Count)
                self._select(head, select, SELECTED if counts else SELECTED / 2)
            case Nearest() as nearest:
                self._nearest(head, nearest)
        require_few(node, "dimensions of a head", head.width, WIDEST)
        match node:
            case Copy(of=of, function=function, default=default):
                targets = self._block(node)
                read: dict[Any, Weights] = {value: {} for value in targets}
                for value, dim in self.of[of].items():
                    if (new := function(value)) is not None:
                        read[new][dim] = 1.0
                for i, (value, dim) in enumerate(targets.items()):
                    weights = self._seen(read[value])
                    if value == default:
                        weights = weights | {BOS: weights.get(BOS, 0.0) + 1}
                        self.bos[dim] = 1.0
                    head.v.append(weights)
                    head.o[dim] = i
            case Average(of=of, default=default):
                reading, constant = self._number(of)
                weights = plus(self._seen(reading), constant)
                weights[BOS] = weights.get(BOS, 0.0) + default - constant
                head.v.append(weights)
                head.o[dim := self._dimension(node)] = 0
                self.bos[dim] = float(default)
            case Count():
                share = len(self.labels)
                self.labels.append((node, "share"))
                head.v.append({BOS: 1.0})
                head.o[share] = 0
                self._block(node)
                self._count(node, share, layer.units)
                self.bos[share] = 1.0

    def _select(self, head: Head, select: Select, none: float) -> None:
        """Key values that the same queries select share a coordinate; the last one is BOS's."""
        queries = self.of[select.queries]
        pairs = len(queries) * len(self.of[select.keys])
        require_few(select, "pairs of a key and a query", pairs, MOST_PAIRS)
        groups: dict[tuple[bool, ...], list[int]] = defaultdict(list)
        for key, dim in self.of[select.keys].items():
            groups[tuple(bool(select.predicate(key, query)) for query in queries)].append(dim)
        for chosen, dims in groups.items():
            if any(chosen):
                hits = zip(queries.values(), chosen, strict=True)
                head.q.append(self._seen({dim: SELECTED for dim, hit in hits if hit}))
                head.k.append(self._seen(dict.fromkeys(dims, 1.0)))
        head.q.append({ONE: none})
        head.k.append({BOS: 1.0})

    def _nearest(self, head: Head, nearest: Nearest) -> None:
        """A coordinate per key's place, one for what is eligible, and that of BOS."""
        require_few(nearest, "dimensions of a head", self.window + 2, WIDEST)
        window = max(self.window, 2)  # of one place BOS would be too near
        if self.index not in self.of:
            self.domain[self.index] = tuple(range(self.window))
            self._block(self.index)
        places = self.of[self.index]
        ranks = {(i, j): nearest.rank(i, j) for i in places for j in places}
        for i in places:
            allowed = [rank for j in places if (rank := ranks[i, j]) is not None]
            wrong = [r for r in allowed if not isinstance(r, int) or not 0 <= r <= window]
            if wrong or len(set(allowed)) < len(allowed):
                raise CompileBudgetError(
                    f"{nearest}: the ranks of query {i} must be different whole numbers from 0 to "
                    f"{window}, or None; they are {allowed[:8]}"
                )
        far = STEP * 2 * window
        for j, dim in places.items():
            cost = {i: far if ranks[i, j] is None else STEP * ranks[i, j] for i in places}
            head.q.append({places[i]: -c for i, c in cost.items() if c})
            head.k.append({dim: 1.0})
        eligible = [dim for v, dim in self.of[nearest.keys].items() if nearest.predicate(v)]
        head.q.append(plus({BOS: -far}, far))
        head.k.append(self._seen(dict.fromkeys(eligible, 1.0)))
        head.q.append(plus({}, STEP * window / 2))
        head.k.append({BOS: 1.0})

    def _units(self, node: Node, units: list[Unit]) -> None:
        written = self.of[node]

        def unit(reads: Weights, writes: Weights) -> None:
            units.append(Unit(node, self._seen(reads), writes))

        match node:
            case Map(function=function, of=of):
                for value, dim in written.items():
                    units_in = {d: 1.0 for v, d in self.of[of].items() if function(v) == value}
                    unit(units_in, {dim: 1.0})
            case Zip(function=function, of=of):
                for values in combinations(node, self.domain):
                    if (value := function(*values)) is not None:
                        reads: Weights = defaultdict(float, {ONE: 1.0 - len(of)})
                        for each, v in zip(of, values, strict=True):
                            reads[self.of[each][v]] += 1  # a node may be there twice
                        unit(reads, {written[value]: 1.0})
            case Category(function=function, of=of):
                reading, constant = self._number(of)
                numbers = reached(node, self.domain)
                at = {number: function(number) for number in numbers}
                for t in range(numbers.start - 1, numbers.stop + 1):
                    bends: Weights = defaultdict(float)
                    for number, bend in ((t + 1, 1.0), (t, -2.0), (t - 1, 1.0)):
                        if at.get(number) is not None:
                            bends[written[at[number]]] += bend
                    if writes := {dim: bend for dim, bend in bends.items() if bend}:
                        off = {BOS: -above(abs(constant - t))}
                        unit(plus(reading | off, constant - t), writes)
            case Gate(function=function, of=of, condition=condition):
                reading, constant = self._number(condition)
                shut = above(max(map(abs, self.domain[condition])) + abs(constant) + 1)
                for value, dim in written.items():
                    same = {d: shut for v, d in self.of[of].items() if function(v) == value}
                    for shift, sign in ((1, 1.0), (0, -1.0)):
                        reads = defaultdict(float, reading)
                        for d, weight in same.items():
                            reads[d] += weight
                        unit(plus(dict(reads), constant + shift - shut), {dim: sign})

    def _count(self, node: Count, share: int, units: list[Unit]) -> None:
        """[c ≥ k + 1] from the share 1 / (c + 1) that BOS gets, where the value changes.

        BOS itself gets a share of 1, as where nothing is selected.
        """
        written = self.of[node]
        values = [node.function(count) for count in counted(node, self.window)]

        def writes(sign: float, *changed: Any) -> Weights:
            ends = zip(changed, (sign, -sign), strict=False)
            return {written[value]: weight for value, weight in ends if value is not None}

        units.append(Unit(node, {ONE: 1.0, BOS: -2.0}, writes(1.0, values[0])))
        for k, (before, after) in enumerate(pairwise(values)):
            if before != after:
                for half in (0.5, -0.5):
                    reads = plus({share: -2.0 * (k + 1) * (k + 2)}, 2 * k + 3 + half)
                    units.append(Unit(node, reads, writes(2 * half, after, before)))
