"""The SafetyLock UI: data → capture → heads → lock → another checkpoint → before, after."""

import html
import threading
from functools import partial
from pathlib import Path

import ipywidgets as widgets

from workbench.data.preferences import load_data
from workbench.errors import DatasetError
from workbench.files import Row
from workbench.models.loading import load
from workbench.models.model import Model
from workbench.papers.safetylock.leverage import leverage
from workbench.papers.safetylock.lock import (
    Contrast,
    contrast_activations,
    cosines,
    every_head,
    find_lock,
    halves,
    shuffled_labels,
)
from workbench.plots.figures import cosine_bars
from workbench.steering.directions import HeadDirections
from workbench.widgets.head_map import HeadMap
from workbench.widgets.markup import html_table
from workbench.widgets.safetylock_apply import ApplyPanel, Discovery
from workbench.widgets.view import Figure, Progress, View, later
from workbench.widgets.worker import stoppable

SOURCES = {"embedded": "auto", "the paper's, from the hub": "hub", "a file": "file"}
SELECTIONS = ("validation", "paper", "leverage")
SHOWN = 5


class SafetyLock(View):
    """From preference pairs to a lock, and the lock on another checkpoint.

    Steps are methods as well as buttons: `discover()`, `use(heads)`, `apply_panel.apply()`.
    `lock` is the `HeadDirections` found, `contrast` what it was found in.
    """

    def __init__(
        self, model: Model | str = "tiny", *, folder: str | Path = ".", research: bool = False
    ) -> None:
        super().__init__(folder)
        self.model = load(model) if isinstance(model, str) else model
        self.contrast: Contrast | None = None
        self.lock: HeadDirections | None = None
        self.pairs: list[Row] = []
        self._from_file: list[Row] = []
        wide = widgets.Layout(width="150px")
        self.source = widgets.Dropdown(options=SOURCES, description="pairs")
        self.upload = widgets.FileUpload(accept=".jsonl,.json,.csv", description="pairs file")
        self.count = widgets.BoundedIntText(60, min=10, max=100000, description="how many",
                                            layout=wide)  # fmt: skip
        self.reveal = widgets.ToggleButton(
            False, description="Show harmful texts", icon="eye", layout={"width": "170px"}
        )
        self.preview = widgets.HTML()
        self.r = widgets.BoundedIntText(5, min=1, max=64, description="r", layout=wide)
        most = self.model.n_layers * self.model.n_heads
        self.k = widgets.BoundedIntText(
            min(24, max(1, most * 3 // 8)), min=1, max=most, description="K", layout=wide
        )
        self.selection = widgets.Dropdown(options=SELECTIONS, description="selection")
        self.capture = widgets.Button(description="Discover", button_style="primary", icon="search")
        self.progress = Progress()
        self.heads = HeadMap()
        self.summary = widgets.HTML()
        self.geometry = Figure()
        self.name = widgets.Text("lock.safetensors", description="file")
        self.save = widgets.Button(description="Save lock", disabled=True)
        self.apply_panel = ApplyPanel(self, self.model, self._discovery, research)
        self.show(
            _step(1, "Preference pairs"),
            widgets.HBox([self.source, self.upload, self.count, self.reveal]),
            self.preview,
            _step(2, "Capture the last r answer tokens, probe every head, keep the best K"),
            widgets.HBox([self.r, self.k, self.selection]),
            widgets.HBox([self.capture, self.stop, self.progress]),
            self.heads,
            _step(3, "The lock: click heads above to change it"),
            self.summary,
            self.geometry,
            widgets.HBox([self.name, self.save]),
            self.message,
            _step(4, "Apply it to another checkpoint"),
            self.apply_panel,
        )
        self.source.observe(later(self._read), "value")
        self.count.observe(later(self._read), "value")
        self.upload.observe(later(self._uploaded), "value")
        self.reveal.observe(later(self._preview), "value")
        self.capture.on_click(later(self.discover))
        self.heads.observe(later(self._picked), "active")
        self.save.on_click(later(self._save))
        self._read()

    def discover(self) -> None:
        """Steps 1 to 3 in the background, with what is set now."""
        pairs, r, k = self.pairs, self.r.value, self.k.value
        selection, source = self.selection.value, self.source.value

        def job(stop: threading.Event) -> None:
            if not pairs:
                raise DatasetError("no pairs: choose embedded data, the hub, or upload a file")
            if selection == "leverage" and source == "file":
                raise DatasetError(
                    "selection 'leverage' needs harmless requests too; choose another, or the "
                    "embedded or hub data"
                )
            ran = self.progress.counting(2 * len(pairs), "{} answers")
            try:
                with stoppable(self.model, stop, ran):
                    contrast = contrast_activations(self.model, pairs, r)
                self.progress.show(1, "probes")
                scores = None
                if selection == "leverage":
                    self.progress.show(1, "leverage of every head")
                    with stoppable(self.model, stop):
                        train = load_data("requests", "train", source)
                        scores = leverage(self.model, contrast, train, pairs)
                lock, probes = find_lock(contrast, k, selection, 0, scores)
            finally:
                self.progress.hide()
            values, name = probes.validation_accuracy, "probe accuracy"
            if scores is not None:
                values, name = scores, "leverage"
            self._show(lock, contrast)
            self.heads.show(values, every_head(contrast), lock.heads, name)
            self.keep()

        self.work(job)

    def use(self, heads: list[tuple[int, int]]) -> None:
        """A lock of the (layer, head) pairs given, as clicks on the map make it."""
        self.heads.active = [list(head) for head in heads]

    def _discovery(self) -> Discovery:
        return self.lock, self.contrast, self.source.value

    def static(self) -> str:
        """The lock found and what it did."""
        if self.lock is None:
            return f"<p>SafetyLock discovery on {self.model.name}: run this cell.</p>"
        return self.heads.static() + self.summary.value + self.apply_panel.outcome.value

    def _read(self) -> None:
        with self.errors():
            self.message.value, self.pairs = "", []
            self._preview()
            if self.source.value == "file":
                pairs = self._from_file
                if not pairs:
                    self.say("Upload a .jsonl, .json or .csv with prompt, chosen and rejected.")
            else:
                pairs = load_data("preference", "train", self.source.value)
            self.pairs = pairs[: self.count.value]
            self._preview()

    def _uploaded(self) -> None:
        self._from_file, self.source.value = [], "file"
        with self.errors():
            read = partial(load_data, "preference", "train")
            _, self._from_file = self.uploaded(self.upload, read)
            self._read()

    def _preview(self) -> None:
        self.reveal.description = "Hide texts" if self.reveal.value else "Show harmful texts"
        if not self.pairs:
            self.preview.value = ""
        elif self.reveal.value:
            keys = ("prompt", "chosen", "rejected")
            lines = [[p[k][:160] for k in keys] for p in self.pairs[:SHOWN]]
            self.preview.value = html_table(keys, lines)
        else:
            self.preview.value = (
                f'<div class="wb-note">{len(self.pairs)} pairs; their harmful texts are hidden '
                "until asked for.</div>"
            )

    def _picked(self) -> None:
        heads = [tuple(head) for head in self.heads.active]
        if self.contrast is None or (self.lock and set(heads) == set(self.lock.heads)):
            return
        with self.errors():
            if not heads:
                raise ValueError("every head is switched out; a lock needs at least one")
            labels = self.contrast.labels
            lock = HeadDirections.contrast(self.contrast.acts, labels, heads, selection="by hand")
            self._show(lock, self.contrast)
            self.keep()

    def _show(self, lock: HeadDirections, contrast: Contrast) -> None:
        """Its heads, scales, and how much of it is chance."""
        self.lock, self.contrast, self.save.disabled = lock, contrast, False
        self.summary.value = f'<pre class="wb-note">{html.escape(str(lock))}</pre>'
        mixed = shuffled_labels(contrast, lock.heads, 0)
        estimates = {
            "two halves of the pairs": cosines(*halves(contrast, lock.heads)),
            "shuffled labels": cosines(lock, mixed),
        }
        title = "Geometry of the lock: cosine of each head's direction to another estimate"
        self.geometry.draw(cosine_bars(estimates, title))

    def _save(self) -> None:
        with self.errors():
            path = self.place(self.name.value)
            if path.suffix not in (".safetensors", ".safelock"):
                raise ValueError(f"{path.name}: end the name in .safetensors or .safelock")
            if self.lock is None:
                raise ValueError("no lock yet: discover one first (step 2)")
            if path.suffix == ".safelock":
                self.lock.to_safelock(path)
            else:
                self.lock.save(path)
            self.say(f"{path} saved")


def _step(number: int, text: str) -> widgets.HTML:
    return widgets.HTML(f"<h4>{number}. {html.escape(text)}</h4>")
