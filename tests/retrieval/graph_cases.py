"""Random graphs of evidence, as every test of them draws them."""

import random

from workbench.retrieval.graphs import ROOT, Edge


def random_edges(rng: random.Random, count: int, share: float = 0.3) -> list[Edge]:
    """A graph of `count` facts that the question leads to, places in no order of reading."""
    places = rng.sample(range(2 * count), count)
    edges = set()
    for i, node in enumerate(places):
        before = [ROOT, *places[:i]]
        chosen = [u for u in before if rng.random() < share] or [rng.choice(before)]
        edges |= {(u, node) for u in chosen}
    return sorted(edges)
