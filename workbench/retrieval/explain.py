"""explain(): which facts answer a question, as a graph or chain; why each was read; the answer."""

import html
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import networkx as nx

from workbench import arguments
from workbench.models.encoders import load_encoder
from workbench.retrieval.chains import MOST_DEPTH
from workbench.retrieval.graphs import ROOT, Edge, ScoredEdge, breadth, reading_order
from workbench.retrieval.growing import Retriever, retrieved, seen
from workbench.retrieval.lexical import texts
from workbench.retrieval.nearest import Nearest
from workbench.retrieval.steps import Chains, Stepper

Reader = Callable[[str, Sequence[str]], str]
"""(question, facts in reading order) → an answer."""
_MARKS = re.compile(r"[\\`*_{}\[\]()#+!|~$-]")
_SPANNED = {mark: f'<span class="mathjax_ignore">&#{ord(mark)};</span>' for mark in "\\$"}
_UNPRINTED = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Explanation:
    """A question, its `facts` (all, by place), and the `edges` among them with probabilities.

    `edges` are in the order in which they were found from the question on; none: nothing was
    found. `answer`: what the reader says, else the text of the first leaf, and empty without edges.
    `note`: what of the facts or edges was left out, and why. `removed`: facts that `without` took.
    `stop`: of a chain that was read step by step, the probability that it ends where it does.
    """

    question: str
    facts: tuple[str, ...]
    edges: tuple[ScoredEdge, ...]
    answer: str
    note: str = ""
    removed: tuple[int, ...] = ()
    stop: float | None = None
    retriever: Retriever | None = field(default=None, repr=False, compare=False)
    reader: Reader | None = field(default=None, repr=False, compare=False)

    @property
    def order(self) -> list[int]:
        """The places of the facts that are read, in reading order."""
        return reading_order([(u, v) for u, v, _ in self.edges])

    @property
    def chain(self) -> tuple[int, ...]:
        """The facts one after the other; empty where they are no chain: a graph that branches."""
        branches = breadth([(u, v) for u, v, _ in self.edges]) > 1
        return () if branches else tuple(self.order)

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
        add up to it), else by how far the probability falls without a word of the question: of a
        chain that of this hop, after the same facts.
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
            still = self._probability(" ".join(parts[:i] + parts[i + 1 :]), u, v)
            changes.append((part, known[u, v] - still))
        return changes

    def _probability(self, asked: str, u: int, v: int) -> float:
        """That of an edge, were another question asked."""
        if isinstance(self.retriever, Chains):
            at, _ = seen(self.question, self.facts, self.removed)
            way = [at.index(i) for i in self.chain[: self.chain.index(v)]]
            step = self.retriever.stepper(asked, [self.facts[i] for i in at], way)
            return float(step.facts[at.index(v)])
        edges, _, _ = retrieved(asked, self.facts, self.removed, self.retriever)
        return sum(p for *ends, p in edges if ends == [u, v])

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
            "chain": list(self.chain),
            "stop": self.stop,
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
        if self.stop is not None:
            shown = "→".join(map(str, self.chain)) or "–"
            lines += ["", f"**Chain** {shown} (ends there: {self.stop:.2f})"]
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
    retriever: Retriever | Stepper | None = None,
    *,
    reader: Reader | None = None,
    beam: int | None = None,
    most: int | None = None,
) -> Explanation:
    """Explain by which facts a question is answered.

    `retriever`: a function of the question and the facts that gives edges with probabilities, such
    as a trained one (`retrievers.fuse.retriever_of`); by default `Nearest` with MiniLM, which
    is untrained, cannot tell a fact from one that is worded alike, and often reads too far (where
    one fact is enough, `Nearest(encoder, rise=0.3)` does better). An edge that closes a circle or
    that nothing leads to, is left out; a fact that repeats another is read as that one; of more
    than 2,000 facts the 200 nearest by words are read. `note` says so. `reader`: writes the answer.
    With a `beam` one chain of at most `most` facts (by default 7) is read in place of a graph
    (`steps.follow`), and `retriever` is a stepper, such as `retrievers.stepping.stepper_of` gives.
    Raises `ValueError` for a blank question, no list of facts or a blank one, no function, `beam`
    or `most` below 1, `most` without a beam and a step that is none, `GraphError` for edges that
    are none, and `ModelError` where MiniLM is not at hand.

    >>> wb.explain("Who mends the gate?", ["Ada mends the gate.", "A door is red."]).answer
    'Ada mends the gate.'
    >>> wb.explain(question, facts, beam=4).chain  # 4→1→7
    (4, 1, 7)
    """
    texts("question", [question])
    facts = tuple(texts("facts", facts))
    given = (("retriever", retriever, 2 if beam is None else 3), ("reader", reader, 2))
    for name, function, count in given:
        if isinstance(function, Nearest) or function is None:
            continue
        try:
            inspect.signature(function).bind(*range(count))
        except TypeError as error:
            raise ValueError(
                f"{name}={function!r:.60}: {error}; it must be a function of {count} arguments, "
                f"with{'out' * (beam is None)} a beam; see wb.explain"
            ) from None
    if most is not None and beam is None:
        raise ValueError(f"most={most!r:.60} is of chains: give a beam too, or leave it out")
    if beam is not None:
        arguments.whole("beam", beam, 1)
        most = MOST_DEPTH if most is None else arguments.whole("most", most, 1)
        retriever = Chains(stepper_from(retriever), beam, most)
    retriever = _nearest() if retriever is None else retriever
    return _explained(question, facts, (), retriever, reader)


def stepper_from(given: Nearest | Stepper | None) -> Stepper:
    """A stepper as it is, that of a `Nearest`, or, for None, that of MiniLM.

    Raises `ModelError` where MiniLM is not at hand.
    """
    nearest = _nearest() if given is None else given
    return nearest.step if isinstance(nearest, Nearest) else nearest


def _explained(
    question: str, facts: tuple[str, ...], removed: tuple[int, ...], retriever: Retriever,
    reader: Reader | None,
) -> Explanation:  # fmt: skip
    if len(removed) == len(facts):
        raise ValueError("no fact is left")
    edges, stop, note = retrieved(question, facts, removed, retriever)
    whole = Explanation(question, facts, edges, "", note, removed, stop, retriever, reader)
    if not edges:
        return whole
    if reader is None:
        return replace(whole, answer=facts[whole.leaves[0]])
    return replace(whole, answer=answered(question, [facts[v] for v in whole.order], reader))


def answered(question: str, facts: Sequence[str], reader: Reader) -> str:
    """A reader's answer from facts. Raises `ValueError` for one that is no text."""
    answer = reader(question, facts)
    if not isinstance(answer, str):
        raise ValueError(f"the reader gave {answer!r:.60}; it must give a text")
    return answer


def _plain(text: str) -> str:
    """A text as Markdown shows it, on one line; notebooks make mathematics of even escaped $."""
    one_line = html.escape(" ".join(text.split()), quote=False)
    return _MARKS.sub(lambda mark: _SPANNED.get(mark[0], f"\\{mark[0]}"), one_line)


@lru_cache(maxsize=1)
def _nearest() -> Nearest:
    return Nearest(load_encoder("minilm"))
