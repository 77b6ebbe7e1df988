"""The inspector: a compiled network reads an input, and every step of it is in the open."""

import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from workbench.arguments import one_of
from workbench.papers.neural_comprehension import inspect_network as inside
from workbench.papers.neural_comprehension.figures_inspect import attention_maps, stream_map
from workbench.papers.neural_comprehension.gallery import GALLERY
from workbench.papers.neural_comprehension.tasks import TASKS
from workbench.widgets.markup import html_table
from workbench.widgets.view import WIDE, Figure, View, later

EXAMPLES = {"parity": "1101001", "reverse": "compiled", "last_letter": "network",
            "copy": "residual", "addition": "478+256", "subtraction": "256-478",
            "sort": "31415926", "brackets": "(()(()))", "histogram": "banana",
            "comparison": "478?256"}  # fmt: skip
PROGRAMS = TASKS | GALLERY
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class CompiledNetwork(View):
    """A task's network on an input: program, attention, residual stream, a patch, margins.

    `program`, `text`, `head` and `step` are set by value, from Python as by mouse; `variable`,
    `position` and `value` say what `patch()` changes, until `undo()`. `run`: what is shown;
    `whole`: the same input without the patch.
    """

    def __init__(
        self, program: str = "addition", text: str = "", *, folder: str | Path = "."
    ) -> None:
        super().__init__(folder)
        text = text or EXAMPLES[one_of("program", program, tuple(PROGRAMS))]
        self.run: inside.Run | None = None
        self.whole: inside.Run | None = None
        self.program = widgets.Dropdown(
            options=list(PROGRAMS), value=program, description="program"
        )
        self.text = widgets.Text(text, description="input", continuous_update=False)
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
        self.show(widgets.HBox([self.program, self.text]), self.message, self.answer, self.pages)
        self.program.observe(later(self._begin), "value")
        self.text.observe(later(self.read), "value")
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
            if not text:
                raise ValueError("type an input")
            symbols = PROGRAMS[name].symbols(text)
            whole = inside.read(_inspected(name, PROGRAMS[name].window(len(symbols))), symbols)
            self.whole, self.right = whole, PROGRAMS[name].answer(text)
            self._show(whole)

    def patch(self) -> None:
        """Change one variable at one position, in the network and in what it is meant to do."""
        with self.errors():
            if self.whole is None:
                raise ValueError("give the program an input first")
            place = (self.variable.value, self.position.value)
            whole = self.whole
            self._show(inside.read(whole.inspected, whole.symbols, {place: self.value.value}))

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
        text = EXAMPLES[self.program.value]
        if self.text.value == text:
            self.read()
        self.text.value = text

    def _show(self, run: inside.Run) -> None:
        new = self.run is None or run.inspected is not self.run.inspected
        before, self.run = self.run, run
        parts, symbols = run.inspected, run.symbols
        if new:
            _offer(self.step, [(name, i) for i, name in enumerate(parts.steps)], last=True)
            _offer(self.head, inside.attending(parts))
            _offer(self.variable, list(parts.variables))
            rows = inside.listing(parts)
            self.lines.value = html_table(list(rows[0]), [list(row.values()) for row in rows])
        if before is None or symbols != before.symbols:
            _offer(self.position, [(f"{i} {symbol}", i) for i, symbol in enumerate(symbols)])
        self.answer.value = self._answered()
        rows = [[str(d).removeprefix("torch."), inside.margin(self.whole, d)] for d in DTYPES]
        self.margins.value = (
            html_table(("dtype", "margin"), rows) + '<div class="wb-note">How clearly the network '
            "gives the right output on this input: 1 is exact, below 0 is wrong.</div>"
        )
        changed = inside.differing(run, self.whole)
        self.changes.value = html_table(
            list(changed[0]), [list(row.values()) for row in changed]
        ) if changed else ""  # fmt: skip
        self._show_step()
        self._show_attention()
        self.keep()

    def _answered(self) -> str:
        parts, values = self.run.inspected, list(inside.decoded(self.run).values())
        spelled = PROGRAMS[parts.network.config.program].spelled
        says = {"network": spelled(values[-1]), "Python": self.right,
                "reference": spelled(self.run.meant[parts.compiled.program])}  # fmt: skip
        return "".join(f"<b>{who}</b> {html.escape(text)} &emsp;" for who, text in says.items())

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
        compiled, node = self.run.inspected.compiled, self.run.inspected.variables[
            self.variable.value
        ]  # fmt: skip
        values = compiled.domain[node]
        if None in compiled.of[node]:
            values = range(int(values[0]), int(values[1]) + 1)
        _offer(self.value, [(str(value), value) for value in values])


def _offer(choice: Any, options: list[Any], last: bool = False) -> None:
    choice.options = options
    if options:
        choice.index = len(options) - 1 if last else 0


@lru_cache(maxsize=8)
def _inspected(name: str, window: int) -> inside.Inspected:
    return inside.inspected(PROGRAMS[name].program(window), window, name)


def _grid(run: inside.Run, whole: inside.Run, step: int) -> str:
    """HTML of variables × positions after a step; what it wrote is bold, what a patch changed red.

    A value that is not the reference's is struck through.
    """
    depth, before = run.inspected.compiled.depth, inside.decoded(whole, step)
    wrong = {(row["variable"], row["position"]) for row in inside.differing(run)}
    lines = ["".join(f"<th>{html.escape(each)}</th>" for each in ("", *run.symbols))]
    for name, row in inside.decoded(run, step).items():
        weight = "bold" if depth[run.inspected.variables[name]] == step else "normal"
        cells = [f'<th style="font-weight:{weight}">{html.escape(name)}</th>']
        for i, (value, was) in enumerate(zip(row, before[name], strict=True)):
            tag = "s" if (name, i) in wrong else "span"
            red = ' style="background:#f7cfc6;color:#22303c"' if value != was else ""
            text = "" if value is None else html.escape(str(value))
            cells.append(f"<td{red}><{tag}>{text}</{tag}></td>")
        lines.append("".join(cells))
    rows = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div style="overflow-x:auto"><table class="wb-rows">{rows}</table></div>'
