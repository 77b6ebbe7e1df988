"""Metrics of chains as they are written down, slowly: by networkx and by all orders of reading."""

from itertools import permutations

import networkx as nx

from workbench.retrieval.chain_metrics import ChainScores
from workbench.retrieval.graphs import ROOT


def paths(edges):
    """The paths from the question to every leaf."""
    graph = nx.DiGraph(list(edges))
    graph.add_node(ROOT)
    leaves = [node for node in graph if node != ROOT and graph.out_degree(node) == 0]
    return {tuple(p) for leaf in leaves for p in nx.all_simple_paths(graph, ROOT, leaf)}


def f1(gold, predicted):
    precision = len(gold & predicted) / len(predicted) if predicted else 0.0
    recall = len(gold & predicted) / len(gold)
    both = precision + recall
    return precision, recall, 2 * precision * recall / both if both else 0.0


def orders(edges):
    """Every order of reading."""
    graph = nx.DiGraph([edge for edge in edges if edge[0] != ROOT])
    graph.add_nodes_from(v for _, v in edges)
    return [*map(tuple, nx.all_topological_sorts(graph))]


def kendall(edges, predicted):
    """Pair by pair of those between which there is a way."""
    graph = nx.DiGraph(list(edges))
    pairs = [(u, v) for u, v in permutations(predicted, 2) if nx.has_path(graph, u, v)]
    signs = [1 if predicted.index(u) < predicted.index(v) else -1 for u, v in pairs]
    return sum(signs) / len(signs) if signs else 1.0


def scored(gold, predicted, edges=None):
    chains, predicted = orders(gold.edges), tuple(predicted)
    starts = {chain[:i] for chain in chains for i in range(len(chain) + 1)}
    chain = chains[0]
    prefix = max(i for i in range(len(predicted) + 1) if predicted[:i] in starts)
    if edges is None:
        edges = [(u, v) for u, v in zip([ROOT, *predicted], predicted, strict=False)]
    exact = sorted(chain) == sorted(predicted)
    return ChainScores(
        *f1(set(chain), set(predicted)),
        exact=int(exact),
        chain_exact=int(predicted in chains),
        prefix=prefix / len(chain),
        order=kendall(gold.edges, predicted) if exact else None,
        chain_f1=f1(paths(gold.edges), paths(edges))[2],
        excess=len(predicted) - len(chain),
    )


def step_accuracy(golds, predictions):
    pairs = [(orders(g.edges), tuple(p)) for g, p in zip(golds, predictions, strict=True)]
    out = []
    for j in range(max(len(chains[0]) for chains, _ in pairs)):
        asked = [([c for c in chains if c[:j] == p[:j]], p) for chains, p in pairs]
        asked = [(chains, p) for chains, p in asked if chains and len(chains[0]) > j]
        if not asked:
            return out
        right = [any(c[: j + 1] == p[: j + 1] for c in chains) for chains, p in asked]
        out.append((sum(right) / len(asked), len(asked)))
    return out
