"""Study → Plotly: people, directions, alphas, scores, times."""

import plotly.graph_objects as go

from workbench.data.respondents import Respondents
from workbench.papers.pas import scores, sentences, tables
from workbench.papers.pas.paper import MEASURED
from workbench.papers.pas.profile import facet_means
from workbench.papers.pas.search import MODES
from workbench.papers.pas.study import Geometry, Study
from workbench.plots.figures import cell_map, dose_response, radar, scatter
from workbench.plots.tables import table


def statements(respondents: Respondents) -> go.Figure:
    """The first statements with their key."""
    return table(tables.statements(respondents), "The first statements")


def references(respondents: Respondents) -> go.Figure:
    """Errors of predictors that need no model."""
    people = sentences.described(respondents)
    title = f"{people}, {respondents.targets} values, missing answers left out"
    return table(tables.references(respondents), title)


def published() -> go.Figure:
    """The same predictors on the released subjects, with the published row."""
    return table(tables.published(), f"The published row, and beside it, {MEASURED}")


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


def controls(study: Study) -> go.Figure:
    """Score by alpha of other directions, and of shuffled answers."""
    curves = scores.curves(study, "test")
    return dose_response(
        {name: curve for name, curve in curves.items() if name.startswith("pas")},
        "Controls: other directions, shuffled answers",
        y_name="Score", reference=("always neutral", scores.neutral(study)),
    )  # fmt: skip


def letters(study: Study) -> go.Figure:
    """Answers as alpha grows."""
    title = "What is answered as alpha grows (pas): entropy and collapse"
    return table(tables.letters(study), title)


def errors(study: Study) -> go.Figure:
    """Every method's error per trait and Score."""
    title = f"{study.model}: error per trait and Score; intervals over {tables.over(study)}"
    return table(tables.scores(study), title)


def differences(study: Study) -> go.Figure:
    """Methods compared subject by subject."""
    title = (
        f"Paired differences of Scores over {tables.over(study)} (negative: the first is better)"
    )
    return table(tables.differences(study), title)


def extreme(study: Study) -> go.Figure:
    """Trait means of the first seed's subject who gains most."""
    group = study.groups[0]
    subject = tables.extreme(group)
    title = f"{group.respondents.ids[subject]}, who gains most: trait means on test statements"
    return radar(tables.profiles(group, subject), title)


def times(study: Study) -> go.Figure:
    """Seconds per subject of PAS and DPO."""
    return table(tables.times(study), "Seconds per subject")
