"""JSON, YAML and arrays of others: checked before they are believed, faults named by file."""

import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from workbench.arguments import Refusal

DEPTH = 100
"""Levels of lists and objects in JSON; what is written in earnest has a few."""
_DIGITS = 308
_SURROGATE = re.compile(r"(?<!\\)(?:\\\\)*\\u[dD][89a-fA-F]")
"""The escape of half a pair; after an escaped backslash the same letters are plain text."""
_YAML = 1_000_000
_BOMB = 100
"""A zipped array may be this many times its stored size where it takes over 100 MB."""


def read_json(path: str | Path, error: Refusal) -> Any:
    """The content of a UTF-8 JSON file, with or without a byte order mark.

    Raises `error` naming the file and line as `parse_json` does, also for a file that is not there.
    """
    return parse_json(read_text(path, error), str(path), error)


def read_object(path: str | Path, error: Refusal) -> dict[str, Any]:
    """`read_json` of a file that holds one object; `error` names any other."""
    content = read_json(path, error)
    if not isinstance(content, dict):
        raise error(f"{path} holds no JSON object")
    return content


def read_text(path: str | Path, error: Refusal) -> str:
    """The text of a UTF-8 file; `error` names one that cannot be read or is in another encoding."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{path} cannot be read: not UTF-8 text: {reason}") from reason
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror or reason}") from reason


def parse_json(
    text: str | bytes,
    place: str,
    error: Refusal,
    lines_before: int = 0,
    *,
    finite: bool = True,
) -> Any:
    """The content of JSON text; `place` is the file (or what else) that errors name.

    Raises `error`, with the line (from 1, after `lines_before` others) where it is known, for what
    is no JSON, and for what Python's reader takes and others do not, or not alike: NaN, infinity
    and numbers beyond float64, names that are there twice in one object, lone surrogates, more than
    `DEPTH` levels. `finite=False` leaves numbers to a caller who checks each.
    """
    try:
        text = text.decode("utf-8") if isinstance(text, bytes) else text
        value = (_FINITE if finite else _ANY).decode(text)
        if _too_deep(value):
            raise RecursionError
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as reason:
        raise error(f"{place}:{lines_before + reason.lineno}: {reason.msg}") from reason
    except UnicodeDecodeError as reason:
        cause, fault = reason, f"not UTF-8 text: {reason}"
    except UnicodeEncodeError as reason:
        cause, fault = reason, "half of a surrogate pair, which is no text"
    except RecursionError as reason:
        cause, fault = reason, f"more than {DEPTH} levels deep"
    except ValueError as reason:  # of the decoder's hooks below
        cause, fault = reason, str(reason)
    # Only the decoder itself knows the line, but here there may be one alone.
    several = isinstance(text, str) and "\n" in text.strip()
    raise error(f"{place}{'' if several else f':{lines_before + 1}'}: {fault}") from cause


class _Plain(yaml.SafeLoader):
    """Lists, mappings, texts and numbers, each written out."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "an alias", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        if len(content) < len(node.value):
            raise yaml.MarkedYAMLError(None, None, "a name that is there twice", node.start_mark)
        return content


def read_yaml(path: str | Path, error: Refusal) -> Any:
    """The content of a YAML file; `error` names one that cannot be read.

    Nothing in it is called. Aliases and merged keys, which make gigabytes of a few lines, names
    that are there twice and more than a million characters are refused.
    """
    text = read_text(path, error)
    if len(text) > _YAML:
        raise error(f"{path} cannot be read: {len(text)} characters; at most {_YAML} are")
    try:
        return yaml.load(text, _Plain)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as reason:
        raise error(f"{path} cannot be read: {reason}") from reason


def read_arrays(path: str | Path, error: Refusal) -> dict[str, np.ndarray]:
    """All arrays of a `.npz` file, nothing unpickled; `error` names a damaged or foreign one."""
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        for member in members:
            if member.file_size > max(_BOMB * member.compress_size, 100_000_000):
                raise ValueError(f"{member.filename} would unpack to {member.file_size} bytes")
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as reason:  # NumPy's reader stumbles in many ways, down to TokenError
        raise error(f"{path} cannot be read: {reason}") from reason


def read_array(
    path: str | Path, error: Refusal, mmap_mode: Literal["r"] | None = None
) -> np.ndarray:
    """The array of a `.npy` file, nothing unpickled; `error` names a damaged or foreign one."""
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except Exception as reason:  # as in `read_arrays`
        raise error(f"{path} cannot be read: {reason}") from reason
    if not isinstance(array, np.ndarray):
        array.close()
        raise error(f"{path} cannot be read: several arrays, expected one")
    return array


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} is there twice in one object; remove one")
    return content


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"the number {text:.40} is too large")
    return value


def _int(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too large")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number; write null or leave it out")


_FINITE = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_int=_int, parse_constant=_constant
)
_ANY = json.JSONDecoder(object_pairs_hook=_object)
