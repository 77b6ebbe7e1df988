"""Sentences that introduce figures: the people, what was extracted."""

import numpy as np

from workbench.data.respondents import Respondents
from workbench.papers.pas.reference import leanings
from workbench.papers.pas.study import Geometry


def described(respondents: Respondents, count: int | None = None) -> str:
    """How many people, all of them or `count`, and whether they exist: "128 invented people"."""
    # Only of synthetic people are the traits known.
    kind = "invented people" if respondents.traits is not None else "people"
    return f"{len(respondents) if count is None else count} {kind}"


def summary(respondents: Respondents) -> str:
    """How many people, how the file is scored and who says so, how much they agree."""
    keying, leaning = respondents.keying, leanings(respondents)
    scored = f"{keying.verdict}, as stated" if keying.stated else keying.verdict
    return (
        f"{described(respondents)}, {len(respondents.inventory.items)} statements; the file is "
        f"{scored} (opposite statements of a facet correlate {keying.correlation:+.2f} "
        f"over {keying.pairs} pairs, {keying.positive:.0%} above zero); values used here: "
        f"{respondents.targets}\ntrain answers off the middle: {leaning['used'].min()}.."
        f"{leaning['used'].max()}, mean {leaning['used'].mean():.1f}; yea-saying (mean sign): "
        f"{leaning['lean'].mean():+.3f}"
    )


def extraction(geometry: Geometry) -> str:
    """The size of what was extracted, and how stable the choice of heads is."""
    items, layers, heads, width = geometry.shape
    overlap = np.mean([row["jaccard"] for row in geometry.subjects])
    return (
        f"delta: {items} statements x {layers} layers x {heads} heads x {width}\nhead choice: "
        f"Jaccard overlap over splits {overlap:.2f}"
    )
