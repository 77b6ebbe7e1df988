"""Tables of a study: rows for the page, the run's metrics, the published figures beside them."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.evaluation.intervals import GAIN, SHARE
from workbench.evaluation.metrics import measured, over_seeds, spelled
from workbench.evaluation.paired import sign_flip_p
from workbench.papers import evidence_tables
from workbench.papers.evidence_tables import percent
from workbench.papers.graphhop import answering
from workbench.papers.graphhop.paper import ABLATIONS, OFFICIAL_LABELS, published
from workbench.papers.graphhop.study import Study
from workbench.retrieval.graphs import ROOT, STRUCTURES, TYPES, Edge, Evidence, nodes

Which = Callable[[Evidence], bool]
Reference = Mapping[tuple[str, str, str], float]
"""(table, row, column) → a published value (`paper.reference`)."""
BY_STRUCTURE: dict[str, Which] = {n: lambda q, n=n: q.structure == n for n in STRUCTURES}
BY_TYPE: dict[str, Which] = {name: lambda q, n=name: q.reasoning == n for name in TYPES}
GROUPS: dict[str, Which] = {
    "": lambda q: True,
    "_single": lambda q: q.structure.startswith("S"),
    "_multichain": lambda q: q.structure.startswith("M"),
} | {f"_{name.lower()}": of for name, of in BY_STRUCTURE.items()}
"""End of a metric's name → the questions that it is of."""
SCORES = {"evidence_f1": "f1", "graph_em": "exact", "structural_acc": "structure"}
COLUMNS = {"P": "precision", "R": "recall", "F1": "f1", "EM": "exact", "Structural Acc":
           "structure", "Graph Acc": "shape"}  # fmt: skip
ERRORS = ("right", "first hop missed", "stopped early", "wrong branch", "too much", "wrong edges")
_PAIRS = (("forward", "one_hop"), ("bgr", "forward"), ("bgr", "one_hop"))


def share(name: str, study: Study, method: str, score: str, of: Which) -> list[dict[str, Any]]:
    """A mean over questions with an interval over questions and seeds; none without a question."""
    return evidence_tables.share(name, study.values(method, score, of), published(name))


def metrics(study: Study) -> list[dict[str, Any]]:
    """The run's metrics. `evidence_f1`: of facts; `graph_em`: the very facts; `structural_acc`: the
    very edges. `_single`, `_multichain`: of questions with one chain, or several.
    """
    rows: list[dict[str, Any]] = []
    for name, of in BY_STRUCTURE.items():
        name = f"share_{name.lower()}"
        rows.append(measured(name, [of(q) for q in study.test], "questions", published(name)))
    for method in study.scores:
        for start, score in SCORES.items():
            for end, of in GROUPS.items():
                if score != "structure" or not end:
                    rows += share(f"{start}_{method}{end}", study, method, score, of)
    for first, second in _PAIRS:
        for start, end in (("graph_em", "_mcmh"), ("evidence_f1", "_scmh")):
            if {first, second} <= study.scores.keys() and any(map(GROUPS[end], study.test)):
                gains = _gain(study, first, second, SCORES[start], GROUPS[end])
                rows.append(measured(f"gain_{start}_{first}_{second}{end}", *gains, limits=GAIN))
    ids = [q.id for q in study.test]
    for name, seeds in study.sufficient.items():
        values = over_seeds(seeds, questions=[ids] * len(seeds))
        rows.append(measured(f"oracle_program_em_{name}", *values))
    return rows


def parameters(study: Study) -> dict[str, Any]:
    """What the run was given, for its record."""
    settings = {name: value for name, value in asdict(study.settings).items() if name != "seed"}
    return {"encoder": study.encoder, "tuned": study.tuned, **settings}


def retrieval(study: Study, reference: Reference) -> list[dict[str, Any]]:
    """T2: every method by every measure, percent, the published values behind it, where given.

    GED is lower for better; pairs whose distance takes too long are left out and counted.
    """
    rows = []
    for method, seeds in study.scores.items():
        row: dict[str, Any] = {"method": method}
        for column, score in COLUMNS.items():
            row[column] = f"{100 * np.mean(study.values(method, score)[0]):.1f}"
        distances = [s.distance for seed in seeds for s in seed]
        known = [d for d in distances if d is not None]
        row["GED"] = f"{np.mean(known):.1f}" if known else None
        row["GED timed out"] = len(distances) - len(known)
        row |= _paper(reference, "T2", method, [*COLUMNS][2:5])
        rows.append(row | {"chosen on dev": "; ".join(study.tuned.get(method, []))})
    return rows


def by(study: Study, reference: Reference, table: str) -> list[dict[str, Any]]:
    """T3, T4: exactly the gold facts (EM) by structure, or by kind of reasoning, percent."""
    groups = BY_STRUCTURE if table == "T3" else BY_TYPE
    groups = {name: of for name, of in groups.items() if any(map(of, study.test))}
    rows = []
    for method in study.scores:
        row: dict[str, Any] = {"method": method}
        for name, of in groups.items():
            row[name] = percent(*share(name, study, method, "exact", of))
        rows.append(row | _paper(reference, table, method, [*groups]))
    return rows


def answers(study: Study, reference: Reference) -> list[dict[str, Any]]:
    """T5 in miniature: the gold program over each evidence, by structure. No end-to-end answers."""
    rows = []
    groups = {"all": GROUPS[""]} | BY_STRUCTURE
    for name, seeds in study.sufficient.items():
        row: dict[str, Any] = {"gold program over": name}
        for column, of in groups.items():
            right = [x for seed in seeds for q, x in zip(study.test, seed, strict=True) if of(q)]
            row[column] = f"{100 * np.mean(right):.1f}" if right else None
        rows.append(row | _paper(reference, "T5", name, ["all"]))
    return rows


def read(study: Study, answers: answering.Answers, reference: Reference) -> list[dict[str, Any]]:
    """T5: a reader's answers that are right, by structure and by kind of answer."""
    groups = {"all": GROUPS[""]} | BY_STRUCTURE
    kinds = dict.fromkeys(q.answer_kind for q in study.test if q.answer)
    groups |= {name: lambda q, n=name: q.answer_kind == n for name in kinds if name}
    rows: list[dict[str, Any]] = [{"evidence": name.replace("_", " ")} for name in answers]
    for column, of in groups.items():
        for row, (values, ids) in zip(
            rows, answering.right(study, answers, of).values(), strict=True
        ):
            if ids[0]:
                row[column] = percent(*evidence_tables.share(column, (values, ids)))
    return [row | _paper(reference, "T5", row["evidence"], ["all"]) for row in rows]


def answer_metrics(
    study: Study, answers: answering.Answers, start: str = "answer_em"
) -> list[dict[str, Any]]:
    """`answer_em_<evidence>`, and by structure `answer_em_<evidence>_<structure>`."""
    return [
        measured(f"{start}_{name}{end}", *over_seeds(values, questions=ids), limits=SHARE)
        for end, of in GROUPS.items()
        for name, (values, ids) in answering.right(study, answers, of).items()
        if ids[0]
    ]


def beside(study: Study, method: str) -> list[dict[str, Any]]:
    """Every other method less this one, on the same questions: Structural Acc, sign-flip p."""
    rows = []
    for other in (name for name in study.scores if name != method):
        values, units = _gain(study, other, method, "structure", GROUPS[""])
        row = measured(other, values, units, limits=GAIN)
        p = sign_flip_p(values, [0.0] * len(values), {"questions": units["questions"]})
        rows.append({"method": other, f"less {method}": row["value"],
                     "95 % CI": spelled(row["ci95"], ".2f"), "p": p})  # fmt: skip
    return rows


def ablations(study: Study) -> list[dict[str, Any]]:
    """Forward beside the same network trained otherwise: F1 of facts, percent, by structure too."""
    rows = []
    for method in ("forward", OFFICIAL_LABELS, *ABLATIONS):
        if method in study.scores:
            values = {"dev F1": study.dev_f1[method], "test F1": study.values(method, "f1")[0]}
            values |= {f"test F1 {n}": study.values(method, "f1", of)[0]
                       for n, of in BY_STRUCTURE.items() if any(map(of, study.test))}  # fmt: skip
            rows.append(
                {"network": method} | {n: f"{100 * np.mean(x):.1f}" for n, x in values.items()}
            )
    return rows


def errors(study: Study) -> list[dict[str, Any]]:
    """How graphs go wrong: one row per method, percent of its questions."""
    rows = []
    for method, seeds in study.predicted.items():
        pairs = [pair for graphs in seeds for pair in zip(study.test, graphs, strict=True)]
        kinds = Counter(error(q.edges, edges) for q, edges in pairs)
        rows.append({"method": method} | {k: 100 * kinds[k] / len(pairs) for k in ERRORS})
    return rows


def error(gold: Sequence[Edge], predicted: Sequence[Edge]) -> str:
    """The first of `ERRORS` that a predicted graph has."""
    if set(gold) == set(predicted):
        return "right"
    if {e for e in gold if e[0] == ROOT} - set(predicted):
        return "first hop missed"
    missed, wrong = set(nodes(gold)) - set(nodes(predicted)), set(nodes(predicted)) - {*nodes(gold)}
    if missed:
        return "wrong branch" if wrong else "stopped early"
    return "too much" if wrong else "wrong edges"


def _paper(reference: Reference, table: str, row: str, columns: Sequence[str]) -> dict[str, Any]:
    """Published values in columns of their own, blank without a file that has them."""
    return {f"paper: {column}": reference.get((table, row, column)) for column in columns}


def _gain(
    study: Study, first: str, second: str, score: str, of: Which
) -> tuple[list[float], dict[str, Any]]:
    return evidence_tables.differences(
        *(study.values(method, score, of) for method in (first, second))
    )
