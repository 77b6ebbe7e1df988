"""Which rows are decoded together: prompts grouped by what they begin with, cut into batches."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# A shorter common beginning, or one shared by too few, does not pay for a forward of its own.
_STEP = 16
_WORTH = 256
# More prompts than a batch has rows, and than there are groups.
_LARGEST, _FEWER = 4096, 2**24

Ids = Sequence[int]


@dataclass(frozen=True)
class Row:
    """One sample to decode: request and sample index."""

    request: int
    index: int


@dataclass(frozen=True)
class Batch:
    """Rows decoded together, rows of one request adjacent.

    `shared`: for every request in order of appearance, how many of its first tokens are computed
    once for its whole group; 0 for all of them, or for none.
    """

    rows: tuple[Row, ...]
    shared: tuple[int, ...]

    @property
    def requests(self) -> list[int]:
        """The different requests, in order of appearance."""
        return list(dict.fromkeys(row.request for row in self.rows))

    def beginnings(self, ids: Sequence[Ids]) -> dict[tuple[int, ...], int]:
        """The different beginnings that its requests share, numbered in order of appearance."""
        texts = (tuple(ids[i][:n]) for i, n in zip(self.requests, self.shared, strict=True))
        return {text: number for number, text in enumerate(dict.fromkeys(texts))}

    def only(self, rows: Sequence[Row]) -> "Batch":
        """This batch with these of its rows."""
        shared = dict(zip(self.requests, self.shared, strict=True))
        return Batch(tuple(rows), tuple(shared[i] for i in dict.fromkeys(r.request for r in rows)))


def shared_length(a: Ids, b: Ids, limit: int) -> int:
    """How many first tokens two prompts have in common, at most `limit`."""
    if a[:limit] == b[:limit]:
        return min(limit, len(a), len(b))
    low, high = 0, min(limit, len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[:middle] == b[:middle] else (low, middle - 1)
    return low


def group_by_prefix(ids: Sequence[Ids], rows: Sequence[int]) -> list[tuple[int, list[int]]]:
    """Groups of (shared first tokens, prompts), chosen so that least is computed twice.

    A group saves (size - 1) * shared tokens of prefill; of all ways to cut the sorted prompts into
    groups this is the one that saves most (shared counted in steps of 16). At least one token of
    every prompt is left over, since the last one must be computed to be continued. Groups not worth
    it have shared = 0.
    """
    order = sorted(rows, key=lambda i: (ids[i], i))
    common = [
        shared_length(ids[a], ids[b], min(len(ids[a]), len(ids[b])) - 1) // _STEP
        for a, b in itertools.pairwise(order)
    ]
    groups, alone = [], []
    for start, stop in _best_cuts(common):
        members = order[start:stop]
        if len(members) > 1:
            limit = min(len(ids[i]) for i in members) - 1
            # Of sorted prompts the first and the last differ earliest.
            groups.append((shared_length(ids[members[0]], ids[members[-1]], limit), members))
        else:
            alone += members
    return groups + ([(0, alone)] if alone else [])


def _best_cuts(common: Sequence[int]) -> list[tuple[int, int]]:
    """(start, stop) of the groups that save most, given what neighbours share in steps.

    Dynamic programming over where the last group starts. Among equal savings the fewest groups:
    each costs a forward of its own.
    """
    count = len(common) + 1
    score = np.zeros(count + 1, dtype=np.int64)
    starts = [0] * (count + 1)
    least = np.zeros(count, dtype=np.int64)
    first = 0
    for stop in range(1, count + 1):
        score[stop], starts[stop] = score[stop - 1], stop - 1
        if stop == 1 or not common[stop - 2]:
            first = stop - 1
            continue
        low = max(first, stop - _LARGEST)
        least[stop - 2] = common[stop - 2]
        np.minimum(least[low : stop - 1], common[stop - 2], out=least[low : stop - 1])
        tokens = np.arange(stop - low - 1, 0, -1) * least[low : stop - 1] * _STEP
        total = score[low : stop - 1] + np.where(tokens < _WORTH, 0, tokens * _FEWER - 1)
        start = int(total.argmax())
        if total[start] > score[stop]:
            score[stop], starts[stop] = total[start], low + start
    cuts, stop = [], count
    while stop:
        cuts.append((starts[stop], stop))
        stop = starts[stop]
    return cuts[::-1]


def plan(
    ids: Sequence[Ids],
    draws: Sequence[int],
    new: Sequence[int],
    *,
    max_rows: int,
    max_tokens: int,
    max_prefill: int,
    reuse: bool = True,
) -> list[Batch]:
    """Batches of all rows (request i `draws[i]` times), a function of the requests alone.

    `new`: tokens to decode per request. `max_rows` rows and `max_tokens` cached tokens (padded
    width times rows) a batch, `max_prefill` padded prompt tokens computed at once; a single row
    may exceed `max_tokens`, a single prompt `max_prefill`. Similar lengths lie together.
    """
    drawn = [i for i in range(len(ids)) if draws[i]]
    if not drawn:
        return []
    groups = group_by_prefix(ids, drawn) if reuse else [(0, drawn)]
    # Longest first: what does not fit fails at once. Prompts that share nothing come last.
    for _, members in groups:
        members.sort(key=lambda i: (-len(ids[i]), -new[i], i))
    groups.sort(key=lambda group: (not group[0], -len(ids[group[1][0]])))
    filled = [_Filling()]
    for group, (shared, members) in enumerate(groups):
        # Rows of one group alone are attended to faster; but small batches are slow, too.
        if not shared or 4 * len(filled[-1].rows) >= max_rows:
            filled.append(_Filling())
        for i in members:
            widths = (shared, len(ids[i]) - shared, new[i])
            for index in range(draws[i]):
                row = Row(i, index)
                if not filled[-1].takes(row, group, widths, max_rows, max_tokens, max_prefill):
                    filled.append(_Filling())
                filled[-1].add(row, group, widths)
    return [Batch(tuple(b.rows), tuple(b.shared.values())) for b in filled if b.rows]


Widths = tuple[int, int, int]
"""Tokens of a row: shared with its group, of its own, to decode."""


@dataclass
class _Filling:
    """A batch that is being filled, and the widths that all its rows are padded to."""

    rows: list[Row] = field(default_factory=list)
    shared: dict[int, int] = field(default_factory=dict)
    groups: set[int] = field(default_factory=set)
    widths: Widths = (0, 0, 0)

    def padded(self, widths: Widths) -> Widths:
        """What rows are padded to, one of these `widths` among them."""
        shared, own, new = map(max, self.widths, widths)
        return shared, own, new

    def takes(
        self, row: Row, group: int, widths: Widths, max_rows: int, max_tokens: int, max_prefill: int
    ) -> bool:
        """Whether one more row keeps the limits; the first one always may."""
        shared, own, new = self.padded(widths)
        rows = len(self.rows) + 1
        prompts = len(self.shared) + (row.request not in self.shared)
        beginnings = len(self.groups) + (group not in self.groups)
        return rows == 1 or (
            rows <= max_rows
            and rows * (shared + own + new) <= max_tokens
            and (prompts == 1 or prompts * own <= max_prefill)
            and (beginnings == 1 or beginnings * shared <= max_prefill)
        )

    def add(self, row: Row, group: int, widths: Widths) -> None:
        self.rows.append(row)
        self.shared[row.request] = widths[0]
        self.groups.add(group)
        self.widths = self.padded(widths)
