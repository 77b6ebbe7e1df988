"""The feature UI: a sortable table of SAE features, figures of them all, a card of one."""

import html
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd

from workbench.models.token_ids import around, ids_of, require_text
from workbench.plots.features import token_text
from workbench.sae.card import contexts, histogram, largest_pairs, save_concepts
from workbench.sae.diff import FeatureDiff
from workbench.sae.lens import lens as logit_lens
from workbench.sae.loading import features_of
from workbench.sae.table import feature_table, waterfall
from workbench.widgets.markup import html_table as table_html
from workbench.widgets.markup import shaded
from workbench.widgets.table import Table
from workbench.widgets.view import WIDE, Figure, View, alert, later

SHOWN = (
    "density_policy", "mean_policy", "dz_policy", "auroc_policy", "q_policy", "drift_rejected",
    "share_rejected", "loss_pull",
)  # fmt: skip
CONTEXTS = 12
PAINTED = 0.8
"""Seconds that the table has to itself before figures are drawn."""


class Features(View):
    """The features of a diff. `table.sort`, `table.filter` and `table.selected` drive it.

    `rows`: the pairs that the diff was built of. `policy`, `reference`: for the probe of a pasted
    text (and, the reference's, for the lens); without them these are left out. `concepts`: name →
    features.
    """

    def __init__(
        self,
        feature_diff: FeatureDiff | str | Path,
        sae: Any,
        rows: Sequence[dict[str, list[int]]],
        tokenizer: Any,
        *,
        policy: Any = None,
        reference: Any = None,
        table: pd.DataFrame | None = None,
        lens: pd.DataFrame | None = None,
        folder: str | Path = ".",
    ) -> None:
        super().__init__(folder)
        if not isinstance(feature_diff, FeatureDiff):
            feature_diff = FeatureDiff.load(feature_diff)
        self.diff, self.sae, self.rows, self.tokenizer = feature_diff, sae, rows, tokenizer
        self.models = {"policy": policy, "reference": reference}
        self.concepts: dict[str, list[int]] = {}
        self._drawing = threading.Lock()
        frame = feature_table(feature_diff, sae) if table is None else table
        model = reference if reference is not None else policy
        self.frame, self._lens_model = frame, model
        self._lens = {} if lens is None else {int(i): lens.loc[i] for i in lens.index}
        self.filter = widgets.Text(
            placeholder="a feature, or density_policy > 0.01 and q_policy < 0.05",
            description="filter", layout=WIDE, continuous_update=False,
        )  # fmt: skip
        self.misread = widgets.HTML()
        self.table = Table(frame, SHOWN, "share_rejected")
        self.table.selected = int(frame["share_rejected"].idxmax())
        self.first, self.back, self.next = (
            widgets.Button(icon=i, tooltip=t, layout={"width": "40px"})
            for i, t in (("fast-backward", "first page"), ("step-backward", "page before"),
                         ("step-forward", "next page"))
        )  # fmt: skip
        self.where = widgets.Label()
        self.overview = [Figure() for _ in range(3)]
        self.pages = widgets.Tab(self.overview, titles=("volcano", "drift", "penalty"))
        self.title, self.card = widgets.HTML(), widgets.HTML()
        self.histogram = Figure()
        self.near = widgets.HBox()
        self.probe = widgets.Textarea(
            placeholder="paste a text", description="your text", layout=WIDE, rows=2
        )
        self.side = widgets.Dropdown(
            options=[n for n, m in self.models.items() if m is not None] or ["no model given"],
            description="read by",
        )
        self.read = widgets.Button(description="Read", icon="search", disabled=model is None)
        self.probed = widgets.HTML()
        self.concept = widgets.Text(placeholder="name of a concept", description="concept")
        self.mark = widgets.Button(description="Mark feature", icon="tag")
        self.file = widgets.Text("concepts.json", description="file")
        self.export = widgets.Button(description="Export", icon="download")
        self.marked = widgets.HTML()
        self.show(
            self.filter,
            self.misread,
            self.table,
            widgets.HBox([self.first, self.back, self.next, self.where]),
            self.pages,
            self.title,
            self.near,
            self.histogram,
            self.card,
            widgets.HTML("<h4>Probe</h4>"),
            self.probe,
            widgets.HBox([self.side, self.read]),
            self.probed,
            widgets.HTML("<h4>Concepts</h4>"),
            widgets.HBox([self.concept, self.mark, self.file, self.export]),
            self.marked,
            self.message,
        )
        self.filter.observe(lambda c: setattr(self.table, "filter", c.new), "value")
        self.table.observe(later(self._filtered), ["problem", "pages", "page"])
        self.table.observe(later(self._show_card), "selected")
        self.first.on_click(lambda _: self._turn(-self.table.page))
        self.back.on_click(lambda _: self._turn(-1))
        self.next.on_click(lambda _: self._turn(1))
        self.read.on_click(later(self.read_text))
        self.mark.on_click(later(self.mark_feature))
        self.export.on_click(later(self._export))
        self._filtered()
        self.work(self._draw)

    def static(self) -> str:
        """The first page of the table and the card of the selected feature."""
        return table_html(self.table.columns, self.table.rows) + self.title.value + self.card.value

    def read_text(self) -> None:
        """The pasted text's tokens, shaded by the selected feature, and its strongest features."""
        with self.errors():
            self.message.value = ""
            text = self.probe.value
            require_text("the text", text)
            ids = around(self.tokenizer)[0] + ids_of(self.tokenizer, [text])[0]
            if not ids:
                raise ValueError("paste a text first")
            model = self.models[self.side.value]
            features = features_of(model, self.sae, self.diff.meta["hook"], ids)
            selected = features[:, self.table.selected].tolist()
            words = [token_text(t) for t in self.tokenizer.convert_ids_to_tokens(ids)]
            values, indices = features.amax(0).topk(min(8, features.shape[1]))
            strongest = dict(zip(indices.tolist(), values.tolist(), strict=True))
            lens = self.lens(list(strongest))
            lines = [
                [i, value, words[int(features[:, i].argmax())], _up(lens, i)]
                for i, value in strongest.items()
                if value > 0
            ]
            self.probed.value = (
                f'<div class="wb-note">feature {self.table.selected}, {self.side.value}: largest '
                f'activation {max(selected):.3g}</div><div class="wb-text wb-short">'
                + shaded(words, selected, max(max(selected), 1e-9)) + "</div>"
                + table_html(("strongest features", "activation", "on", "speaks for"), lines)
            )  # fmt: skip

    def lens(self, features: Sequence[int]) -> pd.DataFrame | None:
        """The logit lens of some features, computed when first asked for; None without a model."""
        missing = [i for i in features if i not in self._lens]
        if missing and self._lens_model is None:
            return None
        if missing:
            hook = self.diff.meta["hook"]
            rows = logit_lens(self._lens_model, self.sae, hook, self.tokenizer, missing)
            self._lens |= {int(i): rows.loc[i] for i in rows.index}
        return pd.DataFrame([self._lens[i] for i in features], index=list(features))

    def mark_feature(self) -> None:
        """Put the selected feature into the concept that is named."""
        with self.errors():
            name = self.concept.value.strip()
            if not name:
                raise ValueError("name the concept first")
            marked = self.concepts.setdefault(name, [])
            if self.table.selected not in marked:
                marked.append(self.table.selected)
            lines = [[k, ", ".join(map(str, v))] for k, v in self.concepts.items()]
            self.marked.value = table_html(("concept", "features"), lines)

    def _draw(self, stop: threading.Event) -> None:
        # A browser loads and draws figures for longer than the table, which is to be there first.
        stop.wait(PAINTED)
        from workbench.plots.features import drift_scatter, penalty_waterfall, volcano

        self._show_card()
        means = [self.diff.pooled[who, "rejected"].mean(0) for who in ("ref", "policy")]
        pooled = [np.asarray(mean).ravel().tolist() for mean in means]
        figures = (
            volcano(self.frame, "What tells chosen from rejected"),
            drift_scatter(*pooled, "Mean activation over rejected responses"),
            penalty_waterfall(waterfall(self.frame), "The features behind 80 % of D(rejected)"),
        )
        for part, figure in zip(self.overview, figures, strict=True):
            part.draw(figure)

    def _turn(self, pages: int) -> None:
        self.table.page = min(max(self.table.page + pages, 0), self.table.pages - 1)

    def _filtered(self) -> None:
        self.where.value = f"page {self.table.page + 1} of {self.table.pages}"
        self.misread.value = alert(self.table.problem) if self.table.problem else ""

    def _show_card(self) -> None:
        from workbench.plots.features import activation_histogram

        # One card at a time: whoever draws last draws what is selected then.
        with self._drawing, self.errors():
            i = self.table.selected
            near = contexts(self.diff, i, self.rows, self.tokenizer)[:CONTEXTS]
            self.title.value = f"<h4>Feature {i}</h4>" + self._numbers(i)
            self.histogram.draw(
                activation_histogram(histogram(self.diff, i), "Tokens by activation")
            )
            neighbours = zip(*self.frame.loc[i, ["nearest", "nearest_cosine"]], strict=True)
            self.near.children = [
                widgets.Label("nearest:"), *(self._jump(int(j), cosine) for j, cosine in neighbours)
            ]  # fmt: skip
            lines = [_context(c) for c in near] or ["<p>Active on no token of these pairs.</p>"]
            pairs = largest_pairs(self.diff, i, 5)
            self.card.value = (
                "<h4>Strongest contexts (shaded: the policy's activation; hover for the number)"
                "</h4>" + "".join(lines) + "<h4>Pairs whose rejected response drifted most</h4>"
                + table_html(pairs.columns, pairs.to_numpy().tolist())
            )  # fmt: skip
            self.keep()

    def _numbers(self, i: int) -> str:
        line = table_html(SHOWN, [[float(self.frame.loc[i, c]) for c in SHOWN]])
        lens = self.lens([i])
        if lens is None:
            return line
        up, down = (" ".join(map(token_text, lens.loc[i, c])) for c in ("up", "down"))
        return (
            f"{line}<div class='wb-note'>speaks for: {html.escape(up)}<br>"
            f"against: {html.escape(down)}</div>"
        )

    def _jump(self, i: int, cosine: float) -> widgets.Button:
        button = widgets.Button(description=f"{i} ({cosine:.2f})", layout={"width": "110px"})
        button.on_click(lambda _: setattr(self.table, "selected", i))
        return button

    def _export(self) -> None:
        with self.errors():
            path = self.place(self.file.value)
            lens = self.lens(sorted({i for marked in self.concepts.values() for i in marked}))
            if lens is None:
                raise ValueError("give policy or reference: a concept is exported with its lens")
            save_concepts(self.diff, lens, self.concepts, path)
            self.say(f"{path} saved")


def _up(lens: pd.DataFrame | None, i: int) -> str:
    return "–" if lens is None else " ".join(map(token_text, lens.loc[i, "up"][:4]))


def _context(context: dict[str, Any]) -> str:
    words = [token_text(t) for t in context["tokens"]]
    top = max(*context["policy"], *context["ref"], 1e-9)
    place = f"{context['kind']} · pair {context['pair']} {context['side']}"
    return (
        f'<div style="line-height:1.7"><span class="wb-note">{place} · {context["value"]:.3g}: '
        f"</span>{shaded(words, context['policy'], top, at=context['at'])}</div>"
    )
