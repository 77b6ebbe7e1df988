"""Figures of a study: one question through every stage, costs, and where there may be none."""

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from IPython.display import HTML

from workbench.evaluation.answers import same_answer
from workbench.papers.self_verification import measures, tables
from workbench.papers.self_verification.decision import Verified
from workbench.papers.self_verification.study import Study
from workbench.plots import figures as plots
from workbench.plots.tables import table

_MARK = "background:#fde2a7;color:#22303c;border-radius:3px;padding:0 3px"


def telling(questions: Sequence[Verified]) -> Verified:
    """A question worth showing: settled by verification, first answer wrong, chosen right.

    Else any that verification settled, or was asked about; else any.
    """
    asked = [v for v in questions if v.hits]
    settled = [v for v in asked if v.pick == "verified"]
    rescued = [v for v in settled if v.correct and not same_answer(v.answers[0], v.problem.answer)]
    shown = rescued or settled or asked or questions
    return max(shown, key=lambda v: (len(v.conditions), len(v.candidates)))


def marked(verified: Verified) -> HTML:
    """The question with every maskable span marked and numbered, the gold answer behind it.

    For a question that was not verified there are no spans; the released code's masks are shown
    where they land.
    """
    text, at, parts = verified.stated or verified.problem.context, 0, []
    for i, c in enumerate(verified.conditions, 1):
        if not c.visible or c.start < at:
            continue
        span = html.escape(text[c.start : c.end])
        parts.append(html.escape(text[at : c.start]))
        parts.append(f'<span style="{_MARK}">{span}<sub>{i}</sub></span>')
        at = c.end
    parts.append(html.escape(text[at:]))
    question = html.escape(verified.problem.question)
    gold = html.escape(verified.problem.answer)
    return HTML(f"<p>{''.join(parts)} <b>{question}</b> <i>gold: {gold}</i></p>")


def forward(verified: Verified) -> go.Figure:
    """Stage 1: every sample, the answer read from it, whether it is right."""
    rows = [
        {"sample": i, "chain of thought": text.strip(), "answer": answer or "–",
         "right": "yes" if same_answer(answer, verified.problem.answer) else "no"}
        for i, (text, answer) in enumerate(zip(verified.thoughts, verified.answers, strict=True), 1)
    ]  # fmt: skip
    return table(rows, "Stage 1: forward samples")


def backward(verified: Verified) -> go.Figure | HTML:
    """Stages 2 and 3: each candidate's masked statements, a reply to each, its hits."""
    if not verified.hits:
        return _note(f"Nothing was put to the model: {verified.reason}.")
    return table(backward_rows(verified), "Stages 2 and 3: what is put to the model")


def backward_rows(verified: Verified) -> list[dict[str, Any]]:
    """One row per candidate and condition."""
    masked = verified.conditions and verified.mode == "cmv"
    return [
        {
            "candidate": candidate,
            "question put to the model": verified.asked[c][r],
            "masked value": verified.conditions[r].value if masked else "–",
            "first reply": verified.replies[c][r][0].strip(),
            "hits": f"{sum(samples)} of {len(samples)}",
        }
        for c, (candidate, hits) in enumerate(zip(verified.candidates, verified.hits, strict=True))
        for r, samples in enumerate(hits)
    ]


def decision(verified: Verified) -> go.Figure | HTML:
    """Stage 4: share of hits per candidate and condition, and what was chosen."""
    chosen = f"chosen: {verified.answer} ({verified.reason}), gold: {verified.problem.answer}"
    if not verified.hits:
        return _note(chosen)
    rates = [[sum(s) / len(s) for s in hits] for hits in verified.hits]
    gold = verified.problem.answer
    rows = [
        f"{c} (score {score:g}{', right' if same_answer(c, gold) else ''})"
        for c, score in zip(verified.candidates, verified.scores, strict=True)
    ]
    values = [f"{i}: {c.value}" for i, c in enumerate(verified.conditions, 1)]
    does = "recover the masked value" if verified.conditions else "affirm the conclusion"
    title = f"Stage 4: share of samples that {does}; {chosen}"
    return plots.cell_map(
        rates, rows, values or ["true or false"], title, axes=("candidate", "condition"),
        name="share",
    )  # fmt: skip


def costs(study: Study) -> go.Figure:
    """Accuracy against generated tokens: curves of SC, SV and both, points of the others."""
    by_seed = [measures.cost_curves(c) for c in study.comparisons]
    curves = {name: [seed[name] for seed in by_seed] for name in by_seed[0]}
    single = [tables.METHODS[name] for name in ("greedy", "sc_matched")]
    points = {
        row["method"]: (row["tokens"], row["accuracy"])
        for row in tables.accuracies(study.comparisons)
        if row["method"] in single
    }
    title = "Accuracy and cost (line: mean, bar: range over seeds)"
    return plots.cost_curves(curves, title, points=points)


def recovery(study: Study) -> go.Figure | HTML:
    """Recovery of masked conditions from right and from wrong conclusions."""
    rows = measures.recovery(study.comparisons)
    if not rows:
        return _note("No condition was masked.")
    return table(rows, "Recovery of masked conditions (share of samples)")


def stages(study: Study) -> go.Figure | HTML:
    """Other stages of training, and the negative control."""
    if not study.stages:
        return _note("Other stages of training come with the embedded sums alone.")
    return table(tables.stages(study), "Where verification helps, and where it does not")


def readings(study: Study) -> HTML:
    """How often the right one of two readings was chosen."""
    chosen = [x for seed in tables.readings(study) for x in seed.values()]
    return _note(
        f"Ambiguous questions with both readings among the candidates: {len(chosen)}; the right "
        f"one was chosen in {sum(chosen):.0f} (chance: {len(chosen) / 2:g})."
    )


def _note(text: str) -> HTML:
    return HTML(f"<p>{html.escape(text)}</p>")
