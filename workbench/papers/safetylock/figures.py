"""A study's pictures: heads, validation map, dose and response, cosines."""

import plotly.graph_objects as go
import torch

from workbench.papers.safetylock.lock import strongest
from workbench.papers.safetylock.study import Study
from workbench.plots import figures as plots

MAPS = {"asr": "attack success", "helpful": "harmless helped", "broken": "broken replies"}
CURVES = {
    "asr": "attack success (phrases)",
    "granted": "harmful requests granted (our judge)",
    "helpful": "harmless requests helped",
    "broken": "broken replies to harmful requests",
    "over_refusal": "over-refusal",
}


def head_maps(study: Study) -> list[go.Figure]:
    """Probe accuracy and leverage of every head of the base model, for each r."""
    given, maps = study.inputs.lock, []
    k = len(given) if given else study.settings.heads_grid[0]
    for r, probes in study.probes.items():
        title = (
            f"Probe accuracy on held-out pairs, last {r} answer tokens; dots: the best {k} heads"
        )
        maps.append(plots.head_map(probes.validation_accuracy, title, marked=probes.top(k)))
        if r in study.scores:
            scores, title = study.scores[r], f"Leverage on the base model; dots: the best {k} heads"
            best = strongest(scores, k)
            maps.append(plots.head_map(scores, title, name="nats", center=0.0, marked=best))
    return maps


def validation_maps(study: Study) -> list[go.Figure]:
    """Attack success, help and broken text for every candidate and alpha."""
    rates = {(candidate, alpha): rates for candidate, alpha, rates in study.trials}
    candidates = list(dict.fromkeys(candidate for candidate, _ in rates))
    alphas = sorted({alpha for _, alpha in rates})
    return [
        plots.cell_map(
            [[rates[candidate, alpha][name] for alpha in alphas] for candidate in candidates],
            ["{} r={} K={}".format(*candidate) for candidate in candidates],
            [f"{alpha:g}" for alpha in alphas],
            f"Validation: {title}", axes=("heads", "alpha"), name="share",
        )
        for name, title in MAPS.items()
    ]  # fmt: skip


def head_effects(study: Study) -> go.Figure:
    """What each head of the lock does alone; empty where that cannot be measured."""
    base = study.inputs.base
    grid = torch.zeros(base.n_layers, base.n_heads)
    for head, effect in study.effects.items():
        grid[head] = effect
    title = "Effect of each head of the lock alone on the attacked model"
    return plots.head_map(grid, title, name="nats", center=0.0, marked=list(study.effects))


def dose_response(study: Study) -> go.Figure:
    """Rates of the level-1 attacks on test requests against alpha."""
    curves = list(study.level_one.values())
    rates = {
        label: {alpha: [curve[alpha].rates()[name] for curve in curves] for alpha in curves[0]}
        for name, label in CURVES.items()
    }
    title = "Dose and response on test requests (line: mean, band: range over seeds)"
    return plots.dose_response(rates, title, chosen=study.alpha)


def cosines(study: Study) -> go.Figure:
    """Cosine of the lock's and each descendant's own directions."""
    named = {f"level {level}, seed {s}": heads for (level, s), heads in study.cosines.items()}
    return plots.cosine_bars(named, "Cosine of base and descendant directions, per shared head")
