"""load_data(): an embedded sample, a local file or a hub dataset, one schema each."""

import csv
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.errors import DatasetError
from workbench.paths import data_folder

log = logging.getLogger(__name__)

Row = dict[str, Any]

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
    that its judge uses); `"hub"` the public set a paper names; anything else a local .jsonl, .json
    or .csv file (one whose rows have no `split` serves every split). For `"preference"` `chosen`
    is the safe answer and only harmful prompts count; `"styles"` are the pairs of the embedded
    model of that name, split into train and test. Exact duplicates are dropped and counted in the
    log.

    Raises `DatasetError` naming the row (from 0) for a missing or empty field, equal answers, an
    unknown name, or one without a public set, and `FileNotFoundError` for a missing file.
    """
    if name not in FIELDS:
        raise DatasetError(f"unknown dataset {name!r}; known: {', '.join(FIELDS)}")
    if str(source) == "hub":
        if name not in _HUB:
            raise DatasetError(f"{name!r} is on no hub: use source='auto', or a local file")
        rows: Iterable[Row] = _from_hub(name, split)
    elif str(source) == "auto":
        rows = _of_split(_read(data_folder() / _EMBEDDED[name]), split)
    else:
        rows = _of_split(_read(Path(source)), split)
    if name == "preference":
        rows = [r for r in rows if not isinstance(r, dict) or r.get("harmful", True)]
    return _validated(name, rows, str(source))


def _of_split(rows: list[Row], split: str) -> list[Row]:
    """The rows of one split; all of them where any has no `split` field."""
    if all(isinstance(r, dict) and "split" in r for r in rows):
        return [r for r in rows if r["split"] == split]
    return rows


def _read(path: Path) -> list[Row]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give a .jsonl, .json or .csv file")
    try:
        if path.suffix == ".csv":
            return _read_csv(path)
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        content = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, list):
        raise DatasetError(f"{path}: expected a list of rows, found a {type(content).__name__}")
    return content


def _read_csv(path: Path) -> list[Row]:
    """A CSV with a header of our field names, or one bare column of harmful prompts."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in csv.reader(file) if line]
    if lines and "prompt" in lines[0]:
        return [dict(zip(lines[0], line, strict=False)) for line in lines[1:]]
    return [{"prompt": line[0], "harmful": True} for line in lines]


def _validated(name: str, rows: Iterable[Row], source: str) -> list[Row]:
    kept, seen, duplicates = [], set(), 0
    for number, raw in enumerate(rows):
        if not isinstance(raw, dict):
            raise DatasetError(f"{source} row {number}: a {type(raw).__name__}, not an object")
        row = {_OFFICIAL.get(k, k): v for k, v in raw.items()}
        for field in FIELDS[name]:
            if field not in row:
                raise DatasetError(f"{source} row {number}: field {field!r} is missing")
            if field != "harmful" and not (isinstance(row[field], str) and row[field].strip()):
                raise DatasetError(f"{source} row {number}: field {field!r} is empty or no text")
        if "chosen" in FIELDS[name] and row["chosen"] == row["rejected"]:
            raise DatasetError(f"{source} row {number}: chosen and rejected are equal")
        key = tuple(row[field] for field in FIELDS[name])
        duplicates += key in seen
        if key not in seen:
            kept.append(row)
        seen.add(key)
    if duplicates:
        log.warning("%s: %d duplicate rows dropped", source, duplicates)
    if not kept:
        raise DatasetError(f"{source}: no rows for {name!r}")
    return kept


def _hub_rows(repository: str, split: str) -> Iterable[Row]:
    from datasets import load_dataset

    try:
        return load_dataset(repository, split=split)
    except OSError as error:
        raise DatasetError(
            f"{repository} cannot be read from the hub: accept its terms there if it is gated, set "
            f"HF_TOKEN, check the network, or give a local file. ({str(error).splitlines()[0]})"
        ) from error


def _from_hub(name: str, split: str) -> Iterable[Row]:
    """AdvBench and Alpaca as requests; PKU-SafeRLHF pairs with exactly one safe answer."""
    if name == "requests":
        for row in _hub_rows("walledai/AdvBench", "train"):
            yield {"prompt": row["prompt"], "harmful": True}
        for row in _hub_rows("tatsu-lab/alpaca", "train[:1000]"):
            if not row["input"]:
                yield {"prompt": row["instruction"], "harmful": False}
        return
    for row in _hub_rows("PKU-Alignment/PKU-SafeRLHF", split):
        safe = [row["is_response_0_safe"], row["is_response_1_safe"]]
        if sum(safe) == 1:
            answers = (row["response_0"], row["response_1"])
            yield {
                "prompt": row["prompt"],
                "chosen": answers[safe.index(True)],
                "rejected": answers[safe.index(False)],
            }
