"""load_data(): preference pairs and requests, from an embedded sample, a file or the hub."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.errors import DatasetError
from workbench.files import Row, csv_lines, hub_rows, read_rows
from workbench.paths import data_folder

log = logging.getLogger(__name__)

FIELDS = {
    "preference": ("prompt", "chosen", "rejected"),
    "requests": ("prompt", "harmful"),
    "styles": ("prompt", "chosen", "rejected"),
}
_EMBEDDED = {
    "preference": "requests.jsonl",
    "requests": "requests.jsonl",
    "styles": "style_pairs.jsonl",
}
_HUB = ("preference", "requests")
_OFFICIAL = {  # the released SafetyLock files' names for the same three fields
    "question": "prompt",
    "answer_matching_behavior": "chosen",
    "answer_not_matching_behavior": "rejected",
}


def load_data(name: str, split: str = "train", source: str | Path = "auto") -> list[Row]:
    """Rows of schema `"preference"` or `"styles"` (prompt, chosen, rejected), or `"requests"`
    (prompt, harmful).

    source: `"auto"` is the embedded sample (that of the town of Brindle carries further fields
    that its judge uses); `"hub"` the public set a paper names; anything else a local file that
    `files.read_rows` reads (one whose rows have no `split` serves every split), or a .csv of one
    bare column: harmful prompts. For `"preference"` `chosen` is the safe answer and only harmful
    prompts count; `"styles"` are the pairs of the embedded model of that name, split into train and
    test. Exact duplicates are dropped and counted in the log.

    Raises `DatasetError` naming the row of the source (from 0) for a missing or empty field, equal
    answers, an unknown name, or one without a public set, and `FileNotFoundError` for a missing
    file.

    >>> pairs = load_data("preference")
    >>> pairs[0]["prompt"], pairs[0]["chosen"], pairs[0]["rejected"]
    """
    if name not in FIELDS:
        raise DatasetError(f"unknown dataset {name!r}; known: {', '.join(FIELDS)}")
    if str(source) == "hub":
        if name not in _HUB:
            raise DatasetError(f"{name!r} is on no hub: use source='auto', or a local file")
        numbered = list(enumerate(_from_hub(name, split)))
    else:
        embedded = str(source) == "auto"
        rows = _from_file(data_folder() / _EMBEDDED[name] if embedded else Path(source))
        every_split = not all("split" in row for row in rows)
        numbered = [(n, row) for n, row in enumerate(rows) if every_split or row["split"] == split]
    if name == "preference":
        numbered = [(n, row) for n, row in numbered if row.get("harmful", True)]
    return _validated(name, numbered, str(source))


def _from_file(path: Path) -> list[Row]:
    if path.suffix == ".csv" and path.is_file():
        lines = csv_lines(path)
        if all(len(line) == 1 for line in lines) and lines[:1] != [["prompt"]]:
            return [{"prompt": prompt, "harmful": True} for (prompt,) in lines]
    return read_rows(path)


def _validated(name: str, numbered: Iterable[tuple[int, Row]], source: str) -> list[Row]:
    """The rows under our field names, each once."""
    rows: dict[tuple, Row] = {}
    duplicates = 0
    for number, given in numbered:
        row = {_OFFICIAL.get(field, field): value for field, value in given.items()}
        for field in FIELDS[name]:
            if row.get(field) is None:
                raise DatasetError(f"{source} row {number}: field {field!r} is missing")
            if field != "harmful" and not (isinstance(row[field], str) and row[field].strip()):
                raise DatasetError(f"{source} row {number}: field {field!r} is empty or no text")
        if "chosen" in FIELDS[name] and row["chosen"] == row["rejected"]:
            raise DatasetError(f"{source} row {number}: chosen and rejected are equal")
        content = tuple(row[field] for field in FIELDS[name])
        duplicates += content in rows
        rows.setdefault(content, row)
    if duplicates:
        log.warning("%s: %d duplicate rows dropped", source, duplicates)
    if not rows:
        raise DatasetError(f"{source}: no rows for {name!r}")
    return list(rows.values())


def _from_hub(name: str, split: str) -> Iterator[Row]:
    """AdvBench and Alpaca as requests; PKU-SafeRLHF pairs with exactly one safe answer."""
    if name == "requests":
        for row in hub_rows("walledai/AdvBench", "train"):
            yield {"prompt": row["prompt"], "harmful": True}
        for row in hub_rows("tatsu-lab/alpaca", "train[:1000]"):
            if not row["input"]:
                yield {"prompt": row["instruction"], "harmful": False}
        return
    for row in hub_rows("PKU-Alignment/PKU-SafeRLHF", split):
        safe = [row["is_response_0_safe"], row["is_response_1_safe"]]
        if sum(safe) == 1:
            answers = (row["response_0"], row["response_1"])
            yield {
                "prompt": row["prompt"],
                "chosen": answers[safe.index(True)],
                "rejected": answers[safe.index(False)],
            }
