"""The PAS UI: answers, sliders or a respondent → aligned model; target against measured traits."""

import threading
from pathlib import Path

import ipywidgets as widgets
import numpy as np

from workbench.data.respondents import MIN_USED, Respondents
from workbench.errors import DatasetError
from workbench.models.model import Model
from workbench.models.prompts import messages
from workbench.papers.pas import presets
from workbench.papers.pas.answer import answers
from workbench.papers.pas.contrast import AnswerContrast, contrast_answers
from workbench.papers.pas.paper import Settings, people
from workbench.papers.pas.profile import answers_of, person, questionnaire, trait_means
from workbench.papers.pas.prompts import LABELS, SYSTEM, question, texts
from workbench.papers.pas.search import align, prompts_per_subject
from workbench.plots.figures import dose_response, radar
from workbench.steering.directions import HeadDirections
from workbench.steering.shifts import check_alpha
from workbench.widgets.markup import html_table as table
from workbench.widgets.side_by_side import SideBySide
from workbench.widgets.view import WIDE, Figure, Progress, View, later
from workbench.widgets.worker import stoppable

NAMES = {"A": "Agreeableness", "C": "Conscientiousness", "E": "Extraversion",
         "N": "Neuroticism", "O": "Openness"}  # fmt: skip
START = {"A": 4.0, "C": 3.5, "E": 4.5, "N": 2.0, "O": 3.5}


class PAS(View):
    """Who the model is to answer as, how strongly, and what it then answers.

    `by` is the tab: "answers", "sliders" or "person". `align()` finds the direction and searches
    alpha; moving `alpha` measures again. `measured`: trait → level, before and after; `answered`:
    the answers to the test items, by column.
    """

    def __init__(
        self,
        model: Model | str = "survey",
        respondents: Respondents | None = None,
        *,
        settings: Settings | None = None,
        folder: str | Path = ".",
    ) -> None:
        super().__init__(folder)
        self.model = presets.model("tiny", model) if isinstance(model, str) else model
        everybody = respondents or people("tiny")
        self.people, self.inventory = everybody, everybody.inventory
        self.settings = settings or Settings().tiny()
        self.direction: HeadDirections | None = None
        self.measured: dict[str, dict[str, float]] = {}
        self.answered: dict[str, np.ndarray] = {}
        self._contrast: AnswerContrast | None = None
        self._measured_alpha: float | None = None
        self.form = {p: self._item(p) for p in questionnaire(self.inventory)}
        wide = {"layout": WIDE, "style": {"description_width": "130px"}}
        self.levels = {
            t: widgets.FloatSlider(
                START.get(t, 3.0), min=1, max=5, step=0.25, description=NAMES.get(t, t), **wide
            )
            for t in self.inventory.traits
        }
        self.who = widgets.Dropdown(options=self.people.ids, description="respondent")
        self.by = widgets.Tab(
            [
                widgets.VBox(list(self.form.values())),
                widgets.VBox(list(self.levels.values())),
                self.who,
            ],
            titles=("answers", "sliders", "person"),
            selected_index=1,
        )
        self.start = widgets.Button(description="Align", button_style="primary", icon="user")
        self.progress = Progress()
        self.alpha = widgets.FloatSlider(
            0.0, min=0, max=max(self.settings.alphas), step=0.25, description="alpha (σ)",
            layout=WIDE, continuous_update=False,
        )  # fmt: skip
        self.radar, self.curve, self.items = Figure(), Figure(), widgets.HTML()
        first = texts(self.inventory, self.inventory.split("test")[:1], "second", lower=True)[0]
        self.prompt = widgets.Textarea(question(first), description="chat", layout=WIDE, rows=3)
        self.ask = widgets.Button(description="Ask", icon="comment")
        self.columns = SideBySide()
        self.save_name = widgets.Text("persona.safetensors", description="file")
        self.save = widgets.Button(description="Save direction")
        figures = widgets.HBox([self.radar, self.curve])
        pages = widgets.Tab(
            [figures, self.items, widgets.VBox([self.prompt, self.ask, self.columns])],
            titles=("traits", "items", "chat: before | after"),
        )
        self.show(
            self.by,
            widgets.HBox([self.start, self.stop, self.progress]),
            self.message,
            self.alpha,
            pages,
            widgets.HBox([self.save_name, self.save]),
        )
        for part in (self.radar, self.curve):
            part.layout.width = "50%"
        self.start.on_click(later(self.align))
        self.alpha.observe(later(self.measure), "value")
        self.ask.on_click(later(self.chat))
        self.save.on_click(later(self._save))

    def target(self) -> Respondents:
        """The one respondent that the open tab describes.

        Raises `DatasetError` for too few answers off the middle.
        """
        tab = self.by.titles[self.by.selected_index or 0]
        if tab == "person":
            place = self.people.ids.index(self.who.value)
            return self.people.take([place])
        values = np.zeros(len(self.inventory.items), np.int8)
        if tab == "sliders":
            levels = {t: s.value for t, s in self.levels.items()}
            values = answers_of(levels, self.inventory)
        else:
            for place, item in self.form.items():
                values[place] = item.value
        train = values[self.inventory.split("train")]
        used = int(((train > 0) & (train != 3)).sum())
        if used < MIN_USED:
            raise DatasetError(
                f"{used} answers off the middle; give at least {MIN_USED}, so that there is a "
                "direction"
            )
        return person(values, self.inventory)

    def align(self) -> None:
        """Direction, alpha by held-out answers, and the test items before and after."""
        with self.errors():
            who = self.target()
            self.work(lambda stop: self._align(who, stop))

    def measure(self) -> None:
        """The test items again, at the alpha that is set."""
        # A search measures at the alpha that it then sets.
        measured, self._measured_alpha = self._measured_alpha, None
        if self.direction is not None and self.alpha.value != measured:
            alpha, who = self.alpha.value, self._who
            self.work(lambda stop: self._measure(who, alpha, stop))

    def chat(self) -> None:
        """The prompt to the model as it is, and aligned."""
        text, alpha = self.prompt.value, self.alpha.value
        prompt = messages(text, SYSTEM)

        def job(stop: threading.Event) -> None:
            self.columns.run(self.model, self.direction, alpha, prompt, stop)

        self.work(job)

    def static(self) -> str:
        """Target and measured traits, and the items."""
        if not self.measured:
            return f"<p>Personality steering of {self.model.name}: run this cell.</p>"
        lines = [[who, *levels.values()] for who, levels in self.measured.items()]
        return table(("", *next(iter(self.measured.values()))), lines) + self.items.value

    def _align(self, who: Respondents, stop: threading.Event) -> None:
        settings, inventory = self.settings, self.inventory
        forwards = 2 * len(inventory.split("train")) * len(settings.orders)
        try:
            if self._contrast is None:
                title = "what agreeing looks like, once for everybody"
                with stoppable(self.model, stop, self.progress.counting(forwards, title)):
                    self._contrast = contrast_answers(
                        self.model, inventory, wording=settings.wording, orders=settings.orders
                    )
            rows = prompts_per_subject(inventory, settings)
            with stoppable(self.model, stop, self.progress.counting(rows, "alpha search")):
                alignment = align(self.model, self._contrast, who, settings)
        finally:
            self.progress.hide()
        self.direction, self._who, alpha = alignment.direction, who, alignment.alpha
        if searched := alignment.searched:
            curves = {
                name: {a: [e] for a, e in zip(searched.alphas, errors, strict=True)}
                for name, errors in (
                    ("held-out answers", searched.validation),
                    ("test items", searched.test),
                )
            }
            title = "Error by alpha, sum over traits"
            self.curve.draw(dose_response(curves, title, chosen=alpha, y_name="error"))
        else:
            self.curve.clear()
            self.say("Too few answers to hold some out: alpha is 1; move it yourself.")
        self._measure(who, alpha, stop)
        self._measured_alpha = alpha
        self.alpha.value = alpha

    def _measure(self, who: Respondents, alpha: float, stop: threading.Event) -> None:
        check_alpha(alpha)
        test = np.array(self.inventory.split("test"))
        statements = texts(self.inventory, test, self.settings.wording, lower=True)
        with stoppable(self.model, stop):
            before, after = answers(
                self.model, SYSTEM, statements, self.settings,
                direction=self.direction, alphas=[0.0, alpha],
            )  # fmt: skip
        known = np.flatnonzero(who.values[0] > 0)
        self.answered = {"target": who.values[0, test], "before": before, "after": after}
        inventory, targets = self.inventory, who.targets
        self.measured = {
            "target": trait_means(who.values[0, known], known.tolist(), inventory, targets),
            "before": trait_means(before, test.tolist(), inventory, targets),
            f"after, alpha {alpha:g}": trait_means(after, test.tolist(), inventory, targets),
        }
        title = "Target, and what the model answers to other statements"
        self.radar.draw(radar(self.measured, title))
        lines = [
            [text, *(LABELS[v] if v else None for v in (t, b, a))]
            for text, t, b, a in zip(statements, *self.answered.values(), strict=True)
        ]
        self.items.value = (
            '<div style="max-height:380px;overflow-y:auto">'
            + table(("You …", "target", "before", "after"), lines) + "</div>"
        )  # fmt: skip
        self.keep()

    def _item(self, place: int) -> widgets.Dropdown:
        text = texts(self.inventory, [place], "second", lower=False)[0]
        return widgets.Dropdown(
            options=[("not answered", 0), *((LABELS[v], v) for v in range(1, 6))],
            description=f"You {text}", layout=WIDE, style={"description_width": "420px"},
        )  # fmt: skip

    def _save(self) -> None:
        with self.errors():
            if self.direction is None:
                raise ValueError("no direction yet: align first")
            path = self.place(self.save_name.value)
            self.direction.save(path)
            self.say(f"{path} saved: wb.HeadDirections.load reads it")
