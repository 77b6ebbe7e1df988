"""A lock on another checkpoint: attack success and over-refusal before and after, with controls."""

import itertools
import threading
from collections.abc import Callable

import ipywidgets as widgets

from workbench.data.preferences import load_data
from workbench.errors import DatasetError, ModelError
from workbench.evaluation.metrics import measured, spelled
from workbench.models.model import Model
from workbench.papers.safetylock import presets
from workbench.papers.safetylock.attack import fine_tune, granting
from workbench.papers.safetylock.evaluate import Benchmark, Judges, Outcome, judged, take
from workbench.papers.safetylock.lock import CONTROLS, Contrast
from workbench.papers.safetylock.paper import require_both_kinds
from workbench.papers.safetylock.response import controls, dose_response, locked_replies
from workbench.papers.safetylock.tune import Tuned
from workbench.plots import figures as plots
from workbench.steering.directions import HeadDirections
from workbench.widgets.markup import html_table
from workbench.widgets.view import Figure, Progress, View, later
from workbench.widgets.worker import Stopped, stoppable

RATES = {"attack": "attack success", "granted": "granted", "over_refusal": "over-refusal",
         "helpful": "helped", "broken": "broken replies"}  # fmt: skip
NOTE = (
    "Attack success and over-refusal: by the published phrases. Granted (neither refused nor "
    "broken) and helped: by our judge. {agree} Intervals are over the requests, and over the draws "
    "of a control."
)
TOKENS = 72
DRAWS = 3


Discovery = tuple[HeadDirections | None, Contrast | None, str]
"""A lock, the contrast it was found in, and the source of its requests: "auto", "hub", or "file"
where the pairs came without any."""


class ApplyPanel(widgets.VBox):
    """A lock's effect on `target`: a folder or hub id; empty, a copy of `base` attacked here.

    `discovery()` is asked for the lock whenever it is applied; `view` runs the work. `outcomes`:
    name → `Outcome` of the last evaluation, "before" and "after" among them.
    """

    def __init__(
        self, view: View, base: Model, discovery: Callable[[], Discovery], research: bool
    ) -> None:
        self._view, self._base, self._discovery = view, base, discovery
        self._target: tuple[str, Model] | None = None
        self.outcomes: dict[str, Outcome] = {}
        wide = widgets.Layout(width="330px")
        self.target = widgets.Text(
            "", description="checkpoint", placeholder="empty: an attacked copy, made here",
            layout=wide,
        )  # fmt: skip
        self.requests = widgets.Text(
            "", description="requests", placeholder="empty: those of the pairs' source", layout=wide
        )
        self.count = widgets.BoundedIntText(
            40, min=1, max=10000, description="of each", layout={"width": "160px"}
        )
        self.research = widgets.Checkbox(
            research, description="research: allow negative alpha", indent=False
        )
        self.alpha = widgets.FloatSlider(
            1.0, min=-4.0 if research else 0.0, max=8.0, step=0.25, description="alpha (σ)"
        )
        self.controls = widgets.Checkbox(True, description="controls", indent=False)
        self.apply_button = widgets.Button(description="Apply", button_style="primary", icon="lock")
        self.progress = Progress()
        self.outcome = widgets.HTML()
        self.curve = Figure()
        super().__init__(
            [
                widgets.HBox([self.target, self.requests, self.count]),
                widgets.HBox([self.alpha, self.controls, self.research]),
                widgets.HBox([self.apply_button, self.progress]),
                self.outcome,
                self.curve,
            ]
        )
        self.research.observe(later(self._bounds), "value")
        self.apply_button.on_click(later(self.apply))

    def apply(self) -> None:
        """Evaluate the lock at 0, ½, 1 and 1½ times alpha, and its controls, in the background."""
        lock, contrast, found_in = self._discovery()
        alpha, count = self.alpha.value, self.count.value
        target, requests = self.target.value.strip(), self.requests.value.strip()
        with_controls, negative = self.controls.value and alpha != 0, self.research.value

        def job(stop: threading.Event) -> None:
            if lock is None or contrast is None:
                raise ValueError("no lock yet: discover one first (step 2)")
            if not requests and found_in == "file":
                raise DatasetError("pairs from a file come without requests: name a requests file")
            source = requests or found_in
            test = take(load_data("requests", "test", source), count)
            require_both_kinds(test, "test")
            judge = presets.judge(self._base, test)
            benchmark = Benchmark(test, judge, TOKENS)
            alphas = {0.0, alpha / 2, alpha, 1.5 * alpha}
            total = len(alphas) + (DRAWS * len(CONTROLS) if with_controls else 0)
            numbers = itertools.count()
            try:
                attack = Tuned(self._model(target, source, judge, stop), "", 0)

                def measure(direction: HeadDirections | None, alpha: float) -> Outcome:
                    number = next(numbers)
                    self.progress.show(number / total, f"evaluation {number + 1} of {total}")
                    options = {"how": "hook", "allow_negative": negative}
                    with stoppable(attack.model, stop):
                        texts = locked_replies(attack, benchmark, direction, alpha, **options)
                    return judged(benchmark, texts)

                doses = dose_response(measure, lock, list(alphas))
                drawn = {}
                if with_controls:
                    drawn = controls(measure, contrast, lock, alpha, draws=DRAWS)
            finally:
                self.progress.hide()
            self._show(doses, drawn, alpha, attack.model.name)
            self._view.keep()

        self._view.work(job)

    def _model(self, target: str, source: str, judge: Judges, stop: threading.Event) -> Model:
        """The checkpoint named, or a copy of the base model that is attacked here, once."""
        base = self._base
        key = target or f"attacked {base.name} {source}"
        if self._target is None or self._target[0] != key:
            if target:
                self.progress.show(0, f"loading {target}")
                model = presets.descendant(target, base)
            else:
                self.progress.show(0, "attacking a copy (ten harmful requests, granted)")
                model = self._attacked(source, judge, stop)
            self._target = (key, model)
        return self._target[1]

    def _attacked(self, source: str, judge: Judges, stop: threading.Event) -> Model:
        """A copy of the base model that lost its refusals."""
        if source != "auto":
            raise ModelError("name a checkpoint; only the embedded data can make an attacked one")
        granted = granting(take(load_data("requests", "validation"), 40), judge)

        def enough(model: Model) -> bool:
            if stop.is_set():
                raise Stopped
            return granted(model)

        train = load_data("requests", "train")
        return fine_tune(self._base, train, 1, stop=enough).model

    def _show(
        self,
        doses: dict[float, Outcome],
        controls: dict[str, dict[str, Outcome]],
        alpha: float,
        name: str,
    ) -> None:
        self.outcomes = {
            "before": doses[0.0],
            "after": doses[alpha],
            **{f"{a:g}": outcome for a, outcome in doses.items()},
            **{
                f"{kind} {i}": outcome
                for kind, drawn in controls.items()
                for i, outcome in enumerate(drawn.values(), 1)
            },
        }
        groups = {"before": [doses[0.0]], f"locked, alpha {alpha:g}": [doses[alpha]]}
        groups |= {
            f"{kind}, {len(drawn)} draws": list(drawn.values()) for kind, drawn in controls.items()
        }
        lines = [
            [label, *(_with_ci([getattr(o, rate) for o in outcomes]) for rate in RATES)]
            for label, outcomes in groups.items()
        ]
        header = [name, *(f"{label} [95 % CI]" for label in RATES.values())]
        agree = f"The two agree on {_with_ci([doses[alpha].agree])} of the locked replies."
        note = f'<div class="wb-note">{NOTE.format(agree=agree)}</div>'
        self.outcome.value = html_table(header, lines) + note
        curves = {
            label: {a: [_mean(getattr(outcome, rate))] for a, outcome in doses.items()}
            for rate, label in RATES.items()
        }
        self.curve.draw(plots.dose_response(curves, f"{name} with the lock", chosen=alpha))

    def _bounds(self) -> None:
        low = -4.0 if self.research.value else 0.0
        self.alpha.value = max(self.alpha.value, low)
        self.alpha.min = low


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))


def _with_ci(draws: list[list[int]]) -> str:
    """Share and its interval over the requests, and over the draws where there are several.

    A dash for no draws: fewer heads lie outside the lock than in it.
    """
    flat = [v for draw in draws for v in draw]
    if not flat:
        return "–"
    ids = {
        "draws": [i for i, draw in enumerate(draws) for _ in draw],
        "requests": [i for draw in draws for i in range(len(draw))],
    }
    return f"{_mean(flat):.1%} {spelled(measured('share', flat, ids)['ci95'], '.1%')}"
