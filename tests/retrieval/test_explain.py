"""Explanations: graphs against networkx, words against the slow way, exports read back."""

import json
import math
import random
import re
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import workbench as wb
from tests.helpers.encoder_toys import WORDS, save_bert
from workbench.errors import GraphError
from workbench.retrieval import growing
from workbench.retrieval.graphs import ROOT, checked
from workbench.retrieval.growing import grown, shortlist
from workbench.retrieval.lexical import Bm25, words
from workbench.retrieval.nearest import Nearest
from workbench.retrieval.steps import Step, follow

FACTS = ["mend the gate", "a hammer", "old Mara", "her bone", "look at Mara", "mend the gate"]
CHAIN = [(ROOT, 0, 0.9), (0, 2, 0.8), (ROOT, 3, 0.4), (3, 2, 0.7)]


nodes_ = st.integers(0, 4)
EDGES = st.dictionaries(
    st.tuples(st.integers(-1, 4), nodes_).filter(lambda e: e[0] != e[1]),
    st.sampled_from([0.1, 0.3, 0.5, 0.9]), max_size=14,
)  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return wb.load_encoder(save_bert(tmp_path_factory.mktemp("bert")), device="cpu")


class Bags:
    """An encoder by sums of random word vectors: cosines far from one another, counted."""

    width = 16

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.vectors = {word: torch.randn(16, generator=generator) for word in WORDS}
        self.texts = []

    def encode(self, texts):
        self.texts += texts
        sums = [sum(self.vectors[word] for word in text.split()) for text in texts]
        return torch.nn.functional.normalize(torch.stack(sums), dim=1)


def shared(question, facts):
    """Facts by the words that they share with the question, as a star."""
    asked = set(words(question))
    shares = [len(asked & set(words(fact))) / len(words(fact)) for fact in facts]
    return [(ROOT, v, share) for v, share in enumerate(shares) if share]


def slow(nearest, question, facts):
    """The documented rule, one query and one fact at a time."""
    edges, read, level = {}, set(), [((), 1.0)]
    for hop in range(nearest.hops):
        new = {}
        for path, weight in level:
            query = nearest.encoder.encode([" ".join([question, *(facts[v] for v in path)])])[0]
            left = [v for v in range(len(facts)) if v not in read]
            cosines = [(query @ nearest.encoder.encode([facts[v]])[0]).item() for v in left]
            values = [round(c, 5) / nearest.temperature for c in cosines]
            top = max([*values, (nearest.end + nearest.rise * hop) / nearest.temperature])
            exps = [torch.tensor(x - top).double().exp().item() for x in values]
            stop = (nearest.end + nearest.rise * hop) / nearest.temperature - top
            total = sum(sorted(exps)[-5:]) + torch.tensor(stop).double().exp().item()
            ordered = sorted(
                zip(exps, left, strict=True), key=lambda row: (-round(row[0] / total, 5), row[1])
            )[:5]
            for e, v in ordered:
                if e / total * weight >= nearest.least:
                    edges[path[-1] if path else ROOT, v] = e / total
                    if v not in new or e / total * weight > new[v][1]:
                        new[v] = ((*path, v), e / total * weight)
        read |= {*new}
        level = sorted(new.values(), key=lambda row: -row[1])[:5]
        if not level:
            break
    return edges


@pytest.mark.parametrize("seed", range(8))
def test_nearest_reads_by_its_rule(seed):
    rng = random.Random(seed)
    facts = sorted({" ".join(rng.choices(WORDS, k=rng.randint(2, 7))) for _ in range(9)})
    nearest = Nearest(Bags(), temperature=0.2, end=0.3, rise=0.05, least=0.04, hops=3)
    edges = nearest("mend the old gate", facts)
    expected = slow(nearest, "mend the old gate", facts)
    assert {(u, v) for u, v, _ in edges} == set(expected)
    assert len({u for u, _, _ in edges}) > 1
    for u, v, p in edges:
        assert p == pytest.approx(expected[u, v], abs=1e-4)


def test_facts_are_encoded_once():
    bags = Bags()
    nearest = Nearest(bags, hops=1)
    first = nearest("old Mara", FACTS)
    assert bags.texts == [*FACTS[:5], "old Mara"]
    assert nearest("old Mara", FACTS) == first
    assert bags.texts[6:] == ["old Mara"]
    others = ["her gate", *FACTS[::-1]]
    everything = {"end": -1.0, "least": 0.0, "temperature": 1.0, "hops": 1}
    fresh = Nearest(Bags(), **everything)("mend her gate", others)
    nearest = Nearest(bags, **everything)
    nearest("old Mara", FACTS)
    del bags.texts[:]
    assert nearest("mend her gate", others) == fresh
    assert len(fresh) == 5
    assert sorted(bags.texts) == ["her gate", "mend her gate"]


def test_facts_asked_for_meanwhile_are_not_taken_for_ones_own():
    class Interrupted(str):
        """While it is compared, another thread asks for other facts."""

        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other):
            if others:
                nearest("mend her gate", others.pop())
            return str(self) == str(other)

    others = []
    nearest = Nearest(Bags(), end=-1.0, least=0.0, temperature=1.0, hops=1)
    first = nearest("old Mara", FACTS[:5])
    others += [["her hammer", "look at her", "old gate", "old hammer", "her hammer gate"]]
    assert nearest("old Mara", [*map(Interrupted, FACTS[:5])]) == first
    assert not others


def test_many_facts_that_are_worded_alike_do_not_hide_each_other():
    alike = [*dict.fromkeys(f"mend the gate {a} {b}" for a in WORDS for b in WORDS)]
    edges = Nearest(Bags(), temperature=0.5, end=0.2, hops=1)("mend the gate", alike)
    assert len(alike) > 30
    assert len(edges) == 5
    assert 0.5 < sum(p for *_, p in edges) < 1


def test_what_an_earlier_hop_has_read_is_not_read_again():
    facts = [f"{word} gate" for word in WORDS[3:9]]
    nearest = Nearest(Bags(), end=-1.0, rise=0.0, least=0.0, hops=2)
    first = [v for u, v, _ in nearest("mend the gate", facts) if u == ROOT]
    later = [v for u, v, _ in nearest("mend the gate", facts) if u != ROOT]
    assert len(first) == 5
    assert set(later) == set(range(6)) - set(first)


def test_reading_ends_where_nothing_stands_out():
    facts, bags = ["mend the gate", "old Mara"], Bags()
    assert Nearest(bags, end=1.0)("a hammer", facts) == []
    everything = Nearest(bags, end=-1.0, rise=0.0, least=0.0, hops=9)("a hammer", facts)
    assert {v for _, v, _ in everything} == {0, 1}
    ((_, _, p),) = Nearest(bags, end=-1.0)("old Mara", ["old Mara"])
    assert p == 1.0
    # An end at the fact's own cosine is as probable as the fact.
    assert Nearest(bags, end=1.0)("old Mara", ["old Mara"]) == [(ROOT, 0, 0.5)]


def test_words_add_up_to_the_cosine(encoder):
    way, fact = ["mend the gate", "with  old Mara"], "her bone"
    parts = Nearest(encoder).words(way, fact)
    assert [word for word, _ in parts] == ["mend", "the", "gate", "with", "old", "Mara", ""]
    query, vector = encoder.encode([" ".join(way)])[0], encoder.encode([fact])[0]
    assert sum(x for _, x in parts) == pytest.approx((query @ vector).item(), abs=1e-5)
    # Token by token: [CLS], a word each, [SEP].
    states = encoder.states([" ".join(way)])[0]
    slowly = [(state @ vector / states.sum(0).norm()).item() for state in states]
    assert [x for _, x in parts[:-1]] == pytest.approx(slowly[1:-1], abs=1e-5)


@pytest.mark.parametrize(
    "given_", [{"temperature": 0}, {"end": 2}, {"least": -1}, {"hops": 0}, {"rise": -0.1}]
)
def test_numbers_out_of_range_are_refused(encoder, given_):
    with pytest.raises(ValueError, match=next(iter(given_))):
        Nearest(encoder, **given_)


def test_an_explanation_is_read_and_exported():
    asked = []

    def retriever(question, facts):
        asked.append(list(facts))
        return CHAIN if len(facts) == 5 else shared(question, facts)

    got = wb.explain("Who mends *it*?", FACTS, retriever)
    assert asked == [FACTS[:5]]
    assert got.note == "repeated facts: 1"
    assert got.order == [0, 3, 2]
    assert got.leaves == [2]
    assert got.answer == "old Mara"
    assert got.path(2) == (0, 2)
    assert got.edges == ((ROOT, 0, 0.9), (0, 2, 0.8), (ROOT, 3, 0.4), (3, 2, 0.7))
    back = nx.parse_graphml(got.graphml())
    ends = {(u, v): data["probability"] for u, v, data in back.edges(data=True)}
    assert ends == {("Q", "0"): 0.9, ("0", "2"): 0.8, ("Q", "3"): 0.4, ("3", "2"): 0.7}
    assert back.nodes["2"]["text"] == "old Mara"
    plain = json.loads(json.dumps(got.as_dict(), allow_nan=False))
    assert plain["edges"] == [list(edge) for edge in got.edges]
    assert set(plain["words"]) == {"-1 0", "0 2", "-1 3", "3 2"}
    text = got.markdown().splitlines()
    assert text[0] == r"**Who mends \*it\*?**"
    assert text[2].startswith("- **0** mend the gate — after the question (0.90)")
    assert text[4].startswith("- **2** old Mara — after 0 (0.80), 3 (0.70)")
    assert "**Answer** old Mara (by 2)" in text
    with pytest.raises(ValueError, match="no edge"):
        got.words((0, 3))
    with pytest.raises(ValueError, match="fact 4 is not in the graph"):
        got.path(4)


def test_what_a_fact_does_is_seen_without_it():
    full = wb.explain("mend a gate", FACTS, shared)
    assert [v for _, v, _ in full.edges] == [0, 1]
    less = full.without(0)  # its repetition takes its place
    assert [v for _, v, _ in less.edges] == [5, 1]
    assert less.without(5).edges == ((ROOT, 1, 0.5),)
    assert less.facts == full.facts
    assert less.without(5).removed == (0, 5)
    # "gate" out of the question: of two words in three shared one is left.
    assert dict(full.words((ROOT, 0)))["gate"] == pytest.approx(1 / 3)
    assert dict(full.words((ROOT, 0)))["a"] == pytest.approx(0)
    assert dict(full.words((ROOT, 1))) == pytest.approx({"mend": 0, "a": 0.5, "gate": 0})
    with pytest.raises(ValueError, match="no fact is left"):
        wb.explain("gate", ["a gate"], shared).without(0)
    with pytest.raises(ValueError, match="fact="):
        full.without(6)


def test_the_answer_is_the_leaf_with_the_most_probable_way():
    edges = [(ROOT, 0, 0.9), (0, 1, 0.4), (0, 2, 0.8), (ROOT, 3, 0.7)]
    got = wb.explain("Who?", FACTS, lambda *_: edges)
    assert got.leaves == [2, 3, 1]  # .72, .7, .36
    assert got.answer == FACTS[2]
    assert got.markdown().endswith("(by 2)\n\nrepeated facts: 1")


def test_a_path_is_the_most_probable_whole_way():
    # The last edge from 1 is the likelier one, the way by 0 is: .9 · .5 above .3 · .6.
    edges = [(ROOT, 0, 0.9), (ROOT, 1, 0.3), (0, 2, 0.5), (1, 2, 0.6), (ROOT, 3, 0.4)]
    asked = []

    def retriever(question, facts):
        return edges

    retriever.words = lambda way, fact: asked.append(way) or [(way[-1], 1.0)]
    got = wb.explain("Who?", FACTS, retriever)
    assert got.path(2) == (0, 2)
    assert got.leaves == [2, 3]
    assert "after 0 (0.50), 1 (0.60), mend the gate +1.00" in got.markdown()
    assert asked[-1] == ["Who?", "mend the gate"]


@given(EDGES)
def test_paths_are_those_of_all_that_multiply_to_most(edges):
    got = wb.explain("Who?", FACTS[:5], lambda *_: [(u, v, p) for (u, v), p in edges.items()])
    known = {(u, v): p for u, v, p in got.edges}
    graph = nx.DiGraph([*known, (ROOT, "end")])
    for fact in got.order:
        ways = nx.all_simple_paths(graph, ROOT, fact)
        odds = [math.prod(known[edge] for edge in pairwise(way)) for way in ways]
        own = math.prod(known[edge] for edge in pairwise((ROOT, *got.path(fact))))
        assert own == pytest.approx(max(odds))


def test_the_answer_is_the_readers_or_nothing():
    got = wb.explain("mend a gate", FACTS, shared, reader=lambda q, facts: f"{q}: {len(facts)}")
    assert got.answer == "mend a gate: 2"
    none = wb.explain("nothing", FACTS, shared, reader=lambda *_: "made up")
    assert (none.answer, none.edges, none.order, none.leaves) == ("", (), [], [])
    assert "Nothing was found." in none.markdown()
    assert nx.parse_graphml(none.graphml()).number_of_nodes() == 1
    with pytest.raises(ValueError, match="the reader gave 3"):
        wb.explain("mend a gate", FACTS, shared, reader=lambda *_: 3)


def test_odd_texts_are_exported_whole():
    facts = ["<b>a</b> | `gate` \x00\x1b # _x_\nsecond", "é 世界 ]]>"]
    got = wb.explain("a 世界 gate", facts, shared)
    texts = {data["text"] for _, data in nx.parse_graphml(got.graphml()).nodes(data=True)}
    assert "<b>a</b> | `gate` \ufffd\ufffd # _x_\nsecond" in texts
    assert "<b>" not in got.markdown()
    assert r"&lt;b&gt;a&lt;/b&gt; \| \`gate\`" in got.markdown()
    # Escaped or not, notebooks would set $…$ and \(…\) as mathematics.
    priced = wb.explain("gate", [r"gate: $5 and $6 \(x\)"], shared).markdown()
    assert not set("\\$") & set(re.sub(r"\\[^\\$]", "", priced))
    assert priced.count("&#36;") == priced.count("&#92;") == 4
    assert json.loads(json.dumps(got.as_dict()))["facts"] == facts


@pytest.mark.parametrize(
    ("edges", "why"),
    [([(ROOT, 9, 0.5)], "to=9"), ([(0, 0, 0.5)], "itself"), ([(-2, 0, 0.5)], "from=-2"),
     ([(ROOT, 0, float("nan"))], "probability"), ([(ROOT, 0, 1.5)], "probability"),
     ([(ROOT, 0)], "unpack"), ([(ROOT, 0, 0.5), (ROOT, 0, 0.6)], "twice"), ([7], "7"),
     ([(ROOT, True, 0.5)], "True")],
)  # fmt: skip
def test_edges_that_are_none_are_refused(edges, why):
    with pytest.raises(GraphError, match=why):
        wb.explain("gate", FACTS, lambda *_: edges)


@pytest.mark.parametrize(
    ("question", "facts", "why"),
    [(" ", FACTS, "question"), ("gate", [], "no facts"), ("gate", ["a", " "], r"facts\[1\]"),
     ("gate", "a gate", "not one string"), (3, FACTS, "question"), ("gate", ["a", None], "facts"),
     ("gate", {"a", "b"}, "facts is a set"), ("gate", ["a", "b \ud800"], r"facts\[1\].*surrogate")],
)  # fmt: skip
def test_what_is_no_question_or_fact_is_refused(question, facts, why):
    with pytest.raises(ValueError, match=why):
        wb.explain(question, facts, shared)


def test_what_is_no_retriever_or_reader_is_refused():
    asked = []
    for wrong in ("minilm", [], 7):
        with pytest.raises(ValueError, match=r"retriever=.*function"):
            wb.explain("gate", FACTS, wrong)
        with pytest.raises(ValueError, match=r"reader=.*function"):
            wb.explain("gate", FACTS, lambda *_: asked.append(1), reader=wrong)
    assert not asked
    for nothing in (None, {(ROOT, 0): 0.5}, "edges"):
        with pytest.raises(ValueError, match="the retriever's edges"):
            wb.explain("gate", FACTS, lambda *_, edges=nothing: edges)
    assert wb.explain("gate", FACTS, lambda *_: (e for e in CHAIN)).edges[0] == CHAIN[0]


@given(EDGES)
def test_a_graph_grows_without_circles_to_all_that_can_be_reached(edges):
    chosen, lost = grown([(u, v, p) for (u, v), p in edges.items()], 5)
    assert len(chosen) + lost == len(edges)
    assert {(u, v): p for u, v, p in chosen}.items() <= edges.items()
    assert len({edge[:2] for edge in chosen}) == len(chosen)
    whole = nx.DiGraph([*edges, (ROOT, "end")])
    reached = nx.descendants(whole, ROOT) - {"end"}
    assert {v for _, v, _ in chosen} == reached
    if chosen:
        checked([edge[:2] for edge in chosen], 5, "grown")
    if nx.is_directed_acyclic_graph(whole):
        assert lost == sum(u not in {ROOT, *reached} for u, _ in edges)
    # One more would close a circle, or start from nowhere.
    part = nx.DiGraph([edge[:2] for edge in chosen])
    for u, v in edges.keys() - {edge[:2] for edge in chosen}:
        assert u not in {ROOT, *reached} or nx.has_path(part, v, u)


def test_the_more_probable_edge_of_a_circle_stays():
    edges = [(ROOT, 0, 0.9), (ROOT, 1, 0.2), (0, 1, 0.3), (1, 0, 0.8)]
    assert grown(edges, 2) == ([(ROOT, 0, 0.9), (0, 1, 0.3), (ROOT, 1, 0.2)], 1)


def test_many_facts_are_brought_down_to_the_nearest(monkeypatch):
    rng = random.Random(0)
    facts = [f"thing {i} is {rng.choice('abcdefgh')}{i % 7}" for i in range(300)]
    facts[250], facts[77] = "the mill was built by Ada", "Ada was born at Oon"
    asked = "Where was the builder of the mill born?"
    chosen = shortlist(asked, facts, 20)
    assert len(set(chosen)) == 20
    assert chosen == sorted(chosen)
    assert {250, 77} <= {*chosen}
    scores = Bm25(facts).scores(asked)
    assert {*sorted(range(300), key=lambda i: (-scores[i], i))[:5]} <= {*chosen}
    assert shortlist(asked, facts[:7], 20) == [*range(7)]
    monkeypatch.setattr(growing, "OPEN", 299)
    monkeypatch.setattr(growing, "SHORT", 20)
    given_ = []
    got = wb.explain(asked, facts, lambda q, f: given_.append(f) or shared(q, f))
    assert given_ == [[facts[i] for i in chosen]]
    assert "of 300 facts the 20 nearest" in got.note
    assert 250 in got.order
    strange = wb.explain("¿Quién?", facts, shared)
    assert (
        strange.note
        == "of 300 facts the 20 first, as none shares a word with the question, were read"
    )
    monkeypatch.setattr(growing, "OPEN", 300)
    assert not wb.explain(asked, facts, shared).note


def hops(question, facts, read):
    """The next fact shares a word with what was read; the question's own words count half."""
    last = set(words(facts[read[-1]] if read else question))
    asked = set(words(question))
    odds = [(len(last & {*words(f)}) + len(asked & {*words(f)}) / 2) / 9 for f in facts]
    odds = [0.0 if v in read else min(p, 1.0) for v, p in enumerate(odds)]
    return Step(np.array(odds), 0.05)


def test_a_chain_is_explained_and_exported():
    facts = ["her bone", "look at Mara", "mend the gate", "mend the gate", "gate by Mara"]
    got = wb.explain("mend it", facts, hops, beam=1)
    assert got.chain == (2, 4, 1)
    assert got.order == [2, 4, 1]
    assert [round(p, 3) for _, _, p in got.edges] == [0.167, 0.111, 0.111]
    assert (got.stop, got.answer, got.note) == (0.05, "look at Mara", "repeated facts: 1")
    text = got.markdown()
    assert "**Chain** 2→4→1 (ends there: 0.05)" in text
    assert "- **4** gate by Mara — after 2 (0.11)" in text
    assert "**Answer** look at Mara (by 1)" in text
    plain = json.loads(json.dumps(got.as_dict(), allow_nan=False))
    assert (plain["chain"], plain["stop"]) == ([2, 4, 1], 0.05)


def test_a_chain_is_read_again_without_a_fact():
    facts = ["her bone", "look at Mara", "mend the gate", "gate by Mara", "the gate", "at bone"]
    full = wb.explain("mend it", facts, hops, beam=1)
    assert full.chain == (2, 4, 3, 1, 5, 0)
    less = full.without(4)
    assert less.chain == (2, 3, 1, 5, 0)
    assert less.removed == (4,)
    assert less.without(2).chain == ()
    assert "Nothing was found." in less.without(2).markdown()
    assert "**Chain** –" in less.without(2).markdown()
    # Without "mend" the first hop shares no word, the later ones hang on the last fact alone.
    assert dict(full.words((ROOT, 2))) == pytest.approx({"mend": 1.5 / 9, "it": 0}, abs=1e-5)
    assert dict(less.words((2, 3))) == pytest.approx({"mend": 0, "it": 0}, abs=1e-5)
    longer = wb.explain("mend it", facts, hops, beam=1, most=2)
    assert longer.chain == (2, 4)


def test_a_beam_finds_what_one_chain_misses():
    def stepper(question, facts, read):
        odds = {(): [0.5, 0.4, 0.0], (0,): [0.0, 0.1, 0.1], (1,): [0.0, 0.0, 0.9]}
        return Step(np.array(odds.get(tuple(read), [0.0] * 3)), 0.9 if len(read) > 1 else 0.05)

    facts = ["a", "b", "c"]
    assert wb.explain("q", facts, stepper, beam=1).chain == (0, 1)
    assert wb.explain("q", facts, stepper, beam=2).chain == (1, 2)


def test_a_chain_is_a_graph_that_does_not_branch():
    shapes = {
        (): (),
        ((ROOT, 3, 0.5),): (3,),
        ((ROOT, 1, 0.9), (1, 0, 0.8)): (1, 0),
        ((ROOT, 1, 0.9), (ROOT, 0, 0.8)): (),
        ((ROOT, 1, 0.9), (1, 0, 0.8), (ROOT, 0, 0.1)): (),
    }
    for edges, chain in shapes.items():
        assert wb.explain("q", FACTS, lambda *_, e=edges: list(e)).chain == chain


def test_nearest_reads_a_chain(encoder):
    nearest = Nearest(encoder, end=-1.0)
    got = wb.explain("mend the gate", FACTS[:5], nearest, beam=2, most=3)
    assert got.chain == follow(nearest.step, "mend the gate", FACTS[:5], beam=2, most=3)[0].facts
    assert got.words((ROOT, got.chain[0])) == nearest.words(["mend the gate"], FACTS[got.chain[0]])


@pytest.mark.parametrize(
    ("retriever", "given_", "why"),
    [(hops, {"beam": 0}, "beam=0.*at least 1"), (hops, {"beam": 1, "most": 0}, "most=0.*at least"),
     (shared, {"most": 3}, "most=3 is of chains: give a beam"),
     (shared, {"most": 0}, "most=0 is of chains"),
     (shared, {"beam": 2}, "function of 3 arguments, with a beam"),
     (hops, {}, "function of 2 arguments, without a beam"),
     (lambda q, f, r: 3, {"beam": 1}, "a Step")],
    ids=["beam", "most", "no beam", "neither", "graph", "stepper", "no step"],
)  # fmt: skip
def test_what_reads_no_chain_is_refused(retriever, given_, why):
    with pytest.raises(ValueError, match=why):
        wb.explain("gate", FACTS, retriever, **given_)
