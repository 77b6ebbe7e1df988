"""Parameters of a notebook, as its tagged cell declares them; checked before anything runs."""

import math
from pathlib import Path
from typing import Any

from nbformat import ValidationError
from papermill import inspect_notebook

from workbench.errors import RunError, nearest
from workbench.reading import parse_json


def declared(notebook: Path) -> dict[str, dict[str, Any]]:
    """name → papermill's inspection (`inferred_type_name`, `default`, `help`) of one notebook.

    Raises `RunError` for a file that is no notebook, or one without a kernel.
    """
    try:
        return inspect_notebook(str(notebook))
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
                f"unknown parameter {name!r}{nearest(name, known)}. "
                f"{notebook.name} takes: {', '.join(known)}"
            )
        cast[name] = _cast(name, value, known[name]["inferred_type_name"])
    return cast


def _cast(name: str, value: Any, kind: str) -> Any:
    try:
        if kind == "bool":
            if value in (True, "true", "True", "1"):
                return True
            if value in (False, "false", "False", "0"):
                return False
            raise ValueError
        if kind.startswith("list") and isinstance(value, str):
            listed = value.startswith("[")
            value = parse_json(value, f"parameter {name}", RunError) if listed else value.split(",")
        if kind.startswith("list") and isinstance(value, list):
            inner = _CASTS.get(kind.removeprefix("list[").rstrip("]"), _number)
            return [inner(item) for item in value]
        if kind in _CASTS:
            return _CASTS[kind](value)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise RunError(f"parameter {name}={value!r:.200} is not a {kind}") from error
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _number(value: Any) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError
    return number


def _text(value: Any) -> str:
    text = str(value)
    text.encode("utf-8")  # no half of a surrogate pair, which no file can hold
    return text


_CASTS = {"int": _whole, "float": _number, "str": _text}
