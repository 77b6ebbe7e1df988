"""Questions with their evidence, from and to files: `graphhop/v1`, and the official JSON (§3)."""

import difflib
import json
import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from workbench.errors import DatasetError, GraphError
from workbench.files import Row, repeated, rows_or_errors
from workbench.retrieval.graphs import (
    KINDS,
    ROOT,
    Edge,
    Evidence,
    along,
    checked,
    checked_chain,
    depth,
    successors,
)
from workbench.writing import whole, write_json

log = logging.getLogger(__name__)

SCHEMA = "graphhop/v1"
_OURS, _OFFICIAL = ("question", "facts", "edges"), ("question", "fact", "order_true_fact")
_EXPECTED = (
    f"expected {SCHEMA} (question, facts: texts, edges: pairs of places) or the official form "
    "(question, fact: texts, order_true_fact: facts with relation before and after)"
)


def read_evidence(path: str | Path, *, strict: bool = True, repair: bool = False) -> list[Evidence]:
    """The questions of a file of `files.read_rows`' formats, of either form, or of a database.

    That is an object of `facts`, and of `questions` that all have these facts. A row of ours may
    have a `chain` alone, places of facts in order of reading, whose edges are then those along it.
    Facts that a pool has twice are one, the first, with a warning that counts them. `repair`: where
    `before` and `after` of an official file disagree, both are taken. Raises `FileNotFoundError`;
    `DatasetError` naming file, row (from 0) and field for what cannot be read; `GraphError` for a
    graph that is none. With `strict=False` such rows are left out, counted in the log; what ails
    the whole file, as ids that are there twice, is still raised.
    """
    return usable(path, [read for _, read in evidence_or_errors(path, repair=repair)], strict)


def evidence_or_errors(
    path: str | Path, *, repair: bool = False
) -> list[tuple[str, Evidence | DatasetError]]:
    """Each question's place in the file, and the question, or what is wrong with its row."""
    read: list[tuple[str, Evidence | DatasetError]] = []
    doubles = 0
    for place, row in _rows(path):
        try:
            evidence, repeats = read_row(row, place, repair)
        except DatasetError as error:
            read.append((place, error))
            continue
        read.append((place, evidence))
        doubles += repeats
    if doubles:
        log.warning("%s: %d facts are in their pool twice; the first of each stays", path, doubles)
    return read


def usable(
    path: str | Path, read: Sequence[Evidence | DatasetError], strict: bool
) -> list[Evidence]:
    """The questions without the errors among them, which are raised where `strict`, else counted.

    Raises `DatasetError` for no question, and for ids that are there twice.
    """
    made = [each for each in read if isinstance(each, Evidence)]
    faults = [each for each in read if isinstance(each, DatasetError)]
    if faults and strict:
        raise faults[0]
    if faults:
        log.warning("%s: %d questions left out, the first: %s", path, len(faults), faults[0])
    if twice := repeated([evidence.id for evidence in made]):
        raise DatasetError(f"{path}: two questions have the id {twice[0]!r}; give each its own")
    if not made:
        raise DatasetError(f"{path} has no question that can be read; {_EXPECTED}")
    return made


def _rows(path: str | Path) -> Iterator[tuple[str, Row | DatasetError]]:
    """Yield every question's place, and its row with the facts that it may share, or its fault."""
    for number, row in enumerate(rows_or_errors(path)):
        place = f"{path} row {number}"
        if isinstance(row, DatasetError) or "questions" not in row:
            yield place, row
            continue
        asked = row["questions"]
        if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
            wrong = f"{place}: field 'questions' must be a list of objects; {_EXPECTED}"
            yield place, DatasetError(wrong)
            continue
        for i, each in enumerate(asked):
            yield f"{path} question {i}", {**row, **each}


def write_evidence(path: str | Path, questions: Sequence[Evidence]) -> None:
    """Write `graphhop/v1`, one question a line. Raises as `read_evidence`, and `WriteError`."""
    _check(questions)
    with whole(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        for question in questions:
            file.write(json.dumps(as_row(question), ensure_ascii=False) + "\n")


def write_official(path: str | Path, questions: Sequence[Evidence]) -> None:
    """Write the official JSON. Raises as `as_official`, and as `write_evidence`."""
    _check(questions)
    write_json(path, [as_official(question) for question in questions])


def _check(questions: Sequence[Evidence]) -> None:
    for question in questions:
        checked(question.edges, len(question.facts), question.id)
        if read_row(as_row(question), question.id)[1]:
            raise DatasetError(f"{question.id}: two facts are one text, and would be read as one")
    if twice := repeated([question.id for question in questions]):
        raise DatasetError(f"two questions have the id {twice[0]!r}; give each its own")


def as_row(evidence: Evidence) -> Row:
    """A question as a row of `graphhop/v1`, with what follows from its graph; a chain if known."""
    row = {
        "id": evidence.id,
        "question": evidence.question,
        "answer": evidence.answer,
        "answer_type": evidence.answer_kind,
        "facts": list(evidence.facts),
        "edges": [list(edge) for edge in evidence.edges],
        "program": list(evidence.program),
        "reasoning_type": evidence.reasoning,
        "structure": evidence.structure,
        "depth": depth(evidence.edges),
        "world": evidence.world,
    }
    return row | ({"chain": list(evidence.chain)} if evidence.chain else {})


def as_official(evidence: Evidence) -> Row:
    """A question in the official form.

    Raises `GraphError` for a fact that both the question and another fact lead to, which that form
    cannot say.
    """
    facts, after = evidence.facts, successors(evidence.edges)
    before: dict[int, list[int]] = {node: [] for node in evidence.nodes}
    for u, v in evidence.edges:
        before[v].append(u)
    for node, sources in before.items():
        if ROOT in sources and len(sources) > 1:
            raise GraphError(
                f"{evidence.id}: both the question and fact {sources[-1]} lead to fact {node}, "
                "which the official form cannot say; leave one edge out"
            )
    links = [
        {
            "facts": facts[node],
            "relation": {
                "before": [facts[u] for u in before[node] if u != ROOT],
                "after": [facts[v] for v in after.get(node, [])],
            },
        }
        for node in evidence.nodes
    ]
    return {
        "question": evidence.question,
        "fact": list(facts),
        "order_true_fact": links,
        "program": list(evidence.program),
        "answer": evidence.answer,
    }


def read_row(row: Row | DatasetError, place: str, repair: bool = False) -> tuple[Evidence, int]:
    """A question, and how many of its facts were there twice. Raises as `read_evidence`."""
    if isinstance(row, DatasetError):
        raise row
    official = "order_true_fact" in row
    if not official and "edges" not in row and "facts" in row and row.get("chain") is not None:
        facts = _texts(row["facts"], f"{place}: field 'facts'")
        row = row | {"edges": along(row["chain"], facts, place)}
    needed = _OFFICIAL if official else _OURS
    if missing := [name for name in needed if name not in row]:
        raise DatasetError(f"{place}: no field {missing[0]!r}; {_EXPECTED}")
    texts = _texts(row[needed[1]], f"{place}: field {needed[1]!r}")
    if not isinstance(row["question"], str) or not row["question"].strip():
        raise DatasetError(f"{place}: field 'question' is {row['question']!r:.60}, no text")
    facts = tuple(dict.fromkeys(texts))
    at = {text: i for i, text in enumerate(facts)}
    chain: tuple[int, ...] = ()
    if official:
        edges = _official_edges(row["order_true_fact"], at, place, repair)
    else:
        pairs = row["edges"]
        if not isinstance(pairs, list):
            raise DatasetError(f"{place}: field 'edges' is {pairs!r:.60}; give pairs of places")
        edges = checked(pairs, len(texts), place)
        if (listed := row.get("chain")) not in (None, []):
            chain = checked_chain(listed, edges, place)
            chain = tuple(dict.fromkeys(at[texts[i]] for i in chain))
        edges = tuple((u if u == ROOT else at[texts[u]], at[texts[v]]) for u, v in edges)
    kind = plain_text(row, "answer_type", place)
    if kind and kind not in KINDS:
        raise DatasetError(f"{place}: answer_type {kind!r:.40}; known: {', '.join(KINDS)}")
    edges = checked(edges, len(facts), place)
    evidence = Evidence(
        id=plain_text(row, "id", place) or place.rpartition(" ")[2],
        question=row["question"],
        facts=facts,
        edges=edges,
        answer=plain_text(row, "answer", place),
        answer_kind=kind,
        program=_program(row.get("program") or [], place),
        world=plain_text(row, "world", place),
        chain=checked_chain(chain, edges, place) if chain else (),
    )
    stated = {"structure": evidence.structure, "depth": depth(evidence.edges)}
    for name, value in {**stated, "reasoning_type": evidence.reasoning}.items():
        if not official and row.get(name, value) != value:
            raise DatasetError(
                f"{place}: {name} is {row[name]!r:.40}, but its edges and program make it {value!r}"
            )
    return evidence, len(texts) - len(facts)


def plain_text(row: Row, name: str, place: str) -> str:
    """A field's text, or number as text; empty where it is not there. Raises `DatasetError`."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DatasetError(f"{place}: field {name!r} is {value!r:.60}; write it as text")
    return str(value)


def _texts(values: Any, place: str) -> list[str]:
    if not isinstance(values, list) or not values:
        raise DatasetError(f"{place} is {values!r:.60}; give a list of one text at least")
    for i, value in enumerate(values):
        if not isinstance(value, str) or not value.strip():
            raise DatasetError(f"{place}: entry {i} is {value!r:.60}, no text")
    return values


def _program(steps: Any, place: str) -> tuple[dict[str, Any], ...]:
    if not isinstance(steps, list) or not all(
        isinstance(step, dict) and isinstance(step.get("function"), str) for step in steps
    ):
        raise DatasetError(f"{place}: field 'program' must be a list of steps with a 'function'")
    return tuple(steps)


def _official_edges(links: Any, at: dict[str, int], place: str, repair: bool) -> list[Edge]:
    """Edges from `order_true_fact`: what `after` says; from the question where `before` is empty.

    Facts are found by their whole text, never by a part of it.
    """

    def place_of(text: Any) -> int:
        if not isinstance(text, str) or text not in at:
            near = difflib.get_close_matches(str(text), at, n=1, cutoff=0)
            raise DatasetError(
                f"{place}: order_true_fact names {text!r:.80}, which is not among its facts; the "
                f"nearest is {near[0]!r:.80}"
            )
        return at[text]

    before: set[Edge] = set()
    after: set[Edge] = set()
    listed: set[int] = set()
    for link in links if isinstance(links, list) else [links]:
        relation = link.get("relation") if isinstance(link, dict) else None
        sides = relation if isinstance(relation, dict) else {}
        lists = [sides.get(side) for side in ("before", "after")]
        if not all(isinstance(side, list) for side in lists):
            raise DatasetError(f"{place}: order_true_fact has {link!r:.60}; {_EXPECTED}")
        node = place_of(link.get("facts"))
        listed.add(node)
        before |= {(place_of(text), node) for text in lists[0]}
        after |= {(node, place_of(text)) for text in lists[1]}
    if (torn := sorted(before ^ after)) and not repair:
        (u, v), texts = torn[0], [*at]
        side, other = ("after", "before") if torn[0] in after else ("before", "after")
        raise DatasetError(
            f"{place}: {texts[u]!r:.80} and {texts[v]!r:.80}: one is {side!r} of the other, which "
            f"has it not in {other!r}; mend the file, or read it with repair=True, which takes both"
        )
    edges = before | after
    reached = {v for _, v in edges}
    return sorted(edges | {(ROOT, node) for node in listed - reached})
