"""From the study to Plotly: curves of training, what the constraint does, which features moved."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.papers.fpo.study import FeatureEnd, Study
from workbench.papers.fpo.tables import alphas, means
from workbench.plots import features
from workbench.plots.style import layout
from workbench.plots.training import Curve, by_condition, training_curves
from workbench.sae.card import contexts, histogram
from workbench.sae.table import waterfall

PARTS = ("fpo/u", "fpo/margin", "fpo/constraint")


def curves(study: Study, condition: str, name: str) -> list[Curve]:
    """A logged value of one condition, one curve per seed; none where it is not logged."""
    return [
        t.curves[name] for t in study.trained if t.condition.name == condition and name in t.curves
    ]


def parts_of_u(study: Study) -> go.Figure:
    """u, margin and constraint over training, a panel per alpha."""
    panels: dict[str, Any] = {}
    for condition in alphas(study.trained).values():
        logged = {part: curves(study, condition, part) for part in PARTS}
        panels[condition] = {part: seeds for part, seeds in logged.items() if seeds}
    return training_curves(panels, "u over training (batches of training pairs)", y_name="u")


def distance_curves(study: Study) -> go.Figure:
    """D of rejected and of chosen answers over training, a line per alpha."""
    panels = {
        side: {
            name: curves(study, name, f"fpo/d_{side}") for name in alphas(study.trained).values()
        }
        for side in ("rejected", "chosen")
    }
    return training_curves(panels, "Feature distance D over training", y_name="D")


def distances(study: Study) -> go.Figure:
    """D on held-out pairs by condition, a dot per seed."""
    values = {m: means(study.trained, m) for m in ("D rejected", "D chosen")}
    return by_condition(values, "Feature distance on held-out pairs", y_name="D", log=True)


def divergences(study: Study) -> go.Figure:
    """KL from the reference on held-out pairs by condition, a dot per seed."""
    values = {m: means(study.trained, m) for m in ("KL rejected", "KL chosen")}
    title = "KL from the reference on held-out pairs"
    return by_condition(values, title, y_name="nats a sequence", log=True)


def stream_shift(study: Study) -> go.Figure:
    """How far the stream has moved at the hook, and how much of it D cannot see."""
    values = {
        "all": {n: [size for size, _ in seeds] for n, seeds in study.shifts.items()},
        "outside the SAE": {
            n: [size * share for size, share in seeds] for n, seeds in study.shifts.items()
        },
    }
    title = "Drift of the stream at the hook, as a share of its own variance"
    return by_condition(values, title, y_name="Σ‖Δh‖² / Σ‖h − mean h‖²", log=True)


def pooled_means(end: FeatureEnd, side: str = "rejected") -> list[list[float]]:
    """Mean pooled activation of every feature, of reference and policy."""
    pooled = end.diff.pooled
    return [np.asarray(pooled[who, side].mean(0)).ravel().tolist() for who in ("ref", "policy")]


def drift(study: Study) -> go.Figure:
    """Every feature of rejected answers, policy against reference, at both ends of the alphas."""
    names = [end.trained.condition.name for end in study.ends]
    figure = make_subplots(1, len(names), subplot_titles=names)
    for column, end in enumerate(study.ends, 1):
        for trace in features.drift_scatter(*pooled_means(end), "").data:
            figure.add_trace(trace, row=1, col=column)
    figure.update_xaxes(title="reference, pooled over rejected responses")
    figure.update_yaxes(title="policy", col=1)
    return layout(figure, "Mean activation over rejected responses")


def volcano(study: Study) -> go.Figure:
    """Which features tell chosen from rejected, coloured by their share of D."""
    title = f"{study.weakest.trained.condition.name}: what tells chosen from rejected"
    return features.volcano(study.weakest.table, title)


def penalty(study: Study) -> go.Figure:
    """The features behind 80 % of D(rejected)."""
    steps, name = waterfall(study.weakest.table), study.weakest.trained.condition.name
    what = "the features behind 80 % of D(rejected)" if steps.sum() else "D(rejected) is 0"
    return features.penalty_waterfall(steps, f"{name}: {what}")


def activations(study: Study, feature: int) -> go.Figure:
    """Tokens by activation of one feature, policy and reference."""
    bins = histogram(study.weakest.diff, feature)
    return features.activation_histogram(bins, f"Feature {feature}: tokens by activation")


def strongest_contexts(study: Study, feature: int, count: int = 10) -> go.Figure:
    """The strongest contexts of one feature, token by token."""
    near = contexts(study.weakest.diff, feature, study.rows, study.inputs.tokenizer)[:count]
    return features.token_map(near, f"Feature {feature}: strongest contexts")
