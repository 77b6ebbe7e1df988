"""The inspector: a compiled network reads an input, and every step of it is in the open."""

import html
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from workbench.arguments import one_of
from workbench.papers.neural_comprehension import inspect_network as inside
from workbench.papers.neural_comprehension.certificate import DTYPES
from workbench.papers.neural_comprehension.figures_inspect import attention_maps, stream_map
from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.language import Categorical
from workbench.papers.neural_comprehension.tasks import TASKS, WINDOWS
from workbench.widgets.markup import html_table
from workbench.widgets.view import WIDE, Figure, View, later

EXAMPLES = {"parity": "1101001", "reverse": "compiled", "last_letter": "network",
            "copy": "residual", "addition": "478+256", "subtraction": "256-478",
            "sort": "31415926", "brackets": "(()(()))", "histogram": "banana",
            "comparison": "478?256"}  # fmt: skip
PROGRAMS = TASKS | GALLERY
OWN = "your own"
STUCK = "position:sticky;left:0;white-space:nowrap;background:var(--jp-layout-color1,#fff)"
MARKS = '<div class="wb-note">Bold: just written. Red: changed by patch. Struck out: wrong.</div>'


class CompiledNetwork(View):
    """A task's network on an input: program, attention, residual stream, a patch, margins.

    A program of one's own is a function of the window; its input is read as it is typed, a symbol
    a character. `program`, `text`, `dtype`, `head` and `step` are set by value, from Python as by
    mouse; `variable`, `position` and `value` say what `patch()` changes, until `undo()`. `run`:
    what is shown; `whole`: the same input without the patch.
    """

    def __init__(
        self, program: str | Callable[[int], Categorical] = "addition", text: str = "", *,
        folder: str | Path = ".",
    ) -> None:  # fmt: skip
        super().__init__(folder)
        self.own = program if callable(program) else None
        name = OWN if callable(program) else one_of("program", program, tuple(PROGRAMS))
        self.examples = EXAMPLES | ({OWN: text} if self.own else {})
        self.run: inside.Run | None = None
        self.whole: inside.Run | None = None
        self.program = widgets.Dropdown(options=[*self.examples], value=name, description="program")
        text = text or self.examples[name]
        self.text = widgets.Text(text, description="input", continuous_update=False)
        self.dtype = widgets.Dropdown(options=DTYPES, description="dtype")
        self.answer, self.lines, self.margins = (widgets.HTML() for _ in range(3))
        self.head = widgets.Dropdown(description="variable")
        self.attention, self.stream = Figure(), Figure()
        self.step = widgets.SelectionSlider(options=[""], description="after", layout=WIDE)
        self.values, self.changes = widgets.HTML(), widgets.HTML()
        self.variable, self.position, self.value = (
            widgets.Dropdown(description=name, layout={"width": "230px"})
            for name in ("variable", "position", "is to be")
        )
        self.set, self.unset = (
            widgets.Button(description=name, icon=icon, layout={"width": "100px"})
            for name, icon in (("Patch", "pencil"), ("Undo", "undo"))
        )
        row = widgets.HBox([self.variable, self.position, self.value, self.set, self.unset])
        row.layout.flex_flow = "row wrap"
        self.pages = widgets.Tab(
            [
                widgets.VBox([self.step, self.values, row, self.changes, self.stream]),
                widgets.VBox([self.head, self.attention]),
                self.lines,
                self.margins,
            ],
            titles=("residual stream", "attention", "program", "margins"),
        )
        top = widgets.HBox([self.program, self.text, self.dtype])
        self.show(top, self.message, self.answer, self.pages)
        self.program.observe(later(self._begin), "value")
        self.text.observe(later(self.read), "value")
        self.dtype.observe(later(self.read), "value")
        self.step.observe(later(self._show_step), "value")
        self.head.observe(later(self._show_attention), "value")
        self.variable.observe(later(self._offer_values), "value")
        self.set.on_click(later(self.patch))
        self.unset.on_click(later(self.undo))
        self.read()

    def read(self) -> None:
        """Read the input afresh; one that the program does not read is said to be so in place."""
        with self.errors():
            self.message.value = ""
            name, text = self.program.value, self.text.value
            task = PROGRAMS.get(name)
            symbols = task.symbols(text) if task else text
            window = next((size for size in WINDOWS if len(symbols) <= size), WINDOWS[-1])
            parts = _inspected(task.program if task else self.own, window, name)
            again = {each: partial(inside.read, parts, symbols, dtype=getattr(torch, each))
                     for each in DTYPES}  # fmt: skip
            rows = [[dtype, inside.margin(run())] for dtype, run in again.items()]
            self._again, self.right = again[self.dtype.value], task.answer(text) if task else None
            self.margins.value = html_table(("dtype", "margin (1: exact, below 0: wrong)"), rows)
            self.whole = self._again()
            self._show(self.whole)

    def patch(self) -> None:
        """Change one variable at one position, in the network and in what it is meant to do."""
        with self.errors():
            if self.whole is None:
                raise ValueError("give the program an input first")
            place = (self.variable.value, self.position.value)
            self._show(self._again({place: self.value.value}))

    def undo(self) -> None:
        """Take the patch away."""
        if self.whole is not None:
            self._show(self.whole)

    def static(self) -> str:
        """The answer, every variable after the last step, the program, the margins."""
        if self.run is None:
            return self.message.value
        last = _grid(self.run, self.whole, len(self.run.streams) - 1)
        return self.answer.value + last + self.lines.value + self.margins.value

    def _begin(self) -> None:
        text = self.examples[self.program.value]
        if self.text.value == text:
            self.read()
        self.text.value = text

    def _show(self, run: inside.Run) -> None:
        new = self.run is None or run.inspected is not self.run.inspected
        before, self.run = self.run, run
        parts, symbols = run.inspected, run.symbols
        if new:
            _offer(self.step, [(name, i) for i, name in enumerate(parts.steps)], last=True)
            _offer(self.head, inside.attending(parts) or [("none: it has no heads", "")])
            _offer(self.variable, list(parts.variables))
            self._offer_values()
            self.lines.value = _table(inside.listing(parts))
        if before is None or symbols != before.symbols:
            _offer(self.position, [(f"{i} {symbol}", i) for i, symbol in enumerate(symbols)])
        self.answer.value = self._answered()
        self.changes.value = _table(inside.differing(run, self.whole))
        self._show_step()
        self._show_attention()
        self.keep()

    def _answered(self) -> str:
        parts, values = self.run.inspected, list(inside.decoded(self.run).values())
        task = PROGRAMS.get(parts.network.config.program)
        text = task.spelled if task else _spelled
        says = {"network": text(values[-1]), "Python": self.right,
                "reference": text(self.run.meant[parts.compiled.program])}  # fmt: skip
        return f"{html.escape(''.join(self.run.symbols))} &emsp;" + "".join(
            f"<b>{who}</b> {html.escape(answer)} &emsp;"
            for who, answer in says.items() if answer is not None
        )  # fmt: skip

    def _show_step(self) -> None:
        if self.run is not None:
            self.values.value = _grid(self.run, self.whole, self.step.value)
            self.stream.draw(stream_map(self.run, self.step.value))

    def _show_attention(self) -> None:
        if self.run is not None and self.head.value:
            self.attention.draw(attention_maps(self.run, self.head.value))
        else:
            self.attention.clear()

    def _offer_values(self) -> None:
        parts = self.run.inspected
        node = parts.variables[self.variable.value]
        values = parts.compiled.domain[node]
        if None in parts.compiled.of[node]:
            values = range(int(values[0]), int(values[1]) + 1)
        _offer(self.value, [(str(value), value) for value in values])


def _offer(choice: Any, options: list[Any], last: bool = False) -> None:
    choice.options = options
    if options:
        choice.index = len(options) - 1 if last else 0


def _spelled(row: list[Any]) -> str:
    return " ".join("_" if value is None else str(value) for value in row)


def _table(rows: list[dict[str, Any]]) -> str:
    return html_table(list(rows[0]), [list(row.values()) for row in rows]) if rows else ""


@lru_cache(maxsize=8)
def _inspected(program: Callable[[int], Categorical], window: int, name: str) -> inside.Inspected:
    return inside.inspected(program(window), window, name)


def _grid(run: inside.Run, whole: inside.Run, step: int) -> str:
    """HTML of variables × positions after a step; what it wrote is bold, what a patch changed red.

    A value that is not the reference's is struck through.
    """
    depth, before = run.inspected.compiled.depth, inside.decoded(whole, step)
    wrong = {(row["variable"], row["position"]) for row in inside.differing(run)}
    lines = ["".join(f"<th>{html.escape(each)}</th>" for each in ("", *run.symbols))]
    for name, row in inside.decoded(run, step).items():
        weight = "bold" if depth[run.inspected.variables[name]] == step else "normal"
        cells = [f'<th style="font-weight:{weight};{STUCK}">{html.escape(name)}</th>']
        for i, (value, was) in enumerate(zip(row, before[name], strict=True)):
            tag = "s" if (name, i) in wrong else "span"
            red = ' style="background:#f7cfc6;color:#22303c"' if value != was else ""
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            text = "" if value is None else html.escape(text)
            cells.append(f"<td{red}><{tag}>{text}</{tag}></td>")
        lines.append("".join(cells))
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div style="overflow-x:auto"><table class="wb-rows">{rows}</table></div>{MARKS}'
