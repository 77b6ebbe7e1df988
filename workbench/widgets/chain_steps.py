"""A chain of facts step by step, with hops by hand, and the facts that its answer rests on."""

import html
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache

import ipywidgets as widgets

from workbench import arguments
from workbench.retrieval.answers import answer_exact
from workbench.retrieval.chains import MOST_DEPTH
from workbench.retrieval.explain import Explanation, Reader, answered, stepper_from
from workbench.retrieval.faithfulness import evidence_needed
from workbench.retrieval.lexical import texts, words
from workbench.retrieval.nearest import Nearest
from workbench.retrieval.steps import STOP, Chain, Chains, Step, Stepper, follow
from workbench.widgets.graph_view import GraphView
from workbench.widgets.markup import html_table
from workbench.widgets.view import WIDE, View, later
from workbench.widgets.worker import Stopped

SHOWN, NONE_PICKED = 10, -2
"""Candidates of a step that are shown; what is picked while nothing is."""
CSS = """<style>.wb-hops .wb-bar {display: inline-block; height: 9px; margin-right: 5px;
  background: #2a62e0} .wb-hops [aria-pressed=true] {font-weight: 600}
  .wb-hops td:nth-child(2) {white-space: nowrap} .wb-hops td:nth-child(3),
  .wb-chain td:nth-child(4), .wb-rests td:nth-child(2) {overflow-wrap: anywhere}
</style><div class="wb-note">Blue line: a word of the question; orange: of the fact read last; the
rarer among the facts, the stronger.</div>"""


class ChainSteps(View):
    """A chain of facts, and at each step what else might have been read.

    `read()` reads `question` and `facts`, a fact a line, with `stepper` (by default MiniLM's).
    `step`: the step that is shown; `rows.selected` takes a fact there by hand (-1: the chain ends),
    or the one that is read there for good, as `override` does; the rest follows. `chain`, `forced`
    (step → place), `explanation`: what there is. `probe()`: what a `reader`'s answer rests on.
    """

    def __init__(
        self, question: str = "", facts: Sequence[str] | str = (),
        stepper: Stepper | Nearest | None = None, *, reader: Reader | None = None, beam: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stepper, self.reader, self.forced = stepper, reader, {}
        self.chain: Chain | None = None
        self.explanation: Explanation | None = None
        self._asked: tuple[str, list[str], str] = "", [], ""
        self._guard = threading.RLock()
        self._steps: dict[tuple[int, ...], Step] = {}
        self._wanted: dict[int, int] = {}
        if not isinstance(facts, str):
            facts = texts("facts", facts) if len(facts) else []
            facts = "\n".join(" ".join(fact.split()) for fact in facts)
        wide = {"layout": WIDE, "style": {"description_width": "80px"}}
        self.question = widgets.Text(question, description="question", **wide)
        self.facts = widgets.Textarea(facts, description="facts", rows=8, **wide)
        beam = arguments.whole("beam", beam, 1, 8)
        self.beam = widgets.IntSlider(beam, min=1, max=8, description="beam")
        self.start = widgets.Button(description="Read", button_style="primary", icon="search")
        self.step = widgets.IntSlider(0, min=0, max=0, description="step", **wide)
        self.undo = widgets.Button(description="Undo from here", icon="undo", disabled=True)
        self.ask = widgets.Button(description="What it rests on", disabled=True)
        self.whole, self.rows, self.probed = widgets.HTML(), GraphView(), widgets.HTML()
        self.rows.selected = NONE_PICKED
        self.show(
            widgets.HTML(CSS), self.question, self.facts,
            widgets.HBox([self.beam, self.start, self.stop]), self.message, self.whole, self.step,
            widgets.HBox([self.undo, self.ask]), self.rows, self.probed,
        )  # fmt: skip
        self.step.observe(later(self._draw), "value")
        self.beam.observe(lambda _: self._asked[0] and self._follow(self._wanted), "value")
        self.rows.observe(later(self._picked), "selected")
        for button, act in ((self.start, self.read), (self.undo, self.release),
                            (self.ask, self.probe)):  # fmt: skip
            button.on_click(later(act))

    def read(self) -> None:
        """Read a chain anew; empty lines are no facts, and of equal ones the first is read."""
        lines = [line.strip() for line in self.facts.value.splitlines() if line.strip()]
        facts = [*dict.fromkeys(lines)]
        again = len(lines) - len(facts)
        note = f"repeated facts, left out: {again}" if again else ""
        # What is there is of another question: nothing of it may be taken by hand any more.
        with self._guard:
            self._worker.stop()
            self.chain, self.explanation, self._steps, self.forced = None, None, {}, {}
            self.whole.value = self.rows.svg = self.probed.value = ""
            self.undo.disabled = self.ask.disabled = True
            self.step.value = self.step.max = 0
            self._asked = self.question.value, facts, note
        self._follow({})

    def override(self, step: int, place: int) -> None:
        """Take a fact (or the end, -1) at a step (from 0); those before it stay, the rest follows.

        Raises `ValueError` for no chain, a step it does not have, and a fact that it cannot read.
        """
        chain = self._there().facts
        arguments.whole("step", step, 0, len(chain))
        arguments.whole("place", place, STOP, len(self.explanation.facts) - 1)
        if step == MOST_DEPTH and place != STOP:
            raise ValueError(f"step={step}: a chain of {MOST_DEPTH} facts can only end (place=-1)")
        if place in chain[:step]:
            raise ValueError(f"place={place}: it is read at step {chain.index(place)} already")
        self._follow(dict(enumerate(chain[:step])) | {step: place})

    def release(self) -> None:
        """Forget the hops by hand from the shown step on. Raises `ValueError` for no chain."""
        self._there()
        self._follow({j: v for j, v in self.forced.items() if j < self.step.value})

    def probe(self) -> None:
        """Ask the reader without each fact. Raises `ValueError` for no reader, chain or fact."""
        if self.reader is None:
            raise ValueError("no reader: give reader=, a function of the question and facts")
        chain, whole = self._there().facts, self.explanation
        if not chain:
            raise ValueError("nothing is read: there is no fact that an answer could rest on")

        def job(stop: threading.Event) -> None:
            def answer(question: str, told: Sequence[str]) -> str:
                if stop.is_set():
                    raise Stopped
                return self.reader(question, told)

            shown = rests_on(whole.question, {v: whole.facts[v] for v in chain}, answer)
            with self._guard:
                if not stop.is_set():
                    self.probed.value = shown
            self.keep()

        self.work(job)

    def static(self) -> str:
        """The chain, the candidates of each step, and what the answer rests on."""
        steps = range(len(self.chain.facts) + 1 if self.chain else 0)
        tables = "".join(f"<h4>step {j}</h4>{self._candidates(j)}" for j in steps)
        return CSS + self.message.value + self.whole.value + tables + self.probed.value

    def _there(self) -> Chain:
        if self.chain is None:
            raise ValueError("no chain yet: read() a question and facts first, and wait()")
        return self.chain

    def _picked(self) -> None:
        # A second click on the same row is a change again.
        place, self.rows.selected = self.rows.selected, NONE_PICKED
        if place != NONE_PICKED:
            with self.errors():
                self.override(self.step.value, place)

    def _follow(self, forced: Mapping[int, int]) -> None:
        (question, facts, note), steps = self._asked, self._steps
        # A hop by hand is not lost where the beam changes while it is followed.
        self._wanted = dict(forced)

        def job(stop: threading.Event) -> None:
            stepper, beam = stepper_from(self.stepper), self.beam.value

            def once(question: str, facts: Sequence[str], read: Sequence[int]) -> Step:
                if stop.is_set():
                    raise Stopped
                if tuple(read) not in steps:
                    steps[tuple(read)] = stepper(question, facts, read)
                return steps[tuple(read)]

            chain = follow(once, question, facts, beam=beam, forced=forced)[0]
            told = [facts[v] for v in chain.facts]
            answer = "".join(told[-1:])
            if self.reader and told:
                answer = answered(question, told, self.reader)
            with self._guard:
                if stop.is_set():
                    raise Stopped
                self.chain, self.forced = chain, dict(forced)
                self.explanation = Explanation(
                    question, tuple(facts), tuple(chain.edges), answer, note, (), chain.stop,
                    Chains(stepper, beam), self.reader,
                )  # fmt: skip
                self.probed.value = ""
                self.step.max = len(chain.facts)
                self._draw()

        self.work(job)

    def _draw(self) -> None:
        if (chain := self.chain) is None:
            return
        whole, end = self.explanation, len(chain.facts)
        hops = [(v, p, whole.facts[v]) for _, v, p in chain.edges] + [("", chain.stop, "(end)")]
        lines = [[j, *hop, "by hand" if j in self.forced else ""] for j, hop in enumerate(hops)]
        self.whole.value = (
            f'<div class="wb-text wb-short">{html.escape(whole.question)}</div>'
            f"<h4>{'→'.join(map(str, chain.facts)) or 'nothing is read'}</h4>"
            f'<div class="wb-chain">{html_table(("step", "fact", "probability", "", ""), lines)}'
            f'answer: {html.escape(whole.answer) or "–"}</div><div class="wb-note">mean '
            f"log-probability of a step {chain.score:z.2f} nats. {whole.note}</div>"
        )
        self.rows.svg = self._candidates(self.step.value)
        self.undo.disabled = not any(j >= self.step.value for j in self.forced)
        self.ask.disabled = self.reader is None or not end
        self.keep()

    def _candidates(self, j: int) -> str:
        """HTML of a step's candidates and end, the most probable first, each to be picked."""
        way, chosen = self.chain.facts[:j], (*self.chain.facts, STOP)[j]
        whole, step = self.explanation, self._steps[way]
        best = dict([*step.best(SHOWN), (STOP, step.stop)])
        best.setdefault(chosen, 0.0 if chosen == STOP else float(step.facts[chosen]))
        rarity, last = rarities(whole.facts), whole.facts[way[-1]] if way else ""
        lines = []
        for v, p in sorted(best.items(), key=lambda row: (-round(row[1], 5), row[0])):
            text = "(end)" if v == STOP else marked(whole.facts[v], whole.question, last, rarity)
            lines.append(
                f'<tr data-node="{v}" tabindex="0" role="button" aria-pressed='
                f'"{str(v == chosen).lower()}"><td>{"" if v == STOP else v}</td><td><span class='
                f'"wb-bar" style="width:{60 * p:.0f}px"></span>{p:.2f}</td><td>{text}</td></tr>'
            )
        return f'<table class="wb-rows wb-hops">{"".join(lines)}</table>'


@lru_cache(maxsize=1)
def rarities(facts: tuple[str, ...]) -> dict[str, float]:
    """Word → how rare it is among facts: 1 in one of them, 0 in all."""
    counts = Counter(word for fact in facts for word in {*words(fact)})
    most = math.log(len(facts)) or 1.0
    return {word: math.log(len(facts) / count) / most for word, count in counts.items()}


def marked(fact: str, question: str, last: str, rarity: Mapping[str, float]) -> str:
    """HTML of a fact, each word marked by how rare it is where the question or last fact has it."""
    # What the apostrophe of "Ada's" leaves is no word that two texts share.
    asked, read, out = {*words(question)} - {"s"}, {*words(last)} - {"s"}, []
    for piece in fact.split():
        of_asked, of_read = (
            max((rarity[word] for word in words(piece) if word in there), default=0.0)
            for there in (asked, read)
        )
        out.append(
            f'<span style="border-bottom:3px solid rgba(42,98,224,{of_asked:.2f});background:'
            f'rgba(217,138,31,{0.75 * of_read:.2f})">{html.escape(piece)}</span>'
        )
    return " ".join(out)


def rests_on(question: str, facts: Mapping[int, str], answer: Reader) -> str:
    """HTML of how an answer changes without each of the facts (number → text, in reading order).

    And with each at the other end, in reverse, and from nothing; and the fewest that still give it.
    Raises `ValueError` as `evidence_needed`.
    """
    order = [*facts]
    needed = evidence_needed(question, [*facts.values()], answer)
    told = {"all": order, "none": []}
    if len(order) > 1:
        told["in reverse"] = order[::-1]
        for v in order:
            rest, at_end = [u for u in order if u != v], order[-1] == v
            told[f"without {v}"] = rest
            told[f"{v} {'first' if at_end else 'last'}"] = [v, *rest] if at_end else [*rest, v]
    replies = {name: answer(question, [facts[v] for v in way]) for name, way in told.items()}
    whole = replies["all"]
    lines = [[name, reply, "" if reply == whole or answer_exact(whole, reply) else "changed"]
             for name, reply in replies.items()]  # fmt: skip
    if needed:
        least = ", ".join(str(order[i]) for i in needed.facts) or "none"
        sure = "" if needed.smallest else "; a smaller set may do"
        lines.append(["fewest that keep the answer", least + sure, ""])
    table = html_table(("facts", "answer", ""), lines)
    return f'<h4>what the answer rests on</h4><div class="wb-rests">{table}</div>'
