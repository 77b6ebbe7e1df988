"""The evidence UI: one graph, hop by hop from both sides, of a study or of a text of one's own."""

import html
import json
import re
import threading
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from workbench.papers.graphhop.study import Study
from workbench.plots.graphs import places
from workbench.plots.style import BLUE, GREEN, RED
from workbench.retrieval.explain import Explanation, explain
from workbench.retrieval.graphs import ROOT, Edge, ScoredEdge
from workbench.retrieval.growing import Retriever, grown
from workbench.retrieval.lexical import texts
from workbench.retrievers import fuse
from workbench.retrievers.search import EXPANDED
from workbench.widgets.graph_view import GraphView, graph_svg
from workbench.widgets.markup import html_table, shaded
from workbench.widgets.view import STYLE, WIDE, View, later
from workbench.widgets.worker import Stopped, Worker
from workbench.writing import whole as whole_file

SIDES = ("from both sides", "from the question", "from the answer")
CSS = """<style>.wb-view .wb-bar {display: inline-block; height: 9px; vertical-align: middle;
  margin-right: 5px} .wb-view .wb-facts {max-height: 260px; overflow-y: auto}
.wb-view .wb-beside {max-height: 560px; overflow-y: auto; padding-right: 6px}
.wb-view .wb-beside td:last-child {white-space: nowrap}
</style>"""


class EvidenceGraph(View):
    """A graph of evidence that grows hop by hop, and what each hop hangs on.

    Of a study: `asked` is the question; `theta` (searched edges above it), `w` and `tau` fuse its
    cached scores again, without a network. Of one's own text: `question` and `facts`, a fact a
    line, are explained by `read()` with `retriever` (by default `wb.explain`'s); `leave_out()`
    reads again without the fact picked. `hop` and `side` say what is shown of the graph,
    `graph.selected` the fact whose text and candidates stand beside it. `explanation`: the whole.
    """

    def __init__(
        self, study: Study | None = None, question: str = "", facts: Sequence[str] | str = (),
        retriever: Retriever | None = None, *, folder: str | Path = ".",
    ) -> None:  # fmt: skip
        super().__init__(folder)
        if study is not None and not {"forward", "backward"} <= {*getattr(study, "searched", ())}:
            raise ValueError("no study with method bgr; a text comes in as question= and facts=")
        self.study, self.retriever = study, retriever
        # Words are worked out apart: a fact that is picked must not end a reading that goes on.
        self._behind = Worker(lambda _: None, self._failed)
        self.explanation: Explanation | None = None
        self._own: Explanation | None = None
        self.gold: tuple[Edge, ...] | None = None
        self._searched: tuple[Sequence[ScoredEdge], ...] = ()
        wide = {"layout": WIDE, "style": {"description_width": "80px"}}
        tests = study.test if study else []
        self.asked = widgets.Dropdown(
            options=[(f"{i} {q.structure} {q.question}", i) for i, q in enumerate(tests)],
            description="question", **wide,
        )  # fmt: skip
        chosen = re.findall(r"[\d.]+", (study.tuned.get("bgr") or [""])[0]) if study else []
        w, tau = map(float, chosen if len(chosen) == 2 else (0.5, 0.5))
        self.theta, self.w, self.tau = (
            widgets.FloatSlider(value, min=0, max=1, step=0.05, description=name, **wide)
            for name, value in (("θ search", EXPANDED), ("w forward", w), ("τ kept", tau))
        )
        self.question = widgets.Text(
            question, description="question", continuous_update=False, **wide
        )
        if not isinstance(facts, str):
            facts = texts("facts", facts) if len(facts) else []
            facts = "\n".join(" ".join(fact.split()) for fact in facts)
        self.facts = widgets.Textarea(facts, description="facts", rows=8, **wide)
        self.start = widgets.Button(description="Read", button_style="primary", icon="search")
        self.drop = widgets.Button(description="Leave out fact", icon="minus", disabled=True)
        own = widgets.VBox(
            [self.question, self.facts, widgets.HBox([self.start, self.drop, self.stop])]
        )
        sliders = widgets.VBox([self.asked, self.theta, self.w, self.tau])
        self.pages = widgets.Tab(
            [sliders, own] if study else [own], titles=("study", "own text")[0 if study else 1 :]
        )
        self.hop = widgets.IntSlider(0, min=0, max=0, description="hop", **wide)
        self.side = widgets.ToggleButtons(options=SIDES)
        self.graph, self.beside, self.table = GraphView(), widgets.HTML(), widgets.HTML()
        self.graph.layout = widgets.Layout(flex="1 1 62%", min_width="560px")
        self.beside.layout = widgets.Layout(flex="1 1 36%", min_width="300px")
        self.save_name = widgets.Text("evidence.json", description="file")
        self.save = widgets.Button(description="Save")
        self.save.tooltip = "as .json, .graphml, .html or .md"
        self.show(
            widgets.HTML(CSS), self.pages, self.message, self.hop, self.side,
            widgets.HBox([self.graph, self.beside], layout={"flex_flow": "row wrap"}), self.table,
            widgets.HBox([self.save_name, self.save]),
        )  # fmt: skip
        self.asked.observe(later(self.fuse), "value")
        for slider in (self.theta, self.w, self.tau):
            slider.observe(later(self.fuse), "value")
        for part in (self.hop, self.side):
            part.observe(later(self._draw), "value")
        self.graph.observe(later(self._draw), "selected")
        self.pages.observe(later(self._turn), "selected_index")
        self.start.on_click(later(self.read))
        # A question that is written before its facts is not read yet.
        self.question.observe(lambda _: self.facts.value.strip() and self.read(), "value")
        self.drop.on_click(later(self.leave_out))
        self.save.on_click(later(self._save))
        self.fuse()

    def fuse(self) -> None:
        """The study's question, its cached scores fused at `theta`, `w` and `tau`."""
        if self.study is None:
            return
        i = self.asked.value
        q = self.study.test[i]
        self._searched = tuple(
            [edge for edge in self.study.searched[direction][i] if edge[2] > self.theta.value]
            for direction in ("forward", "backward")
        )
        fused = fuse.soft_scored(*self._searched, self.w.value, self.tau.value)
        edges, lost = grown(fused, len(q.facts))
        note = f"edges left out, in a circle: {lost}" if lost else ""
        self._show(Explanation(q.question, q.facts, tuple(edges), q.answer, note), q.edges)

    def read(self) -> None:
        """Explain the question by the facts, a line each; empty lines are none."""
        self.pages.selected_index = len(self.pages.children) - 1
        question = self.question.value
        facts = [line for line in self.facts.value.splitlines() if line.strip()]

        def job(stop: threading.Event) -> None:
            self._own = explain(question, facts, self.retriever)
            if stop.is_set():
                raise Stopped
            self._turn()

        self.work(job)

    def leave_out(self) -> None:
        """Read again without the fact that is picked."""
        before, fact = self.explanation, self.graph.selected
        if before is not None and before.retriever is not None and fact != ROOT:

            def job(stop: threading.Event) -> None:
                self._own = before.without(fact)
                self._turn()

            self.work(job)

    def _turn(self) -> None:
        """Show what the open page is of."""
        if self.study is not None and not self.pages.selected_index:
            self.fuse()
        elif self._own is not None:
            self._searched = ()
            self._show(self._own, None)

    def static(self) -> str:
        """The graph as it is shown, what stands beside it, and the facts."""
        return CSS + self.graph.svg + self.message.value + self.beside.value + self.table.value

    def _show(self, explanation: Explanation, gold: tuple[Edge, ...] | None) -> None:
        last = self.explanation
        new = not last or last.question != explanation.question or last.facts != explanation.facts
        self.explanation, self.gold, self._words = explanation, gold, {}
        self.graph.selected = ROOT if new else self.graph.selected
        most = int(max(self._hops()[SIDES[1]].values(), default=0))
        at_end = new or self.hop.value == self.hop.max
        self.hop.max = most
        self.hop.value = most if at_end else min(self.hop.value, most)
        self.message.value = ""
        if explanation.note:
            self.say(explanation.note)
        self._draw()

    def _hops(self) -> dict[str, dict[Edge, float]]:
        """By side: at which hop an edge is there."""
        edges = [(u, v) for u, v, _ in self.explanation.edges]
        ahead, back = places(edges), places([(v, u) for u, v in edges])
        return {SIDES[1]: {(u, v): ahead[v][0] for u, v in edges},
                SIDES[2]: {(u, v): back[u][0] for u, v in edges}}  # fmt: skip

    def _draw(self) -> None:
        whole = self.explanation
        if whole is None:
            return
        sides = {s: at for s, at in self._hops().items() if self.side.value in (s, SIDES[0])}
        edges = {(u, v): p for u, v, p in whole.edges}
        shown = {e for at in sides.values() for e, hop in at.items() if hop <= self.hop.value}
        picked = self.graph.selected
        self.drop.disabled = whole.retriever is None or picked == ROOT
        self.graph.svg = graph_svg(whole.question, whole.facts, edges, self.gold, shown, picked)
        self.beside.value = self._picked(picked)
        gold = {v for _, v in self.gold or ()}
        read, rows = {v for _, v in edges}, []
        for i, fact in enumerate(whole.facts):
            marks = ["left out"] * (i in whole.removed) + ["gold"] * (i in gold)
            if marks := marks + ["read"] * (i in read) or [""] * (i < 200):
                rows.append([i, fact, ", ".join(marks)])
        if more := len(whole.facts) - len(rows):
            rows.append(["", f"and {more} more facts, none of them read", ""])
        table = html_table(("", "fact", ""), rows)
        self.table.value = f'<div class="wb-facts" tabindex="0">{table}</div>'
        self.keep()

    def _picked(self, v: int) -> str:
        """What is picked, the words it hangs on, and the candidates behind it with their scores."""
        whole = self.explanation
        parts = [f"<h4>{'Question' if v == ROOT else f'Fact {v}'}</h4>"]
        text = whole.question if v == ROOT else whole.facts[v]
        parts.append(f'<div class="wb-text wb-short">{html.escape(text)}</div>')
        if words := self._words_into(v):
            limit = max(abs(x) for _, x in words) or 1.0
            pieces = shaded([f"{word} " for word, _ in words], [x for _, x in words], limit)
            parts.append(f"<h4>read for these words</h4><div>{pieces}</div>")
        if v == ROOT:
            answer = html.escape(whole.answer) or "–"
            parts.append(f"<h4>{'read' if self.gold is None else 'gold'} answer</h4>{answer}")
        named = {"forward": BLUE, "backward": RED, "fused": GREEN}
        scores = [*self._searched, whole.edges] if self._searched else [whole.edges]
        columns = dict(zip([*named][-len(scores):], scores, strict=True))  # fmt: skip
        after = sorted({e[1] for edges in scores for e in edges if e[0] == v})
        rows = []
        for candidate in after:
            bars = []
            for name, edges in columns.items():
                p = next((p for a, b, p in edges if (a, b) == (v, candidate)), 0.0)
                bars.append(f'<div title="{name}"><span class="wb-bar" style="width:{60 * p:.0f}px;'
                            f'background:{named[name]}"></span>{p:.2f}</div>')  # fmt: skip
            fact = html.escape(whole.facts[candidate])
            rows.append(f"<tr><td>{candidate}</td><td>{fact}</td><td>{''.join(bars)}</td></tr>")
        if rows:
            head = "next: " + ", ".join(columns) if self._searched else "next: probability"
            parts.append(f'<h4>{head}</h4><table class="wb-rows">{"".join(rows)}</table>')
        return f'<div class="wb-beside" tabindex="0">{"".join(parts)}</div>'

    def _words_into(self, v: int) -> list[tuple[str, float]]:
        """What the best edge to a fact hangs on; nothing at first where it is still worked out."""
        whole = self.explanation
        if whole.retriever is None or v not in whole.order:
            return []
        edge, known = ((ROOT, *whole.path(v))[-2], v), self._words

        def job(stop: threading.Event) -> None:
            known[edge] = whole.words(edge)
            if self.explanation is whole:
                self._draw()

        if edge not in known:
            self._behind.start(job)
        return known.get(edge, [])

    def wait(self, timeout: float | None = 60) -> None:
        """Wait until reading, words and picture are done. Raises `TimeoutError`."""
        self._worker.wait(timeout)
        self._behind.wait(timeout)
        super().wait(timeout)

    def close(self) -> None:
        """Stop the work and remove the UI and its parts."""
        self._behind.close()
        super().close()

    def save_as(self, name: str) -> Path:
        """The new file, written as its ending says. Raises `ValueError`, `FileExistsError`."""
        whole = self.explanation
        if whole is None:
            raise ValueError("no graph yet: read a text first")
        write = {
            ".json": lambda: json.dumps(whole.as_dict(), ensure_ascii=False, allow_nan=False),
            ".graphml": whole.graphml,
            ".md": whole.markdown,
            ".html": lambda: f'{STYLE}<body class="wb-view">{self.static()}</body>',
        }
        if (end := Path(name).suffix) not in write:
            raise ValueError(f"{name!r:.80}: give a name that ends in {', '.join(write)}")
        path = self.place(name)
        with whole_file(path) as partial:
            partial.write_text(write[end](), encoding="utf-8")
        return path

    def _save(self) -> None:
        with self.errors():
            self.say(f"saved as {self.save_as(self.save_name.value).name}")
