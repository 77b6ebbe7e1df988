"""One question made visible: what is stated, what was masked, what each candidate recovers."""

import html
from collections.abc import Sequence
from typing import Any

from workbench.evaluation.answers import same
from workbench.papers.self_verification.decision import Verified

_MARK = "background:#fde2a7;color:#22303c;border-radius:3px;padding:0 3px"


def marked(one: Verified) -> str:
    """HTML: the question with every maskable span marked and numbered, the gold answer behind it.

    For a question that was not verified there are no spans; the released code's masks are shown
    where they land.
    """
    text, at, parts = one.stated or one.problem.context, 0, []
    for i, c in enumerate(one.conditions, 1):
        if not c.visible or c.start < at:
            continue
        span = html.escape(text[c.start : c.end])
        parts.append(html.escape(text[at : c.start]))
        parts.append(f'<span style="{_MARK}">{span}<sub>{i}</sub></span>')
        at = c.end
    parts.append(html.escape(text[at:]))
    question = html.escape(one.problem.question)
    gold = html.escape(one.problem.answer)
    return f"<p>{''.join(parts)} <b>{question}</b> <i>gold: {gold}</i></p>"


def forward_rows(one: Verified) -> list[dict[str, Any]]:
    """Stage 1: every sample, the answer read from it, whether it is right."""
    return [
        {"sample": i, "chain of thought": text.strip(), "answer": answer or "–",
         "right": "yes" if same(answer, one.problem.answer) else "no"}
        for i, (text, answer) in enumerate(zip(one.thoughts, one.answers, strict=True), 1)
    ]  # fmt: skip


def backward_rows(one: Verified) -> list[dict[str, Any]]:
    """Stages 2 to 4: each candidate's conclusion, each masked statement, a reply, its hits."""
    out = []
    for c, (candidate, hits, replies) in enumerate(
        zip(one.candidates, one.hits, one.replies, strict=True)
    ):
        for r, samples in enumerate(hits):
            masked = one.conditions and one.mode == "cmv"
            out.append(
                {
                    "candidate": candidate,
                    "question put to the model": one.asked[c][r],
                    "masked value": one.conditions[r].value if masked else "–",
                    "first reply": replies[r][0].strip(),
                    "hits": f"{sum(samples)} of {len(samples)}",
                }
            )
    return out


def hit_rates(one: Verified) -> tuple[list[list[float]], list[str], list[str]]:
    """(rates[candidate][condition], candidate labels with their score, condition labels)."""
    rates = [[sum(s) / len(s) for s in hits] for hits in one.hits]
    rows = [
        f"{c} (score {score:g}{', right' if same(c, one.problem.answer) else ''})"
        for c, score in zip(one.candidates, one.scores, strict=True)
    ]
    columns = [f"{i}: {c.value}" for i, c in enumerate(one.conditions, 1)] or ["true or false"]
    return rates, rows, columns


def telling(found: Sequence[Verified]) -> Verified:
    """A question worth showing: verified, first answer wrong, chosen right; else any verified; else
    any."""
    checked = [v for v in found if v.hits]
    good = [v for v in checked if v.correct and not same(v.answers[0], v.problem.answer)]
    return max(good or checked or found, key=lambda v: (len(v.conditions), len(v.candidates)))
