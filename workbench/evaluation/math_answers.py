"""A second opinion on answers: the library math-verify, where it is installed."""

import re
import threading
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from workbench.errors import RunError
from workbench.evaluation.numbers import plain

READABLE = ("number", "choice", "yesno", "truefalse")
"""Kinds of answers that it reads."""
_SECONDS = 5
_LONGEST = 20_000
"""Characters from a reply's end; longer expressions take the parser minutes."""
_WORDS = {"yesno": ("yes", "no"), "truefalse": ("true", "false")}


def installed() -> bool:
    """Whether `math-verify` can be imported."""
    return find_spec("math_verify") is not None


def require(kind: str = "number") -> None:
    """Raise `RunError` where `math-verify` is missing, `ValueError` for a kind it does not read."""
    if kind not in READABLE:
        raise ValueError(
            f"math-verify reads {', '.join(READABLE)}, no {kind!r}: use 'official' or 'robust'"
        )
    if not installed():
        raise RunError(
            "'math-verify' is not installed: pip install \"steering-workbench[math]\", or read "
            "answers with 'robust' or 'official'"
        )


@lru_cache(maxsize=65536)
def extract(text: str, kind: str, labels: tuple[str, ...] = ()) -> str:
    """What `math_verify.parse` reads in a text, as plain text: `3/4`, `120000`, `sqrt(2)`, `B`.

    `""` where it reads nothing, or does not come to an end within five seconds (in threads other
    than the main one the library cannot watch the clock). Raises as `require`.
    """
    require(kind)
    import math_verify

    if kind == "number":
        given: Any = [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()]
    else:
        strings = _WORDS.get(kind) or labels or tuple("ABCDE")
        given = [math_verify.StringExtractionConfig(strings=strings)]
    parsed = math_verify.parse(text[-_LONGEST:], given, parsing_timeout=_timeout())
    if not parsed:
        return ""
    if kind == "choice":
        return str(parsed[0]).upper()
    return str(parsed[0]).lower() if kind in _WORDS else _value(parsed[0])


@lru_cache(maxsize=65536)
def right(text: str, gold: str) -> bool:
    """Whether math-verify finds the gold number in a reply (`verify` of both, parsed).

    Raises as `require`.
    """
    require()
    import math_verify

    gold_parsed, parsed = (
        math_verify.parse(t[-_LONGEST:], parsing_timeout=_timeout()) for t in (gold, text)
    )
    return bool(math_verify.verify(gold_parsed, parsed, timeout_seconds=_timeout()))


def _timeout() -> int | None:
    """Seconds a call may take; none where it cannot be interrupted by a signal."""
    return _SECONDS if threading.current_thread() is threading.main_thread() else None


def _value(parsed: Any) -> str:
    """A parsed expression as a number without exponent, or as sympy prints it."""
    import sympy

    if not isinstance(parsed, sympy.Basic):
        return str(parsed)
    if isinstance(parsed, sympy.Equality):
        parsed = parsed.rhs
    if not parsed.is_number or re.search(r"[0-9]{5,}|\*\*\([^)]*\*\*", str(parsed)):
        return str(parsed)
    value = sympy.nsimplify(parsed, rational=True)
    return plain(Fraction(int(value.p), int(value.q))) if value.is_Rational else str(parsed)
