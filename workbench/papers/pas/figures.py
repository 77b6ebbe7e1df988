"""Study → Plotly: people, directions, alphas."""

import plotly.graph_objects as go
from IPython.display import HTML

from workbench.data.respondents import Respondents
from workbench.papers.pas import scores, tables
from workbench.papers.pas.paper import MODES
from workbench.papers.pas.profile import facet_means
from workbench.papers.pas.study import Geometry, Study
from workbench.plots.figures import cell_map, dose_response, radar, scatter


def facets(respondents: Respondents, subject: int) -> go.Figure:
    """One person's facet means."""
    title = f"Subject {respondents.ids[subject]}: facet means, 1 to 5"
    return radar({"own answers": facet_means(respondents, subject)}, title)


def yea_saying(geometry: Geometry) -> go.Figure:
    """The share of each subject's direction that is common to all, by yea-saying."""
    rows = geometry.subjects
    return scatter(
        [r["lean"] for r in rows], [r["share"] for r in rows],
        "Yea-saying and the common part of the direction, one dot per subject",
        axes=("yea-saying s̄", "share that is common"), text=[r["subject"] for r in rows],
    )  # fmt: skip


def cosines(geometry: Geometry) -> go.Figure:
    """How alike people's directions are."""
    title = f"Cosine of people's directions (all heads), first {len(geometry.ids)} subjects"
    return cell_map(
        geometry.cosines, geometry.ids, geometry.ids, title,
        axes=("subject", "subject"), name="cosine", signed=True,
    )  # fmt: skip


def alphas(study: Study) -> go.Figure:
    """Score by alpha of every mode."""
    curves = scores.curves(study, "test")
    return dose_response(
        {mode: curves[mode] for mode in MODES if mode in curves},
        "Score on test statements (lower is better)",
        y_name="Score", reference=("always neutral", scores.neutral(study)),
    )  # fmt: skip


def controls(study: Study) -> go.Figure | HTML:
    """Score by alpha of other directions, and of shuffled answers, where they were searched."""
    if not study.settings.controls:
        return HTML("<p>No controls in this run: -p controls=1 searches them, too.</p>")
    curves = scores.curves(study, "test")
    return dose_response(
        {name: curve for name, curve in curves.items() if name.startswith("pas")},
        "Controls: other directions, shuffled answers",
        y_name="Score", reference=("always neutral", scores.neutral(study)),
    )  # fmt: skip


def extreme(study: Study) -> go.Figure:
    """Trait means of the first seed's subject who gains most, or loses least."""
    group = study.groups[0]
    subject = scores.extreme(group)
    who = "who gains most" if scores.gains(group)[subject] > 0 else "though nobody gains"
    title = f"{group.respondents.ids[subject]}, {who}: trait means on test statements"
    return radar(tables.profiles(group, subject), title)
