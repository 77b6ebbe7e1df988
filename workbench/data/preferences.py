"""load_data(): preference pairs and requests, from an embedded sample, a file or the hub."""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.data.fields import is_absent, of_split, read_truth
from workbench.errors import DatasetError
from workbench.files import SHEET_ERRORS, Row, plain_names, read_rows, suffix
from workbench.hub import hub_rows
from workbench.models.pair_shapes import SYSTEMS, read_pairs
from workbench.models.transcripts import single_turn
from workbench.models.turns import Side
from workbench.paths import data_folder, small_folder

log = logging.getLogger(__name__)

FIELDS = {
    "preference": ("prompt", "chosen", "rejected"),
    "requests": ("prompt", "harmful"),
    "styles": ("prompt", "chosen", "rejected"),
    "sentiment": ("prompt", "chosen", "rejected"),
    "formality": ("prompt", "chosen", "rejected"),
    "refusal": ("prompt", "chosen", "rejected"),
}
_EMBEDDED = {
    "preference": "requests.jsonl",
    "requests": "requests.jsonl",
    "styles": "style_pairs.jsonl",
}
_CONTRASTS = ("sentiment", "formality", "refusal")
_HUB = ("preference", "requests")
_OFFICIAL = {  # the released SafetyLock files' names for the same three fields
    "question": "prompt",
    "answer_matching_behavior": "chosen",
    "answer_not_matching_behavior": "rejected",
}
_HEADERS = (
    "prompt", "goal", "question", "instruction", "request", "behavior", "behaviour", "text",
    "query", "querie", "input",
)  # fmt: skip
"""How a column of prompts is called, less an "s" at the end."""
_HARMFUL, _HARMLESS = ("harmful", "unsafe"), ("harmless", "safe", "benign")


def load_data(name: str, split: str = "train", source: str | Path = "auto") -> list[Row]:
    """Rows of schema `"requests"` (prompt, harmful), or of pairs (prompt, chosen, rejected).

    source: `"auto"` is the embedded sample (that of the town of Brindle carries further fields
    that its judge uses); `"small"` our texts in plain English for a real model; `"hub"` the public
    set a paper names; anything else a local file that `files.read_rows` reads (one whose rows have
    no `split` serves every split), or a .csv of one bare column: harmful prompts. For
    `"preference"` `chosen` is the safe answer and only harmful prompts count; `"styles"` are the
    pairs of the embedded model of that name, split into train and test; `"sentiment"` (glad,
    displeased), `"formality"` (formal, casual) and `"refusal"` (refused, granted), of no split,
    are the same under `"auto"` and `"small"`. Exact duplicates are dropped and counted in the log.

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
        rows = _from_file(_shipped(name, str(source)) or Path(source))
        numbered = of_split(rows, split, str(source))
    read = _requests if name == "requests" else _preferences
    return _once(read(numbered, str(source), name == "preference"), name, str(source))


def _shipped(name: str, source: str) -> Path | None:
    if source == "small" or (source == "auto" and name in _CONTRASTS):
        return small_folder() / _EMBEDDED.get(name, f"{name}.jsonl")
    return data_folder() / _EMBEDDED[name] if source == "auto" else None


def _from_file(path: Path) -> list[Row]:
    rows = read_rows(path)
    if suffix(path) not in (".csv", ".tsv") or not rows or len(rows[0]) > 1:
        return rows
    (header,) = rows[0]
    words = re.findall("[a-z]+", header.lower())
    if header.lower() == "prompt":
        return rows
    if len(words) < 3 and any(w.rstrip("s") in _HEADERS for w in words):
        raise DatasetError(
            f"{path}: the one column is called {header!r}; for harmful prompts remove that line, "
            "else name two columns: prompt, harmful"
        )
    prompts = [header, *(row[header] for row in rows)]
    return [{"prompt": prompt, "harmful": True} for prompt in prompts]


def _named(row: Row, place: str) -> Row:
    """The row under our field names, of whatever case its own are."""
    row = plain_names(row, place)
    ours = {a: b for a, b in _OFFICIAL.items() if b not in row}
    return {ours.get(field, field): value for field, value in row.items()}


def _requests(numbered: Iterable[tuple[int, Row]], source: str, _: bool) -> Iterator[Row]:
    for number, row in numbered:
        place = f"{source} row {number}"
        row = _named(row, place)
        _require(row, "prompt", place)
        yield row | {"harmful": _harmful(row, place)}


def _harmful(row: Row, place: str) -> bool:
    if is_absent(row.get("harmful")):
        raise DatasetError(f"{place}: field 'harmful' is missing")
    return read_truth(row["harmful"], f"{place}: field 'harmful'", _HARMFUL, _HARMLESS)


def _preferences(
    numbered: Iterable[tuple[int, Row]], source: str, harmful_only: bool
) -> Iterator[Row]:
    """Rows of a text prompt and two text answers, from whatever shape the pairs have."""
    named = []
    for number, row in numbered:
        place = f"{source} row {number}"
        row = _named(row, place)
        if {"response_0", "response_1", "is_response_0_safe"} <= row.keys():
            if (safe := _safe(row, place)) is None:
                continue
            row = safe
        if "harmful" in row:
            row["harmful"] = _harmful(row, place)
        if harmful_only and not row.get("harmful", True):
            continue
        if not all(is_absent(row.get(name)) for name in SYSTEMS):
            raise DatasetError(f"{place}: a system prompt of its own cannot be used here")
        for field in ("prompt", "chosen", "rejected"):
            if field in row or (field != "prompt" and "human_ref_a" not in row):
                _require(row, field, place)
        named.append((place, row))
    pairs = read_pairs(named, lambda text: log.warning("%s: %s", source, text))
    for (place, row), pair in zip(named, pairs, strict=True):
        sides = {field: _one_turn(getattr(pair, field), place) for field in FIELDS["preference"]}
        # What is left of a longer text has the white space of its seam.
        sides = {f: text if text == row.get(f) else text.strip() for f, text in sides.items()}
        for field in sides:
            _require(sides, field, place)
        if sides["chosen"] == sides["rejected"]:
            raise DatasetError(f"{place}: chosen and rejected are equal")
        yield row | sides


def _require(row: Row, field: str, place: str) -> None:
    value = row.get(field)
    if value is None:
        raise DatasetError(f"{place}: field {field!r} is missing; found {', '.join(row) or 'none'}")
    if not isinstance(value, str | list | dict) or not value or not str(value).strip():
        raise DatasetError(f"{place}: field {field!r} is empty or no text")
    if str(value).strip() in SHEET_ERRORS:
        raise DatasetError(f"{place}: field {field!r} is {value!r}, the error of a spreadsheet")


def _one_turn(side: Side, place: str) -> str:
    """The text of a prompt or an answer of one turn."""
    text = single_turn(side) if isinstance(side, str) else side[0]["content"]
    if text is None or (not isinstance(side, str) and len(side) > 1):
        turns = "turns" if isinstance(side, str) else ", ".join(m["role"] for m in side)
        raise DatasetError(f"{place}: several turns ({turns}) where one question is needed")
    return text


def _once(rows: Iterable[Row], name: str, source: str) -> list[Row]:
    once: dict[tuple, Row] = {}
    duplicates = 0
    for row in rows:
        content = tuple(row[field] for field in FIELDS[name])
        duplicates += content in once
        once.setdefault(content, row)
    if duplicates:
        log.warning("%s: %d duplicate rows dropped", source, duplicates)
    if not once:
        raise DatasetError(f"{source}: no rows for {name!r}")
    return list(once.values())


def _safe(row: Row, place: str) -> Row | None:
    """PKU-SafeRLHF's row with its safe answer chosen; None where not exactly one is safe."""
    safe = [
        read_truth(row.get(f := f"is_response_{n}_safe"), f"{place}: field {f!r}") for n in (0, 1)
    ]
    if sum(safe) != 1:
        return None
    answers = (row["response_0"], row["response_1"])
    return {
        "prompt": row.get("prompt"),
        "chosen": answers[safe.index(True)],
        "rejected": answers[safe.index(False)],
    }


def _from_hub(name: str, split: str) -> Iterator[Row]:
    """AdvBench and Alpaca as requests; PKU-SafeRLHF's pairs."""
    if name == "requests":
        for row in hub_rows("walledai/AdvBench", "train"):
            yield {"prompt": row.get("prompt"), "harmful": True}
        for row in hub_rows("tatsu-lab/alpaca", "train[:1000]"):
            if not row.get("input"):
                yield {"prompt": row.get("instruction"), "harmful": False}
        return
    yield from hub_rows("PKU-Alignment/PKU-SafeRLHF", split)
