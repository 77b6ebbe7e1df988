"""Conditions of a question: its numbers, as spans that can be masked one at a time (§2.3)."""

import re
from dataclasses import dataclass
from fractions import Fraction

from workbench.data.problems import Problem
from workbench.evaluation.numbers import (
    MIXED,
    SCALE,
    VULGAR,
    WHOLE,
    level,
    number_words,
    plain,
    whole_number,
)

MASK = "'X'"

_FRACTION = f"[{''.join(VULGAR)}]"
# A sign only where no operand stands before it ("10-20" is a range), no full stop at the end, and
# units behind ("12km/hr", "12th"), but no letters before or digits behind them ("A4", "1a2b").
_DIGITS = re.compile(
    r"(?:(?<![\w).%–-])[-–](?=\.?[0-9])|(?<![\w-])(?<![0-9][.,/:])(?<![A-Za-z]\^)|(?<=[0-9%]-)|(?<=[0-9]x)"
    r"|(?<=[0-9][A-Za-z]-)|(?<=[0-9][A-Za-z]{2}-))"
    rf"(?:(?:{MIXED})?(?:{WHOLE})(?:[eE][+-]?[0-9]+|/[1-9][0-9]*|[ ]?{_FRACTION})?(?:{SCALE})?"
    rf"|{_FRACTION})(?![0-9_]|[.,/:][0-9]|(?!x[0-9]|[cdkm]?m[23]\b)[^\W\d_]+[0-9])"
)
_PIECES = re.compile(r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?")
_ASKS = re.compile(r"\b(?:how|what|find|calculate)\b", re.IGNORECASE)
_MAY_ASK = re.compile(r"\b(?:which|who|when|where)\b", re.IGNORECASE)  # or opens a relative clause


@dataclass(frozen=True)
class Condition:
    """One stated number: characters `start` to `end` of the text, and its value as a plain number.

    `visible` is False only for the released code's masks that miss: the prompt then asks for an X
    that is not in it.
    """

    start: int
    end: int
    value: str
    visible: bool = True


def statement(problem: Problem) -> tuple[str, str]:
    """(what is stated, what is asked): the question sentence's own preamble counts as stated.

    "If a pen costs 3 dollars, how much do 4 cost?" states the first half.
    """
    asks, may_ask = (
        [m.start() for m in words.finditer(problem.question)
         if problem.question[: m.start()].rstrip().endswith(",")]
        for words in (_ASKS, _MAY_ASK)
    )  # fmt: skip
    at = 0 if _ASKS.match(problem.question) else (asks[:1] or may_ask[-1:] or [0])[0]
    if not at:
        return problem.context, problem.question
    stated = f"{problem.context} {problem.question[:at].rstrip()}".strip()
    core = problem.question[at:]
    return stated, core[:1].upper() + core[1:]


def find(text: str, *, dates: bool = False) -> list[Condition]:
    """Every number of a text in order: digits (thousands, decimals, fractions) and number words.

    A number's unit is no part of it ("'X'km/hr", "'X'th"), but a "million" is. A lone "one" is left
    out, since it rarely counts anything; so are clock times, ratios like 7:11, numbers behind
    letters (A4) and their exponents (m^2). With `dates`, each part of a date like 01/22/2019 is a
    number of its own.
    """
    conditions = []
    for m in (_PIECES if dates else _DIGITS).finditer(level(text)):
        if (value := whole_number(m[0])) is not None:
            conditions.append(Condition(*m.span(), plain(value)))
    taken = {place for c in conditions for place in range(c.start, c.end)}
    for start, end, number in number_words(text):
        if text[start:end].lower() != "one" and start not in taken:
            conditions.append(Condition(start, end, str(number)))
    return sorted(conditions, key=lambda c: c.start)


def mask(text: str, condition: Condition) -> str:
    """The text with exactly this span replaced by 'X'."""
    return text[: condition.start] + MASK + text[condition.end :]


def released(problem: Problem, limit: int = 3) -> list[tuple[Condition, str]]:
    """The released code's masks, as (condition, masked text); they often miss (trap 5.1).

    A greedy regex takes a sentence's full stop with the number, so that "35." is in no piece
    between full stops; and in every piece that holds the number as a *substring* its first
    occurrence is replaced, inside a longer number as well. Spans are those of `released_text`.
    """
    text = released_text(problem)
    out = []
    for number in re.findall(r"-?\d+\.?\d*", text)[:limit]:
        pieces = [piece.replace(number, MASK, 1) for piece in text.split(".")]
        masked = ".".join(pieces)
        at = masked.find(MASK)
        span = (at, at + len(number)) if at >= 0 else (0, 0)
        out.append((Condition(*span, plain(Fraction(number.rstrip("."))), at >= 0), masked))
    return out


def released_text(problem: Problem) -> str:
    """The context as the released code cuts it out.

    Commas become full stops, and what follows the last one is taken for the question.
    """
    text = f"{problem.context} {problem.question}".strip().replace(",", ".")
    return text[: text.rfind(".") + 1]
