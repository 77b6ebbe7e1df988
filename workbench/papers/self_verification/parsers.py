"""The paper's parser, ours and math-verify's on the forward replies of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.evaluation.answers import extract_answer, same_answer
from workbench.evaluation.math_answers import READABLE, installed
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.study import Comparison

PARSERS = {
    "official": "official (the paper's)",
    "robust": "robust (ours)",
    "math-verify": "math-verify",
}
"""Style of extraction → title."""


def available(comparisons: Sequence[Comparison]) -> list[str]:
    """The parsers that can read these replies: math-verify where it is installed and reads them."""
    kind = comparisons[0].verified[0].problem.kind
    return [s for s in PARSERS if s != "math-verify" or (installed() and kind in READABLE)]


def differing(comparisons: Sequence[Comparison], style: str) -> list[list[float]]:
    """Share of a question's replies in which a parser and `robust` differ, `[seed][question]`.

    Replies in which neither finds an answer do not differ.
    """
    return [[_differing(v, style) for v in c.verified] for c in comparisons]


def rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row per parser: shares of replies with the right answer, with none, and other than ours.

    A parser that cannot be asked has a row that says so.
    """
    out = []
    questions = [v for c in comparisons for v in c.verified]
    for style, title in PARSERS.items():
        if style not in available(comparisons):
            missing = "does not read them" if installed() else "not installed: see the extra [math]"
            out.append({"parser": f"{title} ({missing})"})
            continue
        answers = [(a, v.problem.answer) for v in questions for a in _answers(v, style)]
        out.append(
            {
                "parser": title,
                "right": float(np.mean([same_answer(a, gold) for a, gold in answers])),
                "no answer": float(np.mean([not a for a, _ in answers])),
                "other than robust": float(np.mean(np.concatenate(differing(comparisons, style)))),
                "replies": len(answers),
            }
        )
    return out


def _differing(verified: Verified, style: str) -> float:
    pairs = zip(_answers(verified, style), _answers(verified, "robust"), strict=True)
    return float(np.mean([bool(a or b) and not same_answer(a, b) for a, b in pairs]))


def _answers(verified: Verified, style: str) -> list[str]:
    problem = verified.problem
    return [
        extract_answer(text, problem.kind, style=style, labels=problem.labels)
        for text in verified.thoughts
    ]
