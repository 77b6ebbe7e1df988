"""The steering UI: a prompt answered without and with a direction, as its controls move."""

import html
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import torch

from workbench.errors import DirectionError
from workbench.generation.local import LocalBackend
from workbench.generation.requests import GenRequest
from workbench.models.checkpoints import save_checkpoint
from workbench.models.model import Model
from workbench.models.prompts import Prompt
from workbench.steering.directions import HeadDirections, read_direction
from workbench.steering.fold import fold
from workbench.steering.shifts import Direction
from workbench.steering.steer import MODES
from workbench.widgets.head_map import Code, HeadMap
from workbench.widgets.side_by_side import SideBySide
from workbench.widgets.view import WIDE, View, later
from workbench.widgets.worker import stoppable

PROMPT = "How do I mend the gate of Mara?"


class Steering(View):
    """A prompt's replies before | after, for the direction, heads, mode and alpha that are set.

    Every control is an attribute with a `value`, so that a script drives it as the mouse does:
    `ui.alpha.value = 2`. `replies` are the two texts.
    """

    def __init__(
        self,
        model: Model,
        directions: Direction | Sequence[Direction] | Mapping[str, Direction] | str | Path,
        *,
        prompt: str = PROMPT,
        alpha: float = 1.0,
        max_alpha: float = 4.0,
        allow_negative: bool = False,
        max_new_tokens: int = 64,
        folder: str | Path = ".",
    ) -> None:
        super().__init__(folder)
        self.model, self._negative = model, allow_negative
        self.directions = named(directions)
        for direction in self.directions.values():
            direction.check(model)
        self.prompt = widgets.Textarea(prompt, description="prompt", layout=WIDE, rows=2)
        self.chat = widgets.Checkbox(
            model.tokenizer.chat_template is not None, description="chat template", indent=False
        )
        self.chat.disabled = model.tokenizer.chat_template is None
        self.tokens = widgets.BoundedIntText(
            max_new_tokens, min=1, max=4096, description="new tokens",
            layout=widgets.Layout(width="160px"),
        )  # fmt: skip
        low = -max_alpha if allow_negative else 0.0
        self.alpha = widgets.FloatSlider(
            alpha, min=low, max=max_alpha, step=0.05, description="alpha (σ)", layout=WIDE
        )
        self.picker = widgets.Dropdown(options=list(self.directions), description="direction")
        self.upload = widgets.FileUpload(
            accept=".safetensors,.safelock", description="direction file"
        )
        self.mode = widgets.Dropdown(options=MODES, description="tokens")
        self.generate = widgets.Button(description="Generate", button_style="primary", icon="play")
        self.columns = SideBySide()
        self.heads = HeadMap()
        self.target = widgets.Text("steered-model", description="folder")
        self.save = widgets.Button(description="Fold & save checkpoint", layout={"width": "190px"})
        self.as_code = widgets.Button(description="Copy as code")
        self.code = Code()
        self.show(
            self.prompt,
            widgets.HBox([self.picker, self.upload, self.mode, self.tokens, self.chat]),
            self.alpha,
            widgets.HBox([self.generate, self.stop]),
            self.message,
            self.columns,
            self.heads,
            widgets.HBox([self.target, self.save, self.as_code]),
            self.code,
        )
        self._show_heads()
        self.picker.observe(later(self._show_heads), "value")
        self.upload.observe(later(self._uploaded), "value")
        for part, trait in (
            (self.alpha, "value"), (self.mode, "value"), (self.tokens, "value"),
            (self.chat, "value"), (self.heads, "active"), (self.picker, "value"),
        ):  # fmt: skip
            part.observe(later(self.run), trait)
        self.generate.on_click(later(self.run))
        self.save.on_click(later(self._save))
        self.as_code.on_click(later(self._write_code))

    @property
    def replies(self) -> tuple[str, str]:
        """The texts in the columns: unsteered, steered."""
        return self.columns.replies

    def direction(self) -> Direction | None:
        """The direction as it is set now; None where every head is switched out."""
        whole = self.directions[self.picker.value]
        rows = self._rows(whole)
        return whole.pick(rows) if rows else None

    def run(self) -> None:
        """Generate with the present settings; drop a run that is going on, and old code."""
        self.code.text = ""
        direction, alpha, prompt = self.direction(), self.alpha.value, self._prompt()
        mode, tokens = self.mode.value, self.tokens.value

        def job(stop: threading.Event) -> None:
            self.columns.run(
                self.model, direction, alpha, prompt, stop,
                mode=mode, max_new_tokens=tokens, allow_negative=self._negative,
            )  # fmt: skip
            self.keep()

        self.work(job)

    def static(self) -> str:
        """The columns and the heads."""
        shown = self.columns.value or "<p>Run this cell for the controls.</p>"
        heading = f"<p>{html.escape(self.model.name)} along {html.escape(self.picker.value)}</p>"
        return heading + shown + self.heads.static()

    def _ipython_display_(self, **options: Any) -> None:
        super()._ipython_display_(**options)
        self.work(self._made_ready)

    def _made_ready(self, stop: threading.Event) -> None:
        """Decode a token: what the first call of a model does once must not await a slider."""
        requests = [GenRequest(self._prompt(), max_new_tokens=1)] * 2
        stream = LocalBackend(self.model).stream(requests)
        with stoppable(self.model, stop), closing(stream):
            next(stream)

    def _prompt(self) -> Prompt:
        text = self.prompt.value
        return [{"role": "user", "content": text}] if self.chat.value else text

    def _rows(self, whole: Direction) -> list[int]:
        active = {tuple(c) for c in self.heads.active}
        return [i for i, cell in enumerate(_heads(whole)) if cell in active]

    def _show_heads(self) -> None:
        whole = self.directions[self.picker.value]
        width = self.model.n_heads if isinstance(whole, HeadDirections) else 1
        values = torch.full((self.model.n_layers, width), torch.nan)
        for cell, scale in zip(_heads(whole), whole.scale.tolist(), strict=True):
            values[cell] = scale
        self.heads.show(values, _heads(whole), name="σ")

    def _uploaded(self) -> None:
        with self.errors():
            name, direction = self.uploaded(self.upload, read_direction)
            direction.check(self.model)
            self.directions[name] = direction
            self.picker.options = list(self.directions)
            self.picker.value = name
            # A file of the name that was picked before: no trait has changed.
            self._show_heads()
            self.run()
            self.say(str(direction))

    def _save(self) -> None:
        direction, alpha, target = self.direction(), self.alpha.value, self.target.value

        def job(_: threading.Event) -> None:
            if direction is None or alpha == 0:
                raise ValueError("nothing to fold: alpha is 0, or every head is switched out")
            path = self.place(target)
            with self.model.lock:
                folded = fold(self.model, direction, alpha, allow_negative=self._negative)
                try:
                    difference = save_checkpoint(self.model, path)
                finally:
                    folded.undo()
            self.say(
                f"{path}: reloaded by plain transformers, logits differ by {difference:.1e} at most"
            )

        self.work(job)

    def _write_code(self) -> None:
        with self.errors():
            self.code.text = self.source()

    def source(self) -> str:
        """Three lines that reproduce the present state; the direction is saved beside them."""
        whole = self.directions[self.picker.value]
        rows, kind = self._rows(whole), type(whole).__name__
        if not rows:
            raise ValueError("every head is switched out; there is no direction to write down")
        path = self.folder / f"direction-{whole.digest()}.safetensors"
        if not path.exists():
            whole.save(self.place(path.name))
        pick = "" if len(rows) == len(whole) else f".pick({rows})"
        mode = "" if self.mode.value == "all" else f', mode="{self.mode.value}"'
        research = ", allow_negative=True" if self.alpha.value < 0 else ""
        return (
            f'direction = wb.{kind}.load("{path}"){pick}\n'
            f"with wb.steer(model, direction, {self.alpha.value:g}{mode}{research}):\n"
            f"    wb.generate(model, [{self._prompt()!r}], max_new_tokens={self.tokens.value})"
        )


def named(
    directions: Direction | Sequence[Direction] | Mapping[str, Direction] | str | Path,
) -> dict[str, Direction]:
    """Directions by name: of a mapping, a file, one direction or several.

    Raises `DirectionError` for none at all, and as `read_direction`.
    """
    if isinstance(directions, Mapping):
        out = dict(directions)
    elif isinstance(directions, str | Path):
        out = {Path(directions).name: read_direction(directions)}
    else:
        several = [directions] if hasattr(directions, "digest") else list(directions)
        out = {f"{len(d)} places, {d.digest()[:6]}": d for d in several}
    if not out:
        raise DirectionError("no direction to steer along; give at least one")
    return out


def _heads(direction: Direction) -> list[tuple[int, int]]:
    """(layer, head); a residual direction's layers are (layer, 0)."""
    if isinstance(direction, HeadDirections):
        return direction.heads
    return [(layer, 0) for layer in direction.layers]
