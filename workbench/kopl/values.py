"""Values that facts state: strings, quantities with units, years and dates (KQA Pro's four types).

A year is equal to every date in it; a date is equal to itself alone. Between a year and a date only
the years count for less and more. Dates are no `datetime.date`: years before 1 are years, too.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from workbench import arguments
from workbench.errors import DatasetError

Content = str | int | float | tuple[int, int, int]
OPERATORS = ("=", "!=", "<", ">")
KINDS = ("string", "quantity", "year", "date")
_INFINITE = float("inf")
_TIMES = KINDS[2:]
_NUMBER = re.compile(
    r"([+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?|[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?))(?:\s+(\S.*))?"
)
_WHOLE = re.compile("[+-]?[0-9]{1,300}")  # as an int, which is exact
_YEAR = re.compile(r"-?[0-9]{1,6}")
_DATE = re.compile(r"(-?[0-9]{1,6})([-/])([0-9]{1,2})\2([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Value:
    """`kind`: string, quantity, year or date. `content`: text, number, year, (year, month, day)."""

    kind: str
    content: Content
    unit: str = ""

    def __str__(self) -> str:
        """The value as answers write it: `206 centimetre`, `-44`, `0987-06-01`."""
        match self.content:
            case (year, month, day):
                return f"{'-' * (year < 0)}{abs(year):04d}-{month:02d}-{day:02d}"
            case float() as number if number.is_integer():
                text = str(int(number))
            case other:
                text = str(other)
        return f"{text} {self.unit}" if self.unit else text


def plain(text: str) -> str:
    """A text as names and strings are compared: composed characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def read(text: str, kind: str) -> Value | None:
    """What a program's text says as a value of this kind, or None where it says no such.

    Kinds year and date are one here. Numbers may have separators and a unit behind a space.

    >>> read("1,234 metre", "quantity")
    Value(kind='quantity', content=1234, unit='metre')
    """
    text = plain(text)
    if kind == "string":
        return Value("string", text)
    if kind == "quantity":
        match = _NUMBER.fullmatch(text)
        digits, unit = (match[1].replace(",", ""), match[2] or "") if match else ("inf", "")
        number = int(digits) if _WHOLE.fullmatch(digits) else float(digits)
        return Value(kind, number, "" if unit == "1" else unit) if abs(number) < _INFINITE else None
    if _YEAR.fullmatch(text):
        return Value("year", int(text))
    if not (match := _DATE.fullmatch(text)):
        return None
    year, month, day = int(match[1]), int(match[3]), int(match[4])
    return Value("date", (year, month, day)) if 1 <= month <= 12 and 1 <= day <= 31 else None


def stated(entry: Any, place: str) -> Value:
    """A value as `kb.json` writes it: `type`, `value`, and of a quantity its `unit` (1 for none).

    Raises `DatasetError` naming `place` and the field.
    """
    entry = entry if isinstance(entry, dict) else {"value": entry}
    kind, content, unit = entry.get("type"), entry.get("value"), entry.get("unit", "")
    if kind not in KINDS:
        raise fault(place, "type", kind, f"it must be one of {', '.join(KINDS)}")
    if not isinstance(unit, str):
        raise fault(place, "unit", unit, "give a text")
    value = None
    if isinstance(content, str) and plain(content):
        value = read(content, kind)
    elif type(content) in (int, float) and abs(content) < _INFINITE:
        if kind == "quantity":
            value = Value(kind, content)
        elif kind == "year" and content == int(content):
            value = Value(kind, int(content))
    if value is None or value.kind != kind:
        raise fault(place, "value", content, f"give a {kind}")
    unit = "" if kind != "quantity" or unit == "1" else plain(unit)
    return Value(kind, value.content, unit or value.unit)


def fault(place: str, field: str, value: Any, remedy: str) -> DatasetError:
    """What is wrong with a field of a file, to raise."""
    return DatasetError(f"{place}: field {field!r} is {arguments.shown(value)}; {remedy}")


def comparable(a: Value, b: Value) -> bool:
    """Whether two values are of one kind, and quantities of one unit; years and dates are."""
    if a.kind in _TIMES:
        return b.kind in _TIMES
    return a.kind == b.kind and a.unit == b.unit


def holds(a: Value, operator: str, b: Value) -> bool | None:
    """Whether a fact's value `a` stands so to the program's `b`; None where they do not compare.

    Strings are equal or not, never less.
    """
    if not comparable(a, b) or (a.kind == "string" and operator in "<>"):
        return None
    x, y = a.content, b.content
    if operator in ("=", "!="):
        # A date that is asked for is not in a year; a year that is asked for has the date in it.
        same = (_year(a) == y) if b.kind == "year" else (x == y)
        return same == (operator == "=")
    if "year" in (a.kind, b.kind):
        x, y = _year(a), _year(b)
    return bool(x < y if operator == "<" else x > y)  # both numbers, or both dates


def matches(value: Value, text: str) -> bool:
    """Whether a fact's value is what a program's text says, read as a value of the same kind."""
    target = read(text, value.kind)
    return bool(target and holds(value, "=", target))


def _year(value: Value) -> Content:
    return value.content[0] if isinstance(value.content, tuple) else value.content
