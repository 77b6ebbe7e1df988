"""Batches against brute force: every row once, limits held, prefixes grouped as well as can be."""

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.generation.batching import group_by_prefix, plan, shared_length

QUANTUM, WORTH = 16, 256
"""Groups are chosen in steps of 16 shared tokens, and only where they save 256."""


def common(prompts):
    """How many first tokens all prompts share, one of each left over; token by token."""
    limit = min(map(len, prompts)) - 1
    columns = enumerate(zip(*(p[:limit] for p in prompts), strict=True))
    return next((k for k, tokens in columns if len(set(tokens)) > 1), limit)


def saved(prompts):
    tokens = (len(prompts) - 1) * (common(prompts) // QUANTUM * QUANTUM)
    return tokens if tokens >= WORTH else 0


def optimum(prompts):
    """The most that any contiguous partition of the sorted prompts saves: all of them tried."""
    prompts = sorted(prompts)
    best = 0
    for cuts in itertools.product([False, True], repeat=len(prompts) - 1):
        edges = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), len(prompts)]
        best = max(best, sum(saved(prompts[a:b]) for a, b in itertools.pairwise(edges)))
    return best


def check_groups(prompts, groups):
    assert sorted(i for _, members in groups for i in members) == list(range(len(prompts)))
    for shared, members in groups:
        if shared:
            assert shared == common([prompts[i] for i in members])
            assert len({prompts[i][:shared] for i in members}) == 1
            assert all(len(prompts[i]) > shared for i in members)
            assert len(members) > 1


def tree(*runs):
    """A prompt of runs (token, length): prompts that agree in a run share its shorter length."""
    return tuple(token for token, length in runs for _ in range(length))


runs = st.tuples(st.integers(0, 1), st.sampled_from([1, 15, 16, 17, 40, 130, 400]))
prompts_of = st.lists(
    st.lists(runs, min_size=1, max_size=4).map(lambda r: tree(*r)), min_size=1, max_size=9
)


@settings(max_examples=80, deadline=None)
@given(prompts_of)
def test_groups_save_as_much_as_the_best_partition(prompts):
    groups = group_by_prefix(prompts, range(len(prompts)))
    check_groups(prompts, groups)
    assert sum(saved([prompts[i] for i in m]) for s, m in groups if s) == optimum(prompts)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_all_small_cases(count):
    kinds = [
        tree((0, 300), (1, 5)),
        tree((0, 300), (2, 40)),
        tree((0, 650), (1, 3)),
        tree((0, 650), (2, 3)),
        tree((1, 17)),
    ]
    for prompts in itertools.product(kinds, repeat=count):
        groups = group_by_prefix(prompts, range(count))
        check_groups(prompts, groups)
        assert sum(saved([prompts[i] for i in m]) for s, m in groups if s) == optimum(prompts)


def test_a_short_family_beside_a_long_one_keeps_its_own_group():
    """Cutting the sorted prompts at all their weakest edges at once would leave the pair alone."""
    pair = [tree((0, 400), (1, 9)), tree((0, 400), (2, 9))]
    family = [tree((0, 400), (3, 1600), (4 + i, 5)) for i in range(6)]
    groups = dict(group_by_prefix([*pair, *family], range(8)))
    assert groups == {400: [0, 1], 2000: [2, 3, 4, 5, 6, 7]}


def test_prompts_that_share_nothing_form_one_group_without_a_beginning():
    prompts = [tree((i, 300)) for i in range(5)]
    assert group_by_prefix(prompts, range(5)) == [(0, [0, 1, 2, 3, 4])]
    assert group_by_prefix([], []) == []
    assert group_by_prefix([(1,)], [0]) == [(0, [0])]


def test_equal_prompts_leave_their_last_token():
    prompts = [tree((0, 300))] * 3
    assert group_by_prefix(prompts, range(3)) == [(299, [0, 1, 2])]


@pytest.mark.parametrize("shape", ["nested", "comb"])
def test_deep_chains_do_not_overflow_the_recursion(shape):
    """Every prompt begins with all of the one before it, 16 tokens more each time."""
    stream = tuple(range(QUANTUM * 800))
    tail = () if shape == "nested" else (-1,) * 7
    prompts = [stream[: QUANTUM * k + 1] + tail for k in range(1, 800)]
    groups = group_by_prefix(prompts, range(len(prompts)))
    check_groups(prompts, groups)
    exact = [(len(m) - 1) * (s // QUANTUM * QUANTUM) for s, m in groups if s]
    assert sum(exact) >= saved(sorted(prompts)[400:])


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2), max_size=12), st.lists(st.integers(0, 2), max_size=12),
    st.integers(0, 14),
)  # fmt: skip
def test_shared_length(a, b, limit):
    expected = 0
    while expected < min(limit, len(a), len(b)) and a[expected] == b[expected]:
        expected += 1
    assert shared_length(a, b, limit) == expected


def check_plan(ids, draws, new, batches, max_rows, max_tokens, max_prefill, reuse=True):
    every = Counter((row.request, row.index) for batch in batches for row in batch.rows)
    assert every == Counter((i, k) for i, n in enumerate(draws) for k in range(n))
    drawn = [i for i, n in enumerate(draws) if n]
    group = {i: s for s, m in group_by_prefix(ids, drawn) for i in m} if reuse else {}
    for batch in batches:
        names = [row.request for row in batch.rows]
        assert batch.requests == [name for name, _ in itertools.groupby(names)]  # adjacent
        assert len(batch.requests) == len(batch.shared)
        assert len({shared > 0 for shared in batch.shared}) == 1
        for i, shared in zip(batch.requests, batch.shared, strict=True):
            assert shared == group.get(i, 0) < len(ids[i])
        assert 1 <= len(batch.rows) <= max_rows
        beginnings = {ids[i][:s] for i, s in zip(batch.requests, batch.shared, strict=True)}
        prefix = max(batch.shared)
        suffix = max(len(ids[i]) - s for i, s in zip(batch.requests, batch.shared, strict=True))
        if len(batch.rows) > 1:
            width = prefix + suffix + max(new[i] for i in batch.requests)
            assert width * len(batch.rows) <= max_tokens
        # What one prompt takes cannot be divided; more of its samples cost no more of it.
        if len(batch.requests) > 1:
            assert len(batch.requests) * suffix <= max_prefill
        if len(beginnings) > 1:
            assert len(beginnings) * prefix <= max_prefill


@settings(max_examples=80, deadline=None)
@given(
    prompts=prompts_of,
    numbers=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), min_size=9, max_size=9),
    max_rows=st.integers(1, 12),
    max_tokens=st.sampled_from([1, 500, 3000, 10**6]),
    max_prefill=st.sampled_from([1, 700, 2500, 10**6]),
    reuse=st.booleans(),
)
def test_plans_hold_every_row_once_and_all_limits(
    prompts, numbers, max_rows, max_tokens, max_prefill, reuse
):
    draws, new = zip(*numbers[: len(prompts)], strict=True)
    limits = {"max_rows": max_rows, "max_tokens": max_tokens, "max_prefill": max_prefill}
    batches = plan(prompts, draws, new, reuse=reuse, **limits)
    check_plan(prompts, draws, new, batches, reuse=reuse, **limits)


def test_all_small_plans():
    kinds = [tree((0, 300), (1, 5)), tree((0, 300), (2, 40)), tree((1, 17))]
    for prompts in itertools.product(kinds, repeat=3):
        for draws in itertools.product([0, 1, 3], repeat=3):
            for rows, tokens, prefill in itertools.product([1, 2, 5], [700, 10**6], [60, 10**6]):
                limits = {"max_rows": rows, "max_tokens": tokens, "max_prefill": prefill}
                batches = plan(prompts, draws, (4, 4, 9), **limits)
                check_plan(prompts, draws, (4, 4, 9), batches, **limits)


def test_groups_of_many_long_beginnings_are_not_computed_all_at_once():
    prompts = [tree((g, 2000), (9, i + 1)) for g in range(8) for i in range(2)]
    limits = {"max_rows": 500, "max_tokens": 10**9, "max_prefill": 6000}
    batches = plan(prompts, [1] * 16, [5] * 16, **limits)
    check_plan(prompts, [1] * 16, [5] * 16, batches, **limits)
    assert len(batches) == 3


def test_samples_of_one_long_prompt_stay_together():
    """It is computed once for all of them, however long it is."""
    limits = {"max_rows": 50, "max_tokens": 10**9, "max_prefill": 100}
    (batch,) = plan([tree((0, 1000))], [20], [5], **limits)
    assert len(batch.rows) == 20


@settings(max_examples=60, deadline=None)
@given(prompts=prompts_of, max_rows=st.integers(1, 12), data=st.data())
def test_the_order_of_the_requests_does_not_matter(prompts, max_rows, data):
    """The same prompts shuffled are cut into the same batches."""

    def shapes(prompts):
        draws, new = [1 + len(p) % 3 for p in prompts], [1 + len(p) % 5 for p in prompts]
        batches = plan(prompts, draws, new, max_rows=max_rows, max_tokens=20_000, max_prefill=3000)
        return [
            [len(prompts[row.request]) for row in batch.rows] + sorted(batch.shared)
            for batch in batches
        ]

    assert shapes(data.draw(st.permutations(prompts))) == shapes(prompts)


def test_the_longest_come_first():
    prompts = [tree((i, 10 * i + 5)) for i in range(6)]
    batches = plan(prompts, [1] * 6, [1] * 6, max_rows=2, max_tokens=10**6, max_prefill=10**6)
    assert [[row.request for row in b.rows] for b in batches] == [[5, 4], [3, 2], [1, 0]]
