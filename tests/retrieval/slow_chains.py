"""Metrics of chains as they are written down, slowly: by networkx and by comparing all pairs."""

import networkx as nx

from workbench.retrieval.chain_metrics import ChainScores
from workbench.retrieval.chains import chain_of
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


def kendall(a, b):
    """By bubble sort: each exchange of neighbours is one pair in the other order."""
    ranks, exchanges = [a.index(fact) for fact in b], 0
    for _ in ranks:
        for i in range(len(ranks) - 1):
            if ranks[i] > ranks[i + 1]:
                ranks[i : i + 2] = ranks[i + 1], ranks[i]
                exchanges += 1
    pairs = len(ranks) * (len(ranks) - 1) / 2
    return 1 - 2 * exchanges / pairs if pairs else 1.0


def scored(gold, predicted, edges=None):
    chain = list(chain_of(gold))
    predicted = list(predicted)
    prefix = 0
    while prefix < len(chain) and chain[: prefix + 1] == predicted[: prefix + 1]:
        prefix += 1
    if edges is None:
        edges = [(u, v) for u, v in zip([ROOT, *predicted], predicted, strict=False)]
    exact = sorted(chain) == sorted(predicted)
    return ChainScores(
        *f1(set(chain), set(predicted)),
        exact=int(exact),
        chain_exact=int(chain == predicted),
        prefix=prefix / len(chain),
        order=kendall(chain, predicted) if exact else None,
        chain_f1=f1(paths(gold.edges), paths(edges))[2],
        excess=len(predicted) - len(chain),
    )


def step_accuracy(golds, predictions):
    out = []
    for j in range(max(len(chain_of(gold)) for gold in golds)):
        pairs = [(chain_of(g), tuple(p)) for g, p in zip(golds, predictions, strict=True)]
        asked = [(c, p) for c, p in pairs if len(c) > j and c[:j] == p[:j] and len(p) >= j]
        if not asked:
            return out
        right = [len(p) > j and c[j] == p[j] for c, p in asked]
        out.append((sum(right) / len(asked), len(asked)))
    return out
