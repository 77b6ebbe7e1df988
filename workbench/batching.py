"""Which rows are decoded together: prompts grouped by what they begin with, cut into batches."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

# A shorter common beginning, or one shared by too few, does not pay for a forward of its own.
_SHORTEST = 16
_WORTH = 256

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
        return list(dict.fromkeys(row.request for row in self.rows))


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
    """Groups of (shared first tokens, prompts), chosen so that little is computed twice.

    A group saves (size - 1) * shared tokens of prefill; sorted prompts are split where neighbours
    share least, for as long as that saves more. At least one token of every prompt is left over,
    since the last one must be computed to be continued. Groups not worth it have shared = 0.
    """
    order = sorted(rows, key=lambda i: (ids[i], i))
    # In steps of the shortest worthwhile length, so that the recursion stays shallow.
    common = [
        shared_length(ids[a], ids[b], min(len(ids[a]), len(ids[b])) - 1) // _SHORTEST
        for a, b in itertools.pairwise(order)
    ]

    def best(start: int, stop: int) -> tuple[int, list[tuple[int, int, int]]]:
        """(tokens saved, [(start, stop, shared)]) for the sorted prompts [start, stop)."""
        least = min(common[start : stop - 1], default=0)
        whole = (stop - start - 1) * least * _SHORTEST
        if whole < _WORTH:
            whole, least = 0, 0
        one = [(start, stop, least)]
        if stop - start < 3:
            return whole, one
        cuts = [i + 1 for i in range(start, stop - 1) if common[i] == min(common[start : stop - 1])]
        if len(cuts) == stop - start - 1:
            return whole, one
        edges = [start, *cuts, stop]
        parts = [best(a, b) for a, b in itertools.pairwise(edges)]
        saved = sum(p[0] for p in parts)
        # Equal savings: the larger group, which costs one forward less.
        return (saved, [g for p in parts for g in p[1]]) if saved > whole else (whole, one)

    if not order:
        return []
    groups, alone = [], []
    for start, stop, blocks in best(0, len(order))[1]:
        if blocks:
            members = order[start:stop]
            limit = min(len(ids[i]) for i in members) - 1
            # Of sorted prompts the first and the last differ earliest.
            groups.append((shared_length(ids[members[0]], ids[members[-1]], limit), members))
        else:
            alone += order[start:stop]
    return groups + ([(0, alone)] if alone else [])


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
    may exceed the last two. Similar lengths lie together.
    """
    every = [i for i in range(len(ids)) if draws[i]]
    groups = group_by_prefix(ids, every) if reuse else [(0, every)]
    batches: list[Batch] = []
    for grouped in (True, False):
        entries = [
            (shared, max(len(ids[i]) for i in members), g, i)
            for g, (shared, members) in enumerate(groups)
            for i in members
            if bool(shared) == grouped
        ]
        # Longest first: what does not fit fails at once. Whole groups stay together.
        entries.sort(
            key=lambda e: (
                (-e[1], e[2], -len(ids[e[3]]), e[3])
                if grouped
                else (-len(ids[e[3]]), -new[e[3]], e[3])
            )
        )
        batches += _fill(entries, ids, draws, new, max_rows, max_tokens, max_prefill)
    return batches


def _fill(
    entries: list[tuple[int, int, int, int]],
    ids: Sequence[Ids],
    draws: Sequence[int],
    new: Sequence[int],
    max_rows: int,
    max_tokens: int,
    max_prefill: int,
) -> list[Batch]:
    batches: list[Batch] = []
    rows: list[Row] = []
    shared: dict[int, int] = {}
    prefix = suffix = longest = 0
    last = -1

    def close() -> None:
        nonlocal rows, shared, prefix, suffix, longest
        if rows:
            batches.append(Batch(tuple(rows), tuple(shared.values())))
        rows, shared, prefix, suffix, longest = [], {}, 0, 0, 0

    for length, _, group, i in entries:
        # Rows of one group alone are attended to faster; but small batches are slow, too.
        if length and group != last and 4 * len(rows) >= max_rows:
            close()
        last = group
        for index in range(draws[i]):
            wider = (
                max(prefix, length), max(suffix, len(ids[i]) - length), max(longest, new[i])
            )  # fmt: skip
            prompts = len(shared) + (i not in shared)
            full = (
                len(rows) >= max_rows
                or (len(rows) + 1) * sum(wider) > max_tokens
                or prompts * wider[1] > max_prefill
            )
            if rows and full:
                close()
                wider = (length, len(ids[i]) - length, new[i])
            prefix, suffix, longest = wider
            rows.append(Row(i, index))
            shared[i] = length
    close()
    return batches
