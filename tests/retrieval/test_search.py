"""Exact search: against a full sort, ties and all."""

import numpy as np
import pytest
import torch

from workbench.retrieval.search import top_k


def slow(queries, vectors, k):
    scores = queries.double() @ vectors.double().T
    return np.argsort(-scores.numpy(), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("chunk", [1, 3, 7, 50, 1000])
@pytest.mark.parametrize("k", [1, 5, 50])
def test_the_nearest_are_those_of_a_full_sort_whatever_the_chunk(chunk, k):
    torch.manual_seed(0)
    # Whole numbers: products are exact, and many are equal.
    vectors, queries = (torch.randint(-2, 3, (n, 4)).float() for n in (50, 6))
    scores, places = top_k(queries, vectors, k, chunk=chunk)
    assert places.numpy().tolist() == slow(queries, vectors, k).tolist()
    assert torch.equal(scores, (queries @ vectors.T).gather(1, places))


def test_a_memory_map_in_half_precision_is_read_in_the_dtype_of_the_queries(tmp_path):
    torch.manual_seed(1)
    vectors = torch.randn(300, 16).half()
    place = tmp_path / "vectors.npy"
    np.save(place, vectors.numpy())
    mapped = np.load(place, mmap_mode="r")
    queries = torch.randn(3, 16)
    scores, places = top_k(queries, mapped, 9, chunk=64)
    assert places.numpy().tolist() == slow(queries, vectors, 9).tolist()
    assert scores.dtype == torch.float32


@pytest.mark.parametrize("k", [0, 4, True, 2.0])
def test_k_is_one_of_the_vectors(k):
    with pytest.raises(ValueError, match="k="):
        top_k(torch.ones(1, 2), torch.ones(3, 2), k)


@pytest.mark.parametrize("shape", [(2,), (1, 3), (1, 2, 2)])
def test_queries_have_the_width_of_the_vectors(shape):
    with pytest.raises(ValueError, match="one width"):
        top_k(torch.ones(shape), torch.ones(3, 2), 1)
