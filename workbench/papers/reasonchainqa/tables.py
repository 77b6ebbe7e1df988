"""Tables of a study: rows for the page, the run's metrics, the published figures beside them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from workbench.evaluation.intervals import ANY, GAIN, SHARE
from workbench.evaluation.metrics import measured, over_seeds
from workbench.hashing import digest
from workbench.papers import evidence_tables
from workbench.papers.evidence import Reference
from workbench.papers.evidence_tables import even, gain, percent
from workbench.papers.reasonchainqa.answering import (
    KINDS,
)
from workbench.papers.reasonchainqa.paper import SUPPORT, published
from workbench.papers.reasonchainqa.study import ORACLE_K, ORACLE_M, Study, Which
from workbench.retrieval.chain_metrics import (
    KS,
    full_chain_at,
    recall_at,
    step_accuracy,
    stop_table,
)
from workbench.retrieval.evidence_files import as_row
from workbench.retrieval.graphs import Evidence, depth

COLUMNS = {
    "P": "precision", "R": "recall", "F1": "f1", "set EM": "exact", "chain EM": "chain_exact",
    "prefix": "prefix", "path F1": "chain_f1",
}  # fmt: skip
SCORES = {"chain_em": "chain_exact", "set_em": "exact", "evidence_f1": "f1", "prefix": "prefix",
          "chain_f1": "chain_f1"}  # fmt: skip
"""Begin of a metric's name → what it is of (`retrieval.chain_metrics.ChainScores`)."""
PAIRS = (("forward", "one_hop"), ("greedy", "one_hop"), ("path", "one_hop"), ("path", "greedy"),
         ("path", "forward"))  # fmt: skip
_ALL: Which = KINDS[""]


def depths(study: Study) -> dict[str, Which]:
    """Depth of the test questions → those that have it: facts on the longest path."""
    there = sorted({depth(q.edges) for q in study.test})
    return {str(n): lambda q, n=n: depth(q.edges) == n for n in there}


def types(study: Study) -> dict[str, Which]:
    """Kind of reasoning of the test questions, the last function of the program → those of it."""
    there = dict.fromkeys(_type(q) for q in study.test)
    return {name: lambda q, name=name: _type(q) == name for name in there}


def _type(question: Evidence) -> str:
    name = question.program[-1]["function"] if question.program else "unknown"
    return "VerifyYear" if name == "VerifyDate" else name


def share(name: str, study: Study, method: str, score: str, of: Which) -> list[dict[str, Any]]:
    """A mean over questions with an interval over questions and seeds; none without a question."""
    return evidence_tables.share(name, study.values(method, score, of))


def metrics(study: Study) -> list[dict[str, Any]]:
    """The run's metrics of retrieval.

    `<score>_<method>` over all questions, `chain_em_<method>_<depth>` and `set_em_<method>_<depth>`
    by depth; `gain_…_<first>_<second>`, the same less another method's on the same questions, also
    at depth ≥ 2 (`_deep`); `recall_at_<k>_<method>`, `full_chain_recall_at_…` of rankings by one
    query, of a pool that is smaller all of it; `held_out_cost_<method>`: chain EM less that in
    wordings never trained on.
    """
    rows: list[dict[str, Any]] = []
    by_depth = depths(study)
    deep = {"_deep": lambda q: depth(q.edges) > 1}
    for method in study.scores:
        for start, score in SCORES.items():
            rows += share(f"{start}_{method}", study, method, score, _ALL)
            if start in ("chain_em", "set_em"):
                for n, of in by_depth.items():
                    rows += share(f"{start}_{method}_{n}", study, method, score, of)
    for first, second in PAIRS:
        if {first, second} <= study.scores.keys():
            ends = {"": _ALL, **deep, **{f"_{n}": of for n, of in by_depth.items()}}
            for start in ("chain_em", "set_em"):
                for end, of in ends.items():
                    pair = [study.values(method, SCORES[start], of) for method in (first, second)]
                    rows += gain(f"gain_{start}_{first}_{second}{end}", *pair)
    return rows + _at_k(study) + _held_out(study)


def _at_k(study: Study) -> list[dict[str, Any]]:
    rows, ids = [], [q.id for q in study.test]
    for method, seeds in study.rankings.items():
        for k in KS:
            for start, of in (("recall_at", recall_at), ("full_chain_recall_at", full_chain_at)):
                values = [
                    [of(ranking, q.nodes, min(k, len(ranking)))
                     for q, ranking in zip(study.test, seed, strict=True)] for seed in seeds
                ]  # fmt: skip
                rows += evidence_tables.share(
                    f"{start}_{k}_{method}", (values, [ids] * len(values))
                )
    return rows


def _held_out(study: Study) -> list[dict[str, Any]]:
    """What wordings of facts that were never trained on cost, on the same questions."""
    rows = []
    for method, seeds in study.unseen.items():
        new = [[float(s.chain_exact) for s in seed] for seed in seeds]
        ids = [[q.id for q in study.held_out]] * len(seeds)
        units = over_seeds(new, questions=ids)
        rows.append(measured(f"held_out_chain_em_{method}", *units, limits=SHARE))
        known, _ = study.values(method, "chain_exact")
        pairs = zip(known, new, strict=True)
        costs = [[a - b for a, b in zip(*pair, strict=False)] for pair in pairs]
        units = over_seeds(costs, questions=ids)
        rows.append(measured(f"held_out_cost_{method}", *units, limits=GAIN))
    return rows


def parameters(study: Study, data_path: str = "") -> dict[str, Any]:
    """What the run was given, for its record; of files of one's own the test questions' digest."""
    settings = {name: value for name, value in asdict(study.settings).items() if name != "seed"}
    if data_path:
        drawn = ("types", "depths", "worlds", "pool", "decoys", "held_out")
        settings = {name: value for name, value in settings.items() if name not in drawn}
        settings |= {"test_questions": digest([as_row(q) for q in study.test])}
    return {"encoder": study.encoder, "tuned": study.tuned, **settings}


def statistics(splits: Mapping[str, Sequence[Evidence]]) -> list[dict[str, Any]]:
    """T1: questions and facts of each split, what they ask about, and how deep."""
    rows = []
    for split, questions in splits.items():
        row: dict[str, Any] = {
            "split": split, "questions": len(questions),
            "facts each": f"{np.mean([len(q.facts) for q in questions]):.0f}",
            "facts": len({fact for q in questions for fact in q.facts}),
            "relations": len(relations(questions)),
        }  # fmt: skip
        for n in sorted({depth(q.edges) for q in questions}):
            row[f"depth {n}"] = f"{np.mean([depth(q.edges) == n for q in questions]):.0%}"
        for name in dict.fromkeys(_type(q) for q in questions):
            row[name] = f"{np.mean([_type(q) == name for q in questions]):.0%}"
        rows.append(row)
    return even(rows)


def relations(questions: Sequence[Evidence]) -> set[str]:
    """Relations and attributes that the programs of questions follow."""
    followed = ("Relate", "QueryAttr", "SelectBetween", "SelectAmong", "QueryAttrQualifier",
                "QueryRelationQualifier", "QueryAttrUnderCondition", "FilterStr", "FilterNum",
                "FilterYear", "FilterDate")  # fmt: skip
    return {
        str(step["inputs"][0])
        for q in questions
        for step in q.program
        if step["function"] in followed and step.get("inputs")
    }


def data_metrics(test: Sequence[Evidence]) -> list[dict[str, Any]]:
    """`deepest` of the test questions, and `relations`, `reasoning_types` of those with programs,
    beside the published.
    """
    values = {"deepest": max(depth(q.edges) for q in test)}
    if all(q.program for q in test):
        values |= {"relations": len(relations(test)), "reasoning_types": len({*map(_type, test)})}
    return [measured(name, [value], {}, published(name), limits=ANY)
            for name, value in values.items()]  # fmt: skip


def extraction(study: Study, reference: Reference) -> list[dict[str, Any]]:
    """T2: every method by every measure, percent; τ is Kendall's, of those with the right facts."""
    rows = []
    for method, seeds in study.scores.items():
        row: dict[str, Any] = {"method": method}
        for column, score in COLUMNS.items():
            row[column] = f"{100 * np.mean(study.values(method, score)[0]):.1f}"
        order = [s.order for seed in seeds for s in seed if s.order is not None]
        row["order τ"] = f"{np.mean(order):.2f}" if order else None
        given = {c for table, _, c in reference if table == "T2"} | {"F1", "chain EM"}
        row |= {f"paper: {c}": reference.get(("T2", method, c)) for c in COLUMNS if c in given}
        rows.append(row | {"chosen on dev": "; ".join(study.tuned.get(method, []))})
    return rows


def by(study: Study, reference: Reference, table: str) -> list[dict[str, Any]]:
    """T4, T5: chain EM by depth, or by kind of reasoning, percent and 95 % interval."""
    groups = depths(study) if table == "T4" else types(study)
    rows = []
    for method in study.scores:
        row: dict[str, Any] = {"method": method}
        for name, of in groups.items():
            row[name] = percent(*share(name, study, method, "chain_exact", of))
        paper = {f"paper: {name}": reference.get((table, method, name)) for name in groups}
        rows.append(row | {name: value for name, value in paper.items() if value is not None})
    return even(rows)


def at_k(study: Study) -> list[dict[str, Any]]:
    """All facts of a chain among the first k of a ranking by one query, percent and interval."""
    of: dict[str, dict[str, Any]] = {}
    for row in _at_k(study):
        if not row["name"].startswith("full"):
            continue
        k, method = row["name"].removeprefix("full_chain_recall_at_").split("_", 1)
        of.setdefault(method, {"method": method})[f"k = {k}"] = percent(row)
    return [*of.values()]


def steps(study: Study) -> list[dict[str, Any]]:
    """P(fact j is right | all before it are), and of how many questions; all seeds together."""
    rows = []
    for method, seeds in study.predicted.items():
        if ORACLE_K in method or ORACLE_M in method or method in {*study.rankings, *SUPPORT}:
            continue
        chains = [chain for seed in seeds for chain in seed]
        of = step_accuracy(study.test * len(seeds), chains)
        rows.append(
            {"method": method}
            | {f"fact {j}": f"{100 * p:.0f} % of {n}" for j, (p, n) in enumerate(of, 1)}
        )
    return even(rows)


def stops(study: Study, method: str) -> list[dict[str, Any]]:
    """Whether a method's chains end where they should, by gold length."""
    chains = [chain for seed in study.predicted[method] for chain in seed]
    rows = stop_table(study.test * len(study.predicted[method]), chains)
    return [{n: f"{100 * v:.0f} %" if n in ("short", "right", "long") else v
             for n, v in row.items()} for row in rows]  # fmt: skip


def unseen(study: Study) -> list[dict[str, Any]]:
    """Chain EM in wordings that training had, and in others; what they cost, in points."""
    of = {row["name"]: row for row in _held_out(study)}
    rows = []
    for method in study.unseen:
        (known,) = share(method, study, method, "chain_exact", _ALL)
        rows.append({
            "method": method, "known wordings": percent(known),
            "held-out wordings": percent(of[f"held_out_chain_em_{method}"]),
            "cost, points": percent(of[f"held_out_cost_{method}"]),
        })  # fmt: skip
    return rows


def gains(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The table of `gain_…`: a row for each pair of methods, points by depth. Set EM beside
    `one_hop`, which has no order, chain EM between networks that read on.
    """
    out: dict[str, dict[str, Any]] = {}
    for row in metrics:
        start = "gain_set_em_" if "_one_hop" in row["name"] else "gain_chain_em_"
        if row["name"].startswith(start):
            first, second, *depth_ = (
                row["name"].removeprefix(start).replace("one_hop", "one-hop").split("_")
            )
            cells = out.setdefault(f"{first} less {second}", {"methods": f"{first} less {second}"})
            name = {"": "all", "deep": "2 and more"}.get(end := "".join(depth_), end)
            cells[name] = percent(row)
    return even([*out.values()])


_LEADING = re.compile(
    r"relations|reasoning_types|deepest|(chain_em|evidence_f1)_[a-z0-9_]*[a-z]|(chain_em|evidence_f1)_bm25|"
    r"set_em_one_hop.*|gain_(chain|set)_em_(forward_one_hop.*|path_greedy|[a-z_]*_deep)|"
    r"held_out_cost_.*|full_chain_recall_at_5_.*|"
    r"(answer|completer_[a-z]+)_em_(no|all|retrieved|gold)_.*|answer_em_majority|"
    r"oracle_program_em_(none|all|gold|bm25|one_hop|forward|greedy|path)|faithfulness_drop(_last)?|"
    r"bm25_incremental_ratio|gain_(database|text)_.*|(database|text)_([a-z0-9_]*[a-z]|bm25)"
)


def shown(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The leading metrics: those that speak of the claim; oracles of a whole database alone, where
    one count for all is right at one depth.
    """
    return [
        row
        for row in metrics
        if _LEADING.fullmatch(row["name"])
        and ("_oracle_" not in row["name"] or row["name"].startswith(("database_", "text_")))
    ]
