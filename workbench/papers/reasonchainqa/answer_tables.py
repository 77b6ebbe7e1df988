"""Tables of what readers answer, and of whether an answer rests on its evidence."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.evaluation.intervals import GAIN
from workbench.evaluation.metrics import measured, over_seeds
from workbench.papers.evidence import Reference
from workbench.papers.evidence_tables import even, percent, share
from workbench.papers.reasonchainqa.answering import (
    KINDS,
    REMOVED,
    Answers,
    asked_of,
    drops,
    kinds,
    right,
)
from workbench.papers.reasonchainqa.study import Study


def read(study: Study, answers: Answers, reference: Reference) -> list[dict[str, Any]]:
    """T3: a reader's right answers by evidence, open ones and yes or no apart."""
    rows = []
    for name in kinds(answers):
        row: dict[str, Any] = {"evidence": name.replace("_", " ")}
        for end, of in KINDS.items():
            values, ids = right(study, answers, name, of)
            if ids[0]:
                column = end.strip("_").replace("_", " or ") or "all"
                row[column] = percent(*share(column, (values, ids)))
        given = {c for table, _, c in reference if table == "T3"} | {"all"}
        paper = {f"paper: {c}": reference.get(("T3", row["evidence"], c)) for c in sorted(given)}
        rows.append(row | paper)
    return even(rows)


def answer_metrics(
    study: Study, answers: Answers, start: str = "answer_em"
) -> list[dict[str, Any]]:
    """`answer_em_<evidence>`, with `_open` and `_yes_no` apart; `faithfulness_drop`.

    That is how much of being right from the gold chain is lost with one of its facts; `_last`, with
    its last.
    """
    rows = []
    for name in kinds(answers):
        for end, of in KINDS.items():
            rows += share(f"{start}_{name}{end}", right(study, answers, name, of))
    if len(rows) and len(kinds(answers)) < len(answers):
        for end, last in (("", False), ("_last", True)):
            values, ids = drops(study, answers, last)
            units = over_seeds(values, questions=ids)
            rows.append(measured(f"faithfulness_drop{end}", *units, limits=GAIN))
    return rows


def sufficient(study: Study, solved: Mapping[str, list[list[float]]]) -> list[dict[str, Any]]:
    """`oracle_program_em_<evidence>`: the gold program over each evidence."""
    ids = [q.id for q in study.test]
    rows = []
    for name, seeds in solved.items():
        rows += share(f"oracle_program_em_{name}", (seeds, [ids] * len(seeds)))
    return rows


def programs(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table of `sufficient`, percent."""
    start = "oracle_program_em_"
    return [{"gold program over": row["name"].removeprefix(start).replace("_", " "),
             "right": percent(row)} for row in rows]  # fmt: skip


def faithfulness(study: Study, answers: Answers) -> list[dict[str, Any]]:
    """Right answers of questions by the length of their chain, percent: from the whole chain, from
    no facts, and without its j-th fact; all seeds together.
    """
    asked = [study.test[i] for i in asked_of(study)]
    rows = []
    for length in sorted({len(q.nodes) for q in asked}):
        at = [i for i, q in enumerate(asked) if len(q.nodes) == length]
        names = {"gold_evidence": "the chain", "no_evidence": "no facts"}
        names |= {f"{REMOVED}{j}": f"without fact {j + 1}" for j in range(length)}
        row: dict[str, Any] = {"facts": length, "questions": len(at)}
        for name, column in names.items():
            seeds, _ = right(study, answers, name)
            row[column] = f"{100 * np.mean([[seed[i] for i in at] for seed in seeds]):.0f}"
        rows.append(row)
    return even(rows)
