"""Rows of a store: which are whole, and the lines of an export that become rows again."""

import math
from pathlib import Path
from typing import Any

from workbench.errors import StoreError
from workbench.generation.requests import sample_key
from workbench.hashing import canonical, digest
from workbench.reading import parse_json

COLUMNS = (
    "key prompt_sha parameters_sha sample_index text finish_reason n_tokens prompt_tokens stage "
    "created digest"
).split()
Row = tuple[Any, ...]
"""The values of `COLUMNS`."""
_WHOLE = frozenset("sample_index n_tokens prompt_tokens".split())
_TYPES = tuple(int if c in _WHOLE else float if c == "created" else str for c in COLUMNS)
_MOST = 2**48
"""More tokens than there are; sums of many such still are SQLite's integers."""


def fault(row: Row) -> str:
    """What is wrong with a row's types, naming the column; empty if nothing."""
    # Nearly every row is right, and asked at once instead of column by column.
    if tuple(map(type, row)) == _TYPES and math.isfinite(row[9]):
        whole = row[3], row[6], row[7]
        if min(whole) >= 0 and max(whole) < _MOST:
            return ""
    for name, value in zip(COLUMNS, row, strict=True):
        if name in _WHOLE:
            if type(value) is not int or not 0 <= value < _MOST:
                return f"{name} is {_short(value)}, not a whole number from 0"
        elif name == "created":
            if type(value) not in (int, float) or not math.isfinite(value):
                return f"created is {_short(value)}, not a time in seconds"
        elif not isinstance(value, str):
            return f"{name} is {_short(value)}, not a text"
    return ""


def intact(row: Row) -> bool:
    """Whether a row is what was written, by its own digest."""
    return not fault(row) and row[-1] == digest([row[0], *row[4:8]])


def is_sha(name: Any, text: Any) -> bool:
    """Whether `name` is the digest of the text."""
    return isinstance(text, str) and name == digest(text, 64)


def sound(row: Row, parameters: Any, prompt: Any) -> bool:
    """Whether a row is intact and of this prompt and these parameters."""
    return (
        intact(row)
        and is_sha(row[1], prompt)
        and is_sha(row[2], parameters)
        and row[0] == sample_key(parameters, row[1], row[3])
    )


def line_of(row: Row, parameters: str, prompt: str) -> str:
    """A row with its parameters and prompt as a line of an export."""
    content = dict(zip(COLUMNS, row, strict=True))
    content |= {"parameters": parse_json(parameters, "parameters", StoreError), "prompt": prompt}
    return canonical(content) + "\n"


def read_lines(path: str | Path) -> tuple[dict[str, str], dict[str, str], dict[str, Row]]:
    """Prompts and parameters by digest, and rows by key, of an export.

    Raises `StoreError`, naming the line, for what is no exported sample or does not match its key,
    and for a key that is there again with other content.
    """
    prompts: dict[str, str] = {}
    settings: dict[str, str] = {}
    rows: dict[str, Row] = {}
    line_of_key: dict[str, int] = {}
    try:
        lines = Path(path).open("rb")  # noqa: SIM115 - closed below, its own errors apart
    except OSError as error:
        raise StoreError(f"{path or '.'} cannot be read: {error.strerror}") from None
    with lines as file:
        for number, raw in enumerate(file, 1):
            place = f"{path}:{number}"
            try:
                # Halves of surrogate pairs, which a model may write, are kept as they are.
                text = raw.decode("utf-8", "surrogatepass").rstrip("\r\n").removeprefix("\ufeff")
                content = parse_json(text, str(path), StoreError, number - 1)
            except (UnicodeDecodeError, StoreError) as error:
                why = str(error).removeprefix(f"{place}: ")
                raise StoreError(f"{place}: not an exported sample ({why})") from error
            row, parameters, prompt = _row(content, place)
            if not sound(row, parameters, prompt):
                raise StoreError(f"{place}: the sample does not match its key")
            first = line_of_key.setdefault(row[0], number)
            if rows.setdefault(row[0], row)[4:8] != row[4:8]:
                raise StoreError(f"{place}: the sample of line {first} again, but another text")
            prompts[row[1]], settings[row[2]] = prompt, parameters
    return prompts, settings, rows


def _row(content: Any, place: str) -> tuple[Row, str, str]:
    names = {*COLUMNS, "parameters", "prompt"}
    if not isinstance(content, dict) or content.keys() != names:
        wrong = sorted(names ^ content.keys()) if isinstance(content, dict) else [_short(content)]
        raise StoreError(f"{place}: not an exported sample ({', '.join(map(_short, wrong))})")
    row = tuple(content[name] for name in COLUMNS)
    wrong_type = fault(row)
    if not isinstance(content["prompt"], str):
        wrong_type = f"prompt is {_short(content['prompt'])}, not a text"
    if not isinstance(content["parameters"], dict):
        wrong_type = f"parameters is {_short(content['parameters'])}, not an object"
    if wrong_type:
        raise StoreError(f"{place}: not an exported sample ({wrong_type})")
    return row, canonical(content["parameters"]), content["prompt"]


def _short(value: Any) -> str:
    return f"{value!r:.40}" if not isinstance(value, str) else ascii(value)[:40]
