"""Questions over databases of sentences, as WikiNLDB is released (Thorne et al. 2021).

One database a line: `{"facts": [text], "queries": [{"query", "height", "facts": [[place]],
"answer", "relation", "type"}]}`. A question sees the facts up to place `height`.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench import arguments
from workbench.encodings import text_of
from workbench.errors import DatasetError
from workbench.files import Row
from workbench.reading import parse_json
from workbench.retrieval.evidence_files import plain_text, read_row, usable
from workbench.retrieval.graphs import ROOT, Evidence

log = logging.getLogger(__name__)

_KINDS = {"bool": "bool", "count": "count"}
_EXPECTED = 'expected {"facts": [text], "queries": [{"query", "height", "facts": [[place]], …}]}'


def read_nldb(path: str | Path, *, strict: bool = True) -> list[Evidence]:
    """The questions of a file of databases, each with the facts that it sees; gold facts a star.

    Of several support sets, each of which yields a part of the answer, all facts are gold. A
    question without any ("None") has no evidence to retrieve and is left out. Facts that a question
    sees twice are one, the first. The log counts all three. `world` is the line; `relation` is not
    read. Raises `FileNotFoundError`, and `DatasetError` naming line and query for malformed JSON,
    fields of another form, and facts past the height; `strict=False` goes on without them, counted
    in the log.

    >>> read_nldb("wikinldb/test.jsonl")[0].facts
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a .jsonl file")
    read: list[Evidence | DatasetError] = []
    without = several = doubles = 0
    for place, query, facts in _queries(path):
        try:
            if isinstance(query, DatasetError):
                raise query
            sets = _support(query, place, len(facts))
            gold = sorted({fact for each in sets for fact in each})
            if gold:
                made, repeats = _evidence(query, facts, gold, place)
                read.append(made)
                doubles += repeats
        except DatasetError as error:
            read.append(error)
            continue
        without += not gold
        several += len(sets) > 1
    if without:
        log.warning("%s: %d queries without a supporting fact are left out", path, without)
    if several:
        log.warning("%s: %d queries have several support sets; all facts are gold", path, several)
    if doubles:
        log.warning("%s: %d facts are in their pool twice; the first of each stays", path, doubles)
    return usable(path, read, strict)


def _queries(path: Path) -> Iterator[tuple[str, Row | DatasetError, list[Any]]]:
    """Yield place, query and facts of its database; or what is wrong with a line or a query."""
    for number, line in enumerate(text_of(path).split("\n"), 1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            row = parse_json(line, str(path), DatasetError, number - 1)
        except DatasetError as error:
            yield place, error, []
            continue
        lists = [row.get(name) for name in ("facts", "queries")] if isinstance(row, dict) else []
        if not lists or not all(isinstance(each, list) for each in lists):
            yield place, DatasetError(f"{place}: {row!r:.60}; {_EXPECTED}"), []
            continue
        for i, query in enumerate(lists[1]):
            at = f"{place} query {i}"
            if not isinstance(query, dict):
                query = DatasetError(f"{at}: {query!r:.60} is no object; {_EXPECTED}")
            yield at, query, lists[0]


def _support(query: Row, place: str, count: int) -> list[list[int]]:
    """The support sets, of facts that the question sees."""
    height = arguments.whole(
        f"{place}: height", query.get("height"), 0, count - 1, error=DatasetError
    )
    sets = query.get("facts")
    if not isinstance(sets, list) or not all(isinstance(each, list) for each in sets):
        raise DatasetError(f"{place}: facts {sets!r:.60} are no lists of places; {_EXPECTED}")
    for fact in (fact for each in sets for fact in each):
        arguments.whole(f"{place}: fact", fact, 0, height, error=DatasetError)
    return [each for each in sets if each]


def _evidence(query: Row, facts: list[Any], gold: list[int], place: str) -> tuple[Evidence, int]:
    """The question, and how many of its facts were there twice."""
    answer = query.get("answer")
    parts = answer if isinstance(answer, list) else [answer]
    line, _, number = place.rpartition(":")[2].partition(" query ")
    row = {
        "id": f"{line}-{number}",
        "question": query.get("query"),
        "facts": facts[: query["height"] + 1],
        "edges": [[ROOT, fact] for fact in gold],
        "answer": ", ".join(plain_text({"answer": part}, "answer", place) for part in parts),
        "answer_type": _KINDS.get(plain_text(query, "type", place), ""),
        "world": f"line {line}",
    }
    return read_row(row, place)
