"""Random numbers that belong to the sample, and choices against a slow loop in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from transformers import TopKLogitsWarper, TopPLogitsWarper

from tests.helpers.texts import texts
from workbench.generation.sampling import pick, uniforms

LAST = 1 - 2**-24
rows = st.tuples(st.integers(-(2**70), 2**70), texts(8), st.integers(0, 10**6))


@settings(deadline=None)
@given(st.lists(st.tuples(rows, st.integers(1, 40)), min_size=1, max_size=6), st.data())
def test_uniforms_depend_on_seed_prompt_and_index_alone(asked, data):
    together = uniforms([(*row, steps) for row, steps in asked])
    shuffled = data.draw(st.permutations(range(len(asked))))
    again = uniforms([(*asked[i][0], asked[i][1]) for i in shuffled])
    assert torch.equal(again, together[shuffled])
    for (row, steps), numbers in zip(asked, together, strict=True):
        alone = uniforms([(*row, steps)])
        assert torch.equal(alone[0], numbers[:steps])
        assert torch.equal(uniforms([(*row, 1)])[0], numbers[:1])
        longer = uniforms([(*row, steps + 100)])[0]
        assert torch.equal(longer[:steps], numbers[:steps])


def test_any_change_of_the_identity_changes_the_numbers():
    names = [(s, p, i, 16) for s in (0, 1, -1, 2**64) for p in ("", "a", "0", "a0") for i in (0, 1)]
    numbers = uniforms(names)
    assert len({tuple(row) for row in numbers.tolist()}) == len(names)


def test_the_numbers_of_stored_samples_never_change():
    """Literal: a store replays with another machine's draws, and a longer run goes on with them."""
    expected = [7469915, 12759577, 211913, 11430142]
    assert (uniforms([(0, "Hello.", 0, 4)])[0] * 2**24).tolist() == expected


def test_uniform_and_independent():
    numbers = uniforms([(seed, "p", index, 500) for seed in range(10) for index in range(20)])
    assert numbers.dtype == torch.float32
    assert 0 <= numbers.min() < 0.001 < 0.999 < numbers.max() < 1
    assert stats.kstest(numbers.flatten().numpy(), "uniform").pvalue > 1e-4
    steps = stats.kstest(numbers[:, 0].numpy(), "uniform")
    assert steps.pvalue > 1e-4
    between = torch.corrcoef(numbers)
    off = between[~torch.eye(len(numbers), dtype=torch.bool)]
    assert off.abs().max() < 6 / math.sqrt(500)
    along = torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))
    assert along[0, 1].abs() < 5 / math.sqrt(numbers.numel())


def slow(logits, temperature, u, top_k=0, top_p=1.0):
    """(token, how far u is from choosing another) by the definition, in float64."""
    if temperature == 0:
        return max(range(len(logits)), key=lambda i: logits[i]), math.inf
    top = max(logits)
    weights = [math.exp((x - top) / temperature) for x in logits]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    keep = set(order[:top_k] if top_k else order)
    total = sum(weights[i] for i in keep)
    margin = math.inf
    if top_p < 1:
        mass, kept = 0.0, set()
        for i in [i for i in order if i in keep]:
            kept.add(i)
            mass += weights[i] / total
            margin = min(margin, abs(mass - top_p))
            if mass >= top_p:
                break
        keep = kept
    total = sum(weights[i] for i in keep)
    mass, chosen = 0.0, None
    for i, weight in enumerate(weights):
        if i in keep and weight:
            mass += weight / total
            margin = min(margin, abs(mass - u)) if mass < 1 - 1e-9 else margin
            if chosen is None and mass > u:
                chosen = i
    return chosen, margin


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.integers(1, 60),
    temperature=st.sampled_from([0.0, 0.01, 0.3, 1.0, 1.7, 20.0]),
    top_k=st.sampled_from([0, 1, 2, 7, 1000]),
    top_p=st.sampled_from([1.0, 0.999, 0.9, 0.5, 0.05, 1e-9]),
)
def test_pick_is_the_definition(seed, size, temperature, top_k, top_p):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(8, size, generator=generator)
    u = torch.randint(2**24, (8,), generator=generator) * 2.0**-24
    got = pick(logits, torch.full((8,), temperature), u, top_k, top_p)
    assert got.dtype == torch.int64
    for row, x, token in zip(logits.tolist(), u.tolist(), got.tolist(), strict=True):
        expected, margin = slow(row, temperature, x, top_k, top_p)
        if margin > 1e-5:
            assert token == expected


def support(logits, temperature, top_k=0, top_p=1.0):
    """Every token that some u on a fine grid picks."""
    u = torch.arange(2**13) * 2.0**-13
    many = logits.expand(len(u), -1)
    return set(pick(many, torch.full((len(u),), temperature), u, top_k, top_p).tolist())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("top_k", "top_p"), [(3, 1.0), (20, 1.0), (0, 0.8), (0, 0.3), (5, 0.7)])
def test_supports_are_those_of_transformers(seed, top_k, top_p):
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(seed))
    temperature = 0.5 + 0.2 * seed
    warped = logits / temperature
    if top_k:
        warped = TopKLogitsWarper(top_k)(None, warped)
    if top_p < 1:
        warped = TopPLogitsWarper(top_p)(None, warped)
    expected = set(warped.isfinite().nonzero()[:, 1].tolist())
    assert warped.softmax(1)[warped.isfinite()].min() > 2**-12
    assert support(logits, temperature, top_k, top_p) == expected


@pytest.mark.parametrize("top_k", [1, 2, 3, 5])
@pytest.mark.parametrize(
    "logits", [[0.0] * 6, [1, 3, 3, 3, 0, 3], [2, 2, 1, 1, 1, 0], [5, 1, 1, 1, 1, 1]]
)
def test_of_equal_logits_exactly_k_are_left(logits, top_k):
    """The likeliest by (logit, smaller id); the rest has no chance."""
    order = sorted(range(6), key=lambda i: (-logits[i], i))
    scaled = torch.tensor([logits], dtype=torch.float32)
    assert support(scaled, 8.0, top_k) == set(order[:top_k])


@pytest.mark.parametrize(("top_p", "kept"), [(1e-320, 1), (0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_add_up_to_it(top_p, kept):
    """Exact in binary: of four that are equally likely, those of smaller id."""
    assert support(torch.zeros(1, 4), 1.0, top_p=top_p) == set(range(kept))


@pytest.mark.parametrize("size", [3, 1000, 40_000])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.6), (2, 0.5)])
def test_the_ends_of_the_interval_never_reach_a_token_without_probability(size, top_k, top_p):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(6, size, generator=generator)
        logits[:, [0, -1]] = -torch.inf
        logits[1, : size // 2] = -torch.inf
        logits[2, size // 2 + 1 :] = -torch.inf
        logits[3] = -torch.inf
        logits[3, size // 2] = 0
        logits[4] = 100.0 * torch.arange(size).remainder(3).eq(1) - 100
        logits[4, [0, -1]] = -torch.inf
        one = torch.ones(6)
        for u in (0.0, 2**-24, 0.5, 1 - 2**-23, LAST):
            tokens = pick(logits, one, torch.full((6,), u), top_k, top_p)
            chosen = logits.softmax(1).gather(1, tokens[:, None])
            assert (chosen > 0).all()
        if (top_k, top_p) == (0, 1.0):
            first = pick(logits, one, torch.zeros(6)).tolist()
            assert first == [int(row.softmax(0).nonzero()[0]) for row in logits]
    two = torch.tensor([[0.0, -torch.inf, 0.0, -torch.inf]])
    assert pick(two, torch.ones(1), torch.tensor([LAST])).item() == 2
    assert pick(two, torch.ones(1), torch.tensor([0.5])).item() == 2
    assert pick(two, torch.ones(1), torch.tensor([0.5 - 2**-24])).item() == 0


def test_greedy_rows_beside_sampled_ones():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(40, 30, generator=generator)
    u = torch.rand(40, generator=generator)
    temperature = torch.arange(40).remainder(2).float()
    mixed = pick(logits, temperature, u)
    assert torch.equal(mixed[::2], logits[::2].argmax(1))
    assert torch.equal(mixed[1::2], pick(logits[1::2], temperature[1::2], u[1::2]))
    assert not torch.equal(mixed[1::2], logits[1::2].argmax(1))
    assert torch.equal(pick(logits, torch.zeros(40), u, 3, 0.5), logits.argmax(1))


def test_each_row_has_its_own_temperature():
    """At the same u, a row as hot as it gets is spread out, a row as cold as it gets is not."""
    logits = torch.arange(8.0)[None].expand(3, -1)
    u = torch.full((3,), 0.3)
    assert pick(logits, torch.tensor([1e6, 1.0, 1e-3]), u).tolist() == [2, 6, 7]


@pytest.mark.parametrize("temperature", [1e-6, 1e-20, 1e-38])
def test_a_tiny_temperature_is_nearly_greedy(temperature):
    logits = torch.tensor([[90.0, 95.0, -30.0], [-90.0, -95.0, -200.0]])
    for u in (0.0, 0.5, LAST):
        got = pick(logits, torch.full((2,), temperature), torch.full((2,), u))
        assert got.tolist() == [1, 0]


def test_frequencies_follow_the_softmax():
    logits = torch.tensor([[1.0, 0.0, -1.0, 2.0, -torch.inf]])
    u = uniforms([(3, "p", 0, 20_000)])[0]
    tokens = pick(logits.expand(len(u), -1), torch.full((len(u),), 1.3), u)
    counts = tokens.bincount(minlength=5)
    expected = (logits[0] / 1.3).softmax(0) * len(u)
    assert counts[4] == 0
    assert stats.chisquare(counts[:4].double(), expected[:4].double() * (1 + 1e-9)).pvalue > 1e-4


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50))
def test_top_k_1_is_greedy(seed):
    logits = torch.randn(5, 20, generator=torch.Generator().manual_seed(seed))
    for u in (0.0, 0.7, LAST):
        got = pick(logits, torch.ones(5), torch.full((5,), u), top_k=1)
        assert torch.equal(got, logits.argmax(1))
