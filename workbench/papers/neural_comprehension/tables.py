"""Tables of a study: rows for the page, the run's metrics, the published figures beside them."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from workbench.evaluation.intervals import AMOUNT, SHARE
from workbench.evaluation.metrics import measured, metric, spelled
from workbench.papers.neural_comprehension.autoconn import Candidate
from workbench.papers.neural_comprehension.paper import (
    FIG_1,
    SUBSETS,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TASKS,
    published,
)
from workbench.papers.neural_comprehension.study import Cell, Study


def share(name: str, values: list[float]) -> dict[str, Any]:
    """A share of inputs with Wilson's interval, the published figure beside it."""
    return measured(name, values, "inputs", published(name), limits=SHARE)


def metrics(study: Study) -> list[dict[str, Any]]:
    """The run's metrics; intervals are over inputs, those of times over repeats."""
    rows = []
    for cell in study.cells:
        if cell.kind.removesuffix("_chat") in TASKS:
            for mode in ("gated", "ungated"):
                rows.append(share(f"acc_{mode}_{cell.kind}_{cell.size}", cell.right(mode)))
            continue
        name = "reading_{}" if cell.kind == "pens" else f"solved_{{}}_{cell.kind}"
        name += f"_{cell.size}" if cell.size else ""
        rows += [share(name.format(mode), cell.right(mode)) for mode in cell.replies]
        if all(cell.read):
            rows.append(share(f"transcription_{cell.size}", cell.transcribed()))
    for stage, cells in study.stages.items():
        for cell in cells:
            rows += [share(f"coins_{mode}_{stage}_{cell.size}", cell.right(mode))
                     for mode in ("gated", "ungated")]  # fmt: skip
            rows.append(share(f"coins_transcription_{stage}_{cell.size}", cell.transcribed()))
    for task, choices in study.disagreed.items():
        if choices:
            rows.append(share(f"forced_disagreement_{task}", [float(c) for c in choices]))
    if changed := [float(a != b) for cell in study.cells
                   for a, b in zip(cell.replies.get("observed", []), cell.replies["ungated"],
                                   strict=False)]:  # fmt: skip
        rows.append(share("observed_changes", changed))
    for task, limits in study.limits.items():
        rows += [metric(f"exact_limit_{task}_{dtype}", n, 1) for dtype, n in limits.items()]
    for task, size in study.sizes.items():
        name = f"params_{task}"
        rows.append(metric(name, size, 1, None, *published(name)))
    for name, ratios in (("gate_ratio", study.costs.ratios), ("gate_ratio_idle", study.costs.idle)):
        rows.append(measured(name, ratios, "repeats", statistic=statistics.median, limits=AMOUNT))
    fired = study.costs.fired
    return [*rows, metric("gate_false_firings", sum(fired), len(fired))]


def parameters(study: Study) -> dict[str, Any]:
    """What the run was given, for its record."""
    settings = {name: value for name, value in asdict(study.settings).items() if name != "seed"}
    return {"model": study.model, "stages": list(study.stages), **settings}


def sizes(study: Study) -> list[dict[str, Any]]:
    """Table 3 beside our networks at the least window that holds the published one."""
    return [
        {"network": task, "published window": row[3], "published layers": row[0],
         "published parameters": row[-1], "ours": study.sizes[task],
         **{f"exact to, {dtype}": n for dtype, n in study.limits[task].items()}}
        for task, row in TABLE_3.items()
    ]  # fmt: skip


def reading(cells: list[Cell]) -> list[dict[str, Any]]:
    """One row per size: what was read right, and what then was answered right."""
    rows = []
    for cell in cells:
        row: dict[str, Any] = {"size": cell.size, "stories": len(cell.asked)}
        if all(cell.read):
            row["read right"] = _of(cell.transcribed())
        rows.append(row | {f"right, {mode}": _of(cell.right(mode)) for mode in cell.replies})
    return rows


def _of(values: list[float]) -> str:
    row = share("share", values)
    return f"{row['value']:.2f} {spelled(row['ci95'], '.2f')}"


def costs(study: Study) -> list[dict[str, Any]]:
    """Seconds of a decoding step by what takes them."""
    whole = sum(study.costs.parts.values())
    return [{"part": part, "seconds a step": seconds, "share": seconds / whole}
            for part, seconds in study.costs.parts.items()]  # fmt: skip


def disagreement(study: Study) -> list[dict[str, Any]]:
    """Where the model would have written otherwise, and where nothing may be forced."""
    rows = [
        {"of": f"forced tokens, {task}", "n": len(choices),
         "share": _of([float(c) for c in choices]), "what": "the model would write another"}
        for task, choices in study.disagreed.items() if choices
    ]  # fmt: skip
    fired = [float(n > 0) for n in study.costs.fired]
    return [*rows, {"of": "ordinary texts", "n": len(fired), "share": _of(fired),
                    "what": "something was forced"}]  # fmt: skip


def table_2() -> list[dict[str, Any]]:
    """Published solve rates on GSM8K-Hard, percent: one row per model and subset."""
    return [
        {"model": model, "subset": subset, "CoT": cot, "PAL": pal, "NC": nc}
        for model, rates in TABLE_2.items()
        for subset, (cot, pal, nc) in zip(SUBSETS, rates, strict=True)
    ]


def solved(study: Study) -> list[dict[str, Any]]:
    """Published problems: what each set has solved (Tables 2 and 6, Fig. 6)."""
    names = dict.fromkeys(c.kind for c in study.cells if c.read and not all(c.read))
    return [{"set": name} | row for name in names for row in reading(study.of(name))]


def table_4() -> list[dict[str, Any]]:
    """Published: of 10 programs that AutoCoNN accepted, how many were right."""
    return [{"task": task, **{f"{n} examples": k for n, k in zip((1, 2, 5), right, strict=True)}}
            for task, right in TABLE_4.items()]  # fmt: skip


def candidates(proposed: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Programs that were proposed: the check that each failed, and the size of its network."""
    return [
        {"program": each.text.splitlines()[0][:40] if each.text.strip() else None,
         "failed": each.failed or None, "reason": each.reason[:80] or None,
         "layers": each.layers, "weights": each.weights}
        for each in proposed
    ]  # fmt: skip


def figure_1() -> list[dict[str, Any]]:
    """Addition by digits, read off a curve, percent."""
    return [{"model": model, **{f"{d} digits": v for d, v in curve.items()}}
            for model, curve in FIG_1.items()]  # fmt: skip
