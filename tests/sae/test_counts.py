"""Contexts of features against a plain sort, and the keys that sample them."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from workbench.sae import diff
from workbench.sae.counts import SAMPLE, TOP, Counts

M, TOKENS = 3, 300


@pytest.mark.parametrize("cuts", [(300,), (7, 60, 250, 300)])
def test_contexts_are_the_strongest_and_those_of_the_smallest_keys(cuts):
    """Of more tokens than are kept, counted at once or in pieces."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(2, TOKENS, M, generator=generator).relu()
    codes[:, :, 2] *= torch.arange(TOKENS)[:, None].eq(5)[:, 0]  # fewer than are kept
    keys = torch.rand(TOKENS, generator=generator, dtype=torch.float64).numpy()
    place = np.stack([np.arange(TOKENS), np.arange(TOKENS) % 2, np.full(TOKENS, 4)], 1)
    counts = Counts.empty(M)
    for start, stop in zip((0, *cuts), cuts, strict=False):
        part = slice(start, stop)
        counts.add_tokens(codes[0, part], codes[1, part], place[part], keys[part])
    strongest = codes.amax(0).numpy()
    for i in range(M):
        active = [t for t in range(TOKENS) if strongest[t, i] > 0]
        for kept, value, order, most in (
            (counts.top_place, counts.top_value, -strongest[:, i], TOP),
            (counts.sample_place, counts.sample_value, keys, SAMPLE),
        ):
            expected = sorted(active, key=lambda t, order=order: order[t])[:most]
            unused = most - len(expected)
            assert kept[i].tolist() == [*place[expected].tolist(), *[[-1] * 3] * unused]
            assert value[i].tolist() == [*strongest[expected, i].tolist(), *[0.0] * unused]


def test_keys_are_uniform_and_follow_from_seed_and_place_alone():
    place = np.stack(np.meshgrid(np.arange(40), [0, 1], np.arange(30)), -1).reshape(-1, 3)
    keys = diff._keys(place, 0)
    assert kstest(keys, "uniform").pvalue > 1e-4
    assert len(set(keys)) == len(place)
    assert np.array_equal(diff._keys(place[::-1], 0), keys[::-1])
    assert not np.isin(diff._keys(place, 1), keys).any()
