"""Chains: one order of reading for every graph, and files of chains with all that ails them."""

import json
import random
from dataclasses import replace

import networkx as nx
import pytest

from tests.retrieval.graph_cases import random_edges
from workbench.errors import DatasetError, GraphError
from workbench.retrieval.chains import chain_of, depth_first, read_chains
from workbench.retrieval.evidence_files import read_evidence, write_evidence, write_official
from workbench.retrieval.graphs import ROOT, Evidence, checked_chain

FACTS = [f"Fact {i} is told." for i in range(9)]


def slow_depth_first(edges):
    """By recursion over networkx: a fact as soon as all that lead to it are read."""
    graph, order = nx.DiGraph(edges), []

    def read(node):
        order.append(node)
        ready = [v for v in sorted(graph[node]) if set(graph.predecessors(v)) <= set(order)]
        for v in ready:
            read(v)

    read(ROOT)
    return tuple(order[1:])


def test_depth_first_is_a_chain_that_follows_each_branch_to_its_end():
    rng = random.Random(2)
    for _ in range(300):
        edges = random_edges(rng, rng.randint(1, 7))
        order = depth_first(edges)
        assert order == slow_depth_first(edges) == checked_chain(order, edges, "q")
        shuffled = rng.sample(edges, len(edges))
        assert depth_first(shuffled + shuffled[:1]) == order


def test_two_branches_and_a_join():
    assert depth_first([(ROOT, 5), (5, 2), (ROOT, 3), (3, 4)]) == (3, 4, 5, 2)
    assert depth_first([(ROOT, 5), (5, 2), (ROOT, 3), (3, 2), (2, 0)]) == (3, 5, 2, 0)
    assert depth_first([(u, u + 1) for u in range(-1, 3000)]) == tuple(range(3001))


def test_the_chain_of_a_program_goes_before():
    question = Evidence("q", "?", tuple(FACTS), ((ROOT, 3), (ROOT, 5)))
    assert chain_of(question) == (3, 5)
    assert chain_of(replace(question, chain=(5, 3))) == (5, 3)


def row(**changes):
    made = {"question": "Where?", "facts": FACTS, "edges": [[-1, 4], [4, 1], [1, 7]]} | changes
    return {name: value for name, value in made.items() if value != "drop"}


def link(text, before=(), after=()):
    return {"facts": text, "relation": {"before": list(before), "after": list(after)}}


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "chains.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return path

    return write


def test_a_chain_alone_gives_its_edges(file):
    path = file(row(edges="drop", chain=[4, 1, 7]), row())
    alone, whole = read_chains(path)
    assert alone.chain == whole.chain == (4, 1, 7)
    assert alone.edges == whole.edges
    assert read_evidence(path)[0].edges == whole.edges


def test_the_order_of_entries_is_not_the_chain(file):
    """In the official form it is what `before` and `after` say, in every order of the entries."""
    a, b, c = (FACTS[i] for i in (4, 1, 7))
    links = [link(c, before=[b]), link(a, after=[b]), link(b, before=[a], after=[c])]
    rows = [{"question": "Where?", "fact": FACTS, "order_true_fact": links[i:] + links[:i]}
            for i in range(3)]  # fmt: skip
    assert [question.chain for question in read_chains(file(*rows))] == [(4, 1, 7)] * 3


def test_a_fact_that_reads_like_an_end_is_a_fact_like_any_other(file, tmp_path):
    told = [*FACTS[:4], "<eos>", *FACTS[5:]]
    (question,) = read_chains(file(row(facts=told)))
    assert question.chain == (4, 1, 7)
    for write, name in ((write_evidence, "ours.jsonl"), (write_official, "theirs.json")):
        write(tmp_path / name, [question])
        (back,) = read_chains(tmp_path / name)
        assert (back.facts, back.chain) == (question.facts, question.chain)


BRANCHING = [
    ({"edges": [[-1, 4], [4, 1], [4, 7]]}, r"row 1: fact 4 leads to facts 1, 7: this is a graph; "
     r"use the graph view \(read_evidence\), or linearise=True"),
    ({"edges": [[-1, 4], [-1, 2], [2, 1], [2, 3]]}, "row 1: the question leads to facts 2, 4: "),
    ({"edges": [[-1, 4], [-1, 2]], "chain": [4, 2]}, "this is a graph"),
]  # fmt: skip
NO_CHAIN = [
    ({"edges": []}, "row 1: no edges"),
    ({"edges": "drop", "chain": []}, "row 1: chain is empty"),
    ({"edges": "drop", "chain": [4, 9]}, r"row 1: chain\[1\]=9: .*at most 8"),
    ({"edges": "drop", "chain": [4, -1]}, r"row 1: chain\[1\]=-1: .*at least 0"),
    ({"edges": "drop", "chain": [4, 1, 4]}, "row 1: chain: 4 is there twice"),
    ({"edges": "drop", "chain": [0, 1], "facts": ["a gate"] * 2}, "row 1: chain: 'a gate' is"),
    ({"edges": "drop", "chain": ["4"]}, r"row 1: chain\[0\]='4'"),
    ({"edges": "drop", "chain": [4, True]}, r"row 1: chain\[1\]=True"),
    ({"edges": "drop", "chain": 4}, "row 1: chain=4: it must be a list"),
    ({"edges": "drop", "chain": "41"}, "row 1: chain must be a list"),
    ({"edges": "drop", "chain": None}, "row 1: no field 'edges'"),
    ({"edges": "drop", "chain": [4], "facts": []}, "row 1: field 'facts' is"),
    ({"edges": "drop", "chain": [*range(8)]}, "row 1: 8 facts on a path; at most 7"),
]


@pytest.mark.parametrize(("changes", "message"), BRANCHING + NO_CHAIN)
def test_what_is_no_chain_is_named_or_left_out(file, changes, message, caplog):
    path = file(row(), row(**changes), row())
    with pytest.raises(DatasetError, match=message):
        read_chains(path)
    assert [question.id for question in read_chains(path, strict=False)] == ["0", "2"]
    assert "1 questions left out, the first" in caplog.text


@pytest.mark.parametrize(("changes", "_"), BRANCHING)
def test_what_branches_may_be_read_in_line(file, changes, _):
    (question,) = read_chains(file(row(**changes)), linearise=True)
    assert question.chain == tuple(changes.get("chain") or depth_first(question.edges))


def test_what_is_left_out_is_counted_by_reason(file, caplog):
    long = {"edges": "drop", "chain": [*range(8)]}
    rows = [row(), row(**long), row(**long), row(edges=[]), row(question=3),
            row(edges=[[-1, 4], [-1, 2]])]  # fmt: skip
    assert len(read_chains(file(*rows), strict=False)) == 1
    reasons = "2 are deeper than 7, 1 are no graph, 1 cannot be read, 1 branch"
    assert f"of the questions {reasons}" in caplog.text
    assert len(read_chains(file(row(**long)), max_depth=8)[0].chain) == 8


def test_depth_counts_the_longest_path_also_in_line(file):
    wide = row(edges=[[-1, i] for i in range(9)])
    assert read_chains(file(wide), linearise=True)[0].chain == (*range(9),)
    with pytest.raises(GraphError, match="3 facts on a path; at most 2"):
        read_chains(file(row()), max_depth=2)
    with pytest.raises(ValueError, match="max_depth=0"):
        read_chains("nowhere", max_depth=0)
