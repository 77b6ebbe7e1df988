"""A second opinion on answers: the library math-verify, where it is installed."""

import threading
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from workbench.errors import RunError
from workbench.evaluation.numbers import LARGEST, plain

READABLE = ("number", "choice", "yesno", "truefalse")
"""Kinds of answers that it reads."""
_SECONDS = 5
_LONGEST = 20_000
"""Characters from a reply's end; longer expressions take the parser minutes."""
_WORDS = {
    kind: tuple(f(word) for word in words for f in (str.lower, str.title, str.upper))
    for kind, words in {"yesno": ("yes", "no"), "truefalse": ("true", "false")}.items()
}


def installed() -> bool:
    """Whether `math-verify` can be imported."""
    try:
        return find_spec("math_verify") is not None
    except ValueError:  # its name is taken by something that is no module
        return False


def require(kind: str = "number") -> None:
    """Check that `math-verify` can be asked for a kind of answers.

    Raises `RunError` where it is missing, and in threads other than the main one, where it cannot
    be stopped (it keeps time by a signal); `ValueError` for a kind that it does not read.
    """
    if kind not in READABLE:
        raise ValueError(
            f"extraction='math-verify' reads {', '.join(READABLE)}, no {kind!r}: use 'official' or "
            "'robust'"
        )
    if not installed():
        raise RunError(
            "'math-verify' is not installed: pip install \"steering-workbench[math]\", or read "
            "answers with 'robust' or 'official'"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RunError(
            "'math-verify' keeps time by a signal, which only the main thread has: call it there, "
            "or read answers with 'robust' or 'official'"
        )


@lru_cache(maxsize=65536)
def extract(text: str, kind: str, labels: tuple[str, ...] = ()) -> str:
    """What `math_verify.parse` reads in a text, as plain text: `3/4`, `120000`, `sqrt(2)`, `B`.

    `""` where it reads nothing, or does not come to an end within five seconds. A percentage is
    its number. Raises as `require`.
    """
    require(kind)
    import math_verify

    if kind == "number":
        given: Any = [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()]
    else:
        strings = _WORDS.get(kind) or labels or tuple("ABCDE")
        given = [math_verify.StringExtractionConfig(strings=strings)]
    parsed = math_verify.parse(text[-_LONGEST:], given, parsing_timeout=_SECONDS)
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
        math_verify.parse(t[-_LONGEST:], parsing_timeout=_SECONDS) for t in (gold, text)
    )
    return bool(math_verify.verify(gold_parsed, parsed, timeout_seconds=_SECONDS))


def _value(parsed: Any) -> str:
    """A parsed expression as a number without exponent, or as sympy prints it."""
    import sympy

    if not isinstance(parsed, sympy.Basic):
        return str(parsed)
    parsed = parsed.rhs if isinstance(parsed, sympy.Equality) else parsed
    factors = [a for a in parsed.args if not isinstance(a, sympy.UnevaluatedExpr)]
    if isinstance(parsed, sympy.Mul) and len(factors) == 1 < len(parsed.args):  # a percentage
        parsed = factors[0]
    powers = [abs(p.exp) for p in parsed.atoms(sympy.Pow)]
    large = any(not (p.is_Number and p <= LARGEST) for p in powers)
    if large or not parsed.is_number or parsed.has(sympy.Function):
        return str(parsed)
    value = parsed.doit()
    return plain(Fraction(str(value))) if value.is_Rational or value.is_Float else str(value)
