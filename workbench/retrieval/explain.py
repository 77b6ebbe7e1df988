"""explain(): which facts answer a question, as a graph; why each was read; what follows."""

import heapq
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import networkx as nx

from workbench import arguments
from workbench.errors import GraphError
from workbench.models.encoders import load_encoder
from workbench.retrieval.graphs import ROOT, Edge, ScoredEdge, reading_order
from workbench.retrieval.lexical import Bm25, ranked, texts
from workbench.retrieval.nearest import Nearest

Retriever = Callable[[str, Sequence[str]], Sequence[ScoredEdge]]
"""(question, facts) → edges (from, to, probability). It may have `words`, as `Nearest` has."""
Reader = Callable[[str, Sequence[str]], str]
"""(question, facts in reading order) → an answer."""
OPEN, SHORT = 2000, 200
"""More facts than `OPEN` are brought down to `SHORT` before a retriever sees them."""
_MARKS = re.compile(r"[\\`*_{}\[\]()#+!|~$-]")
_SPANNED = {mark: f'<span class="mathjax_ignore">&#{ord(mark)};</span>' for mark in "\\$"}
_UNPRINTED = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Explanation:
    """A question, its `facts` (all, by place), and the `edges` among them with probabilities.

    `edges` are in the order in which they were found from the question on; none: nothing was
    found. `answer`: what the reader says, else the text of the first leaf, and empty without edges.
    `note`: what of the facts or edges was left out, and why. `removed`: facts that `without` took.
    """

    question: str
    facts: tuple[str, ...]
    edges: tuple[ScoredEdge, ...]
    answer: str
    note: str = ""
    removed: tuple[int, ...] = ()
    retriever: Retriever | None = field(default=None, repr=False, compare=False)
    reader: Reader | None = field(default=None, repr=False, compare=False)

    @property
    def order(self) -> list[int]:
        """The places of the facts that are read, in reading order."""
        return reading_order([(u, v) for u, v, _ in self.edges])

    @property
    def leaves(self) -> list[int]:
        """The facts that nothing is read after; that with the most probable `path` first."""
        ways = self._ways()
        ends = {v for _, v, _ in self.edges} - {u for u, _, _ in self.edges}
        return sorted(ends, key=lambda v: (-round(ways[v][0], 5), v))

    def path(self, fact: int) -> tuple[int, ...]:
        """The facts on the most probable way to one, itself the last.

        Raises `ValueError` for a fact that is not read.
        """
        ways = self._ways()
        if fact not in ways:
            raise ValueError(f"fact {fact!r:.60} is not in the graph; it has {self.order}")
        return ways[fact][1]

    def _ways(self) -> dict[int, tuple[float, tuple[int, ...]]]:
        """Fact → (the product of the probabilities on its most probable way, that way)."""
        ways: dict[int, tuple[float, tuple[int, ...]]] = {ROOT: (1.0, ())}
        for fact in self.order:
            into = [(ways[u][0] * p, ways[u][1]) for u, v, p in self.edges if v == fact]
            odds, way = min(into, key=lambda end: (-round(end[0], 9), end[1]))
            ways[fact] = odds, (*way, fact)
        return ways

    def words(self, edge: Edge) -> list[tuple[str, float]]:
        """The words that an edge hangs on, each with what it adds.

        By the retriever's own `words` where it has them (of `Nearest` parts of the cosine, which
        add up to it), else by how far the probability falls without a word of the question.
        Raises `ValueError` for an edge that is not there.
        """
        known = {(u, v): p for u, v, p in self.edges}
        if tuple(edge) not in known:
            raise ValueError(f"no edge {tuple(edge)}; there are {sorted(known)}"[:200])
        u, v = edge
        if own := getattr(self.retriever, "words", None):
            before = () if u == ROOT else self.path(u)
            return own([self.question, *(self.facts[i] for i in before)], self.facts[v])
        parts = self.question.split()
        if self.retriever is None or len(parts) < 2:
            return []
        changes = []
        for i, part in enumerate(parts):
            asked = " ".join(parts[:i] + parts[i + 1 :])
            edges, _ = _retrieved(asked, self.facts, self.removed, self.retriever)
            still = sum(p for *ends, p in edges if ends == [u, v])
            changes.append((part, known[u, v] - still))
        return changes

    def without(self, fact: int) -> "Explanation":
        """The explanation if a fact were not known; facts keep their places.

        Raises `ValueError` for no place of a fact, the last one, or without a retriever.
        """
        arguments.whole("fact", fact, 0, len(self.facts) - 1)
        if self.retriever is None:
            raise ValueError("this explanation holds no retriever that could read again")
        removed = tuple(sorted({*self.removed, fact}))
        return _explained(self.question, self.facts, removed, self.retriever, self.reader)

    def as_dict(self) -> dict[str, Any]:
        """All of it as plain values that JSON has words for."""
        return {
            "question": self.question,
            "answer": self.answer,
            "edges": [[u, v, p] for u, v, p in self.edges],
            "facts": list(self.facts),
            "removed": list(self.removed),
            "note": self.note,
            "words": {f"{u} {v}": [[word, round(x, 5)] for word, x in self.words((u, v))]
                      for u, v, _ in self.edges},
        }  # fmt: skip

    def markdown(self) -> str:
        """The facts in reading order, by number, with what each follows and the words behind it."""
        lines = [f"**{_plain(self.question)}**", ""]
        for v in self.order:
            into = [(u, p) for u, end, p in self.edges if end == v]
            after = ", ".join(f"{'the question' if u < 0 else u} ({p:.2f})" for u, p in into)
            best = (ROOT, *self.path(v))[-2]
            parts = sorted((w for w in self.words((best, v)) if w[0] and w[1] > 0),
                           key=lambda w: -w[1])[:3]  # fmt: skip
            why = "".join(f", {_plain(word)} {x:+.2f}" for word, x in parts)
            lines.append(f"- **{v}** {_plain(self.facts[v])} — after {after}{why}")
        cited = ", ".join(map(str, self.leaves if self.reader else self.leaves[:1]))
        lines += ["" if self.edges else "Nothing was found.", f"**Answer** {_plain(self.answer)}"]
        lines[-1] += f" (by {cited})" if self.edges else "–"
        return "\n".join([*lines, *([f"\n{_plain(self.note)}"] if self.note else [])])

    def graphml(self) -> str:
        """The graph as GraphML: nodes `Q` and places, with `text`; edges with `probability`."""
        graph = nx.DiGraph()
        graph.add_node("Q", text=_UNPRINTED.sub("\ufffd", self.question))
        for v in self.order:
            graph.add_node(str(v), text=_UNPRINTED.sub("\ufffd", self.facts[v]))
        for u, v, p in self.edges:
            graph.add_edge("Q" if u == ROOT else str(u), str(v), probability=p)
        return "\n".join(nx.generate_graphml(graph))


def explain(
    question: str,
    facts: Sequence[str],
    retriever: Retriever | None = None,
    *,
    reader: Reader | None = None,
) -> Explanation:
    """Explain by which facts a question is answered.

    `retriever`: a function of the question and the facts that gives edges with probabilities, such
    as a trained one (`retrievers.fuse.retriever_of`); by default `Nearest` with MiniLM, which
    is untrained, cannot tell a fact from one that is worded alike, and often reads too far (where
    one fact is enough, `Nearest(encoder, rise=0.3)` does better). An edge that closes a circle or
    that nothing leads to, is left out; a fact that repeats another is read as that one; of more
    than 2,000 facts the 200 nearest by words are read. `note` says so. `reader`: writes the answer.
    Raises `ValueError` for a blank question, no list of facts or a blank one, and no function,
    `GraphError` for edges that are none, and `ModelError` where MiniLM is not at hand.

    >>> wb.explain("Who mends the gate?", ["Ada mends the gate.", "A door is red."]).answer
    'Ada mends the gate.'
    """
    texts("question", [question])
    facts = tuple(texts("facts", facts))
    for name, function in (("retriever", retriever), ("reader", reader)):
        if not (function is None or callable(function)):
            raise ValueError(f"{name}={function!r:.60}: it must be a function; see wb.explain")
    retriever = _nearest() if retriever is None else retriever
    return _explained(question, facts, (), retriever, reader)


def _explained(
    question: str, facts: tuple[str, ...], removed: tuple[int, ...], retriever: Retriever,
    reader: Reader | None,
) -> Explanation:  # fmt: skip
    if len(removed) == len(facts):
        raise ValueError("no fact is left")
    edges, note = _retrieved(question, facts, removed, retriever)
    whole = Explanation(question, facts, edges, "", note, removed, retriever, reader)
    if not edges:
        return whole
    if reader is None:
        return replace(whole, answer=facts[whole.leaves[0]])
    answer = reader(question, [facts[v] for v in whole.order])
    if not isinstance(answer, str):
        raise ValueError(f"the reader gave {answer!r:.60}; it must give a text")
    return replace(whole, answer=answer)


def _retrieved(
    question: str, facts: Sequence[str], removed: Sequence[int], retriever: Retriever
) -> tuple[tuple[ScoredEdge, ...], str]:
    """The edges, by places among all facts, and what was left out."""
    place: dict[str, int] = {}
    for i, text in enumerate(facts):
        if i not in removed:
            place.setdefault(text, i)
    again = len(facts) - len(removed) - len(place)
    notes = [f"repeated facts: {again}"] if again else []
    distinct = list(place)
    if len(distinct) > OPEN:
        shared = _bm25(tuple(distinct)).scores(question).any()
        which = "nearest by words" if shared else "first, as none shares a word with the question,"
        notes.append(f"of {len(distinct)} facts the {SHORT} {which} were read")
        distinct = [distinct[i] for i in shortlist(question, distinct, SHORT)]
    got = arguments.listed("the retriever's edges", retriever(question, distinct), empty=True)
    edges, lost = grown(got, len(distinct))
    if lost:
        notes.append(f"edges left out, in a circle or with nothing that leads to them: {lost}")
    at = [place[text] for text in distinct]
    return tuple((u if u == ROOT else at[u], at[v], p) for u, v, p in edges), "; ".join(notes)


def grown(edges: Sequence[ScoredEdge], count: int) -> tuple[list[ScoredEdge], int]:
    """The edges that a graph grows by from the question, the most probable first; how many not.

    None of them closes a circle. Raises `GraphError` for an edge out of `count` facts, from a fact
    to itself or there twice, or with a probability that is none.
    """
    after: dict[int, dict[int, float]] = {}
    for edge in edges:
        u, v, p = _checked(edge, count)
        if u == v or v in after.setdefault(u, {}):
            raise GraphError(
                f"the edge {edge!r:.60} leads from a fact to itself, or is there twice"
            )
        after[u][v] = p
    graph = nx.DiGraph()
    graph.add_node(ROOT)
    waiting = [(-p, ROOT, v) for v, p in after.get(ROOT, {}).items()]
    heapq.heapify(waiting)
    chosen: list[ScoredEdge] = []
    while waiting:
        less, u, v = heapq.heappop(waiting)
        new = v not in graph
        if not new and nx.has_path(graph, v, u):
            continue
        graph.add_edge(u, v)
        chosen.append((u, v, -less))
        for w, p in after.get(v, {}).items() if new else ():
            heapq.heappush(waiting, (-p, v, w))
    return chosen, len(edges) - len(chosen)


def shortlist(question: str, facts: Sequence[str], k: int) -> list[int]:
    """Places of the `k` facts nearest by words (BM25), sorted: to the question, and one hop on.

    A quarter shares words with the question; then a tenth each for the best of those, so that a
    fact without a word of the question is not lost to a second hop. All, where there are no more.
    """
    index = _bm25(tuple(facts))
    scores = index.scores(question)
    chosen = dict.fromkeys(ranked(scores, max(1, k // 4)))
    for place in list(chosen)[:10]:
        chosen |= dict.fromkeys(ranked(index.scores(f"{question} {facts[place]}"), max(1, k // 10)))
    return sorted([*dict.fromkeys([*chosen, *ranked(scores, k)])][:k])


def _checked(edge: Sequence[Any], count: int) -> ScoredEdge:
    try:
        u, v, p = edge
        u, v = arguments.whole("from", u, ROOT, count - 1), arguments.whole("to", v, 0, count - 1)
        return u, v, arguments.finite("probability", p, 0, 1)
    except (TypeError, ValueError) as error:
        raise GraphError(f"the retriever gave the edge {edge!r:.60}: {error}") from None


def _plain(text: str) -> str:
    """A text as Markdown shows it, on one line; notebooks make mathematics of even escaped $."""
    one_line = html.escape(" ".join(text.split()), quote=False)
    return _MARKS.sub(lambda mark: _SPANNED.get(mark[0], f"\\{mark[0]}"), one_line)


_bm25 = lru_cache(maxsize=1)(Bm25)


@lru_cache(maxsize=1)
def _nearest() -> Nearest:
    return Nearest(load_encoder("minilm"))
