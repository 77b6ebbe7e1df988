"""Parameters of a notebook, as its tagged cell declares them; checked before anything runs."""

import math
import os
from pathlib import Path
from typing import Any

from nbformat import ValidationError
from papermill import inspect_notebook

from workbench.arguments import shown
from workbench.errors import RunError, nearest
from workbench.reading import parse_json


def declared(notebook: Path) -> dict[str, dict[str, Any]]:
    """name → papermill's inspection (`inferred_type_name`, `default`, `help`) of one notebook.

    Raises `RunError` for a file that is no notebook, or one without a kernel.
    """
    try:
        return inspect_notebook(unformatted(notebook))
    except (ValueError, AttributeError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"{notebook}: {reason} Save it in JupyterLab with its kernel.") from error


def check(notebook: Path, given: dict[str, Any]) -> dict[str, Any]:
    """`given` cast to the declared types.

    Text (from a command line) is read as the declared type. Raises `RunError` for an unknown name
    (with the nearest one) or a value that does not fit the type.
    """
    known = declared(notebook)
    cast = {}
    for name, value in given.items():
        if name not in known:
            raise RunError(
                f"unknown parameter {shown(name)}{nearest(name, known)}. "
                f"{notebook.name} takes: {', '.join(known)}"
            )
        cast[name] = _cast(name, value, known[name]["inferred_type_name"])
    return cast


def unformatted(path: Path) -> str:
    """A path as papermill takes it, which would put parameters into its braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _cast(name: str, value: Any, kind: str) -> Any:
    try:
        if kind.startswith("list") and isinstance(value, str):
            listed = value.startswith("[")
            value = parse_json(value, f"parameter {name}", RunError) if listed else value.split(",")
        if kind.startswith("list") and isinstance(value, list):
            inner = _CASTS.get(kind.removeprefix("list[").rstrip("]"), _number)
            return [inner(item) for item in value]
        if kind in _CASTS:
            return _CASTS[kind](value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise RunError(f"parameter {name}={shown(value)}: give {_WORDS.get(kind, kind)}") from None
    return value


def _truth(value: Any) -> bool:
    if not isinstance(value, bool) and value not in (*_TRUE, *_FALSE):
        raise ValueError
    return value is True or value in _TRUE


def _whole(value: Any) -> int:
    if isinstance(value, bool | float):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _text(value: Any) -> str:
    text = os.fspath(value)
    text.encode("utf-8")  # no half of a surrogate pair, which no file can hold
    return text


_TRUE, _FALSE = ("true", "True", "1"), ("false", "False", "0")
_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a finite number",
          "str": "a text"}  # fmt: skip
_CASTS = {"bool": _truth, "int": _whole, "float": _number, "str": _text}
