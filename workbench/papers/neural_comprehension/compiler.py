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
from workbench.papers.neural_comprehension import language
from workbench.papers.neural_comprehension.domains import domains, require_few
from workbench.papers.neural_comprehension.language import Node, described
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

    def __init__(self, program: language.Categorical, window: int) -> None:
        if not isinstance(program, language.Categorical):
            raise ProgramInputError(
                f"{described(program)}: a program's last node must be categorical"
            )
        self.program, self.window = program, whole("window", window, 1, 2**31)
        self.domain, self.table = domains(program, self.window)
        nodes = list(self.domain)
        self.labels: list[tuple[Node | None, Any]] = [(None, n) for n in ("one", "bos", "one2")]
        self.of: dict[Node, dict[Any, int]] = {}
        self.bos: Weights = {}
        self.readings: dict[Node, tuple[Weights, float]] = {}
        self.layers: dict[int, Layer] = defaultdict(Layer)
        self.depth: dict[Node, int] = {}
        self.index = next(
            (node for node in nodes if isinstance(node, language.Index)), language.Index()
        )
        tokens = [node for node in nodes if isinstance(node, language.Token)]
        if len(tokens) != 1:
            raise ProgramInputError(f"a program reads one Token; this one has {len(tokens)}")
        if not self.domain[program]:
            raise ProgramInputError(f"{program}: the program has no value, whatever it reads")
        (self.token,) = tokens
        for node in nodes:
            self._place(node)
        self.n_layers = (max(self.depth.values()) + 1) // 2
        layers = self.layers.values()
        rows = sum(4 * len(each.heads) * each.head_dim + 2 * len(each.units) for each in layers)
        rows += self.window + len(self.token.vocabulary)
        widest = max(self.of, key=lambda node: len(self.of[node]))
        require_few(widest, "weights, most for its values,", rows * len(self.labels), MOST_WEIGHTS)

    def _place(self, node: Node) -> None:
        """Give the node its sublayer and dimensions, and write it."""
        ready = self.depth[node] = max((self.depth[each] for each in node.inputs), default=0)
        match node:
            case language.Token() | language.Index():
                if node not in self.of:  # `_nearest` may have needed it before
                    self._block(node)
            case language.Position():
                self._dimension(node)
            case language.Number(of=of):
                numbers = self.table[node].values()
                self.readings[node] = dict(zip(self.of[of].values(), numbers, strict=True)), 0
            case language.Linear():
                self.readings[node] = self._sum(node)
            case language.Copy() | language.Average() | language.Count():
                attention = ready + 1 + ready % 2
                self.depth[node] = attention + isinstance(node, language.Count)
                self._head(node, self.layers[attention // 2])
            case language.Map() | language.Zip() | language.Category() | language.Gate():
                self.depth[node] = ready + 2 - ready % 2
                self._block(node)
                self._units(node, self.layers[self.depth[node] // 2 - 1].units)

    def _block(self, node: Node) -> dict[Any, int]:
        start = len(self.labels)
        self.of[node] = {value: start + i for i, value in enumerate(self.domain[node])}
        self.labels += [(node, value) for value in self.domain[node]]
        return self.of[node]

    def _dimension(self, node: language.Numeric) -> int:
        dim = len(self.labels)
        self.of[node], self.readings[node] = {None: dim}, ({dim: 1.0}, 0)
        self.labels.append((node, None))
        return dim

    def _seen(self, weights: Weights) -> Weights:
        """A reading in which the row of BOS counts as nothing, constants aside."""
        if known := sum(w * self.bos.get(dim, 0.0) for dim, w in weights.items()):
            weights = weights | {BOS: weights.get(BOS, 0.0) - known}
        return weights

    def _sum(self, node: language.Linear) -> tuple[Weights, float]:
        """A sum as a reading and a constant."""
        weights, total = defaultdict(float), float(node.constant)
        for factor, each in node.terms:
            reading, added = self.readings[each]
            total += factor * added
            for dim, weight in reading.items():
                weights[dim] += factor * weight
        return dict(weights), total

    def _made(self, node: language.Map | language.Gate | language.Copy) -> dict[Any, list[int]]:
        """By value of a node: where the values of another are that its function makes it of."""
        dims: dict[Any, list[int]] = {value: [] for value in self.of[node]}
        for value, made in self.table[node].items():
            if made is not None:
                dims[made].append(self.of[node.of][value])
        return dims

    def _head(self, node: language.Copy | language.Average | language.Count, layer: Layer) -> None:
        head = Head(node)
        layer.heads.append(head)
        match node.selector:
            case language.Select() as select:
                counts = isinstance(node, language.Count)
                self._select(head, select, SELECTED if counts else SELECTED / 2)
            case language.Nearest() as nearest:
                self._nearest(head, nearest)
        match node:
            case language.Copy(default=default):
                self._block(node)
                for i, (value, dims) in enumerate(self._made(node).items()):
                    weights = self._seen(dict.fromkeys(dims, 1.0))
                    dim = self.of[node][value]
                    if value == default:
                        weights = weights | {BOS: weights.get(BOS, 0.0) + 1}
                        self.bos[dim] = 1.0
                    head.v.append(weights)
                    head.o[dim] = i
            case language.Average(of=of, default=default):
                reading, constant = self.readings[of]
                weights = plus(self._seen(reading), constant)
                weights[BOS] = weights.get(BOS, 0.0) + default - constant
                head.v.append(weights)
                head.o[dim := self._dimension(node)] = 0
                self.bos[dim] = float(default)
            case language.Count():
                share = len(self.labels)
                self.labels.append((node, "share"))
                head.v.append({BOS: 1.0})
                head.o[share] = 0
                self._block(node)
                self._count(node, share, layer.units)
                self.bos[share] = 1.0
        require_few(node, "dimensions of a head", layer.head_dim, WIDEST)

    def _select(self, head: Head, select: language.Select, none: float) -> None:
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

    def _nearest(self, head: Head, nearest: language.Nearest) -> None:
        """A coordinate per key's place, one for what is eligible, and that of BOS."""
        require_few(nearest, "dimensions of a head", self.window + 2, WIDEST)
        window = max(self.window, 2)  # of one place BOS would be too near
        if self.index not in self.of:
            self.domain[self.index] = tuple(range(self.window))
            self._block(self.index)
        places = self.of[self.index]
        ranks = [[nearest.rank(i, j) for j in places] for i in places]
        for i in places:
            allowed = [rank for rank in ranks[i] if rank is not None]
            wrong = [r for r in allowed if not isinstance(r, int) or not 0 <= r <= window]
            if wrong or len(set(allowed)) < len(allowed):
                raise CompileBudgetError(
                    f"{nearest}: the ranks of query {i} must be different whole numbers from 0 to "
                    f"{window}, or None; they are {allowed[:8]}"
                )
        far = STEP * 2 * window
        for j, dim in places.items():
            costs = [far if row[j] is None else STEP * row[j] for row in ranks]
            head.q.append({places[i]: -cost for i, cost in enumerate(costs) if cost})
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
            case language.Map():
                for value, dims in self._made(node).items():
                    unit(dict.fromkeys(dims, 1.0), {written[value]: 1.0})
            case language.Zip(of=of):
                for values, value in self.table[node].items():
                    if value is not None:
                        reads: Weights = defaultdict(float, {ONE: 1.0 - len(of)})
                        for each, v in zip(of, values, strict=True):
                            reads[self.of[each][v]] += 1  # a node may be there twice
                        unit(reads, {written[value]: 1.0})
            case language.Category(of=of):
                reading, constant = self.readings[of]
                at = self.table[node]
                for t in sorted({number + near for number in at for near in (-1, 0, 1)}):
                    bends: Weights = defaultdict(float)
                    for number, bend in ((t + 1, 1.0), (t, -2.0), (t - 1, 1.0)):
                        if at.get(number) is not None:
                            bends[written[at[number]]] += bend
                    if writes := {dim: bend for dim, bend in bends.items() if bend}:
                        off = {BOS: -above(abs(constant - t))}
                        unit(plus(reading | off, constant - t), writes)
            case language.Gate(condition=condition):
                reading, constant = self.readings[condition]
                shut = above(max(map(abs, self.domain[condition])) + abs(constant) + 1)
                for value, dims in self._made(node).items():
                    for shift, sign in ((1, 1.0), (0, -1.0)):
                        reads = defaultdict(float, reading)
                        for dim in dims:
                            reads[dim] += shut
                        unit(plus(reads, constant + shift - shut), {written[value]: sign})

    def _count(self, node: language.Count, share: int, units: list[Unit]) -> None:
        """[c ≥ k + 1] from the share 1 / (c + 1) that BOS gets, where the value changes.

        BOS itself gets a share of 1, as where nothing is selected.
        """
        written = self.of[node]
        values = list(self.table[node].values())

        def writes(sign: float, *changed: Any) -> Weights:
            ends = zip(changed, (sign, -sign), strict=False)
            return {written[value]: weight for value, weight in ends if value is not None}

        units.append(Unit(node, {ONE: 1.0, BOS: -2.0}, writes(1.0, values[0])))
        for k, (before, after) in enumerate(pairwise(values)):
            if before != after:
                for half in (0.5, -0.5):
                    reads = plus({share: -2.0 * (k + 1) * (k + 2)}, 2 * k + 3 + half)
                    units.append(Unit(node, reads, writes(2 * half, after, before)))
