"""Conditions of a question: its numbers, as spans that can be masked one at a time (§2.3)."""

import re
from dataclasses import dataclass
from fractions import Fraction

from workbench.data.problems import Problem

MASK = "'X'"

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_SMALL = {word: i for i, word in enumerate(_UNITS)} | {
    word: 10 * i for i, word in enumerate(_TENS, 2)
}
_SCALE = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_VALUES = _SMALL | _SCALE
_WORD = re.compile(rf"\b(?:{'|'.join(_VALUES)})\b", re.IGNORECASE)
# A sign only where no operand stands before it ("10-20" is a range), no full stop at the end.
_DIGITS = re.compile(
    r"(?:(?<![\w).%-])[-\u2212]|(?<![\w-])(?<!\d[.,/:])|(?<=[\d%]-))"
    r"(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/[1-9]\d*)?|\.\d+)(?!\w|[.,/:]\d)"
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

    A lone "one" is left out, since it rarely counts anything; so are clock times, ratios like 7:11,
    numbers glued to letters, and the "million" of "2 million" (the 2 is what can be masked). With
    `dates`, each part of a date like 01/22/2019 is a number of its own.
    """
    conditions = []
    for m in (_PIECES if dates else _DIGITS).finditer(text):
        number = m[0].replace(",", "").replace("\u2212", "-")
        conditions.append(Condition(*m.span(), _plain(Fraction(number))))
    for group in _groups(text):
        start, words = group[0].start(), [m[0].lower() for m in group]
        behind_digits = words[0] in _SCALE and re.search(r"\d[ -]$", text[:start])
        if words != ["one"] and not behind_digits:
            conditions.append(Condition(start, group[-1].end(), str(_spelled(words))))
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
        out.append((Condition(*span, _plain(Fraction(number.rstrip("."))), at >= 0), masked))
    return out


def released_text(problem: Problem) -> str:
    """The context as the released code cuts it out.

    Commas become full stops, and what follows the last one is taken for the question.
    """
    text = f"{problem.context} {problem.question}".strip().replace(",", ".")
    return text[: text.rfind(".") + 1]


def _plain(value: Fraction) -> str:
    """A decimal where it ends, a fraction where it does not; never an exponent."""
    under = value.denominator
    places = next((k for k in range(under.bit_length()) if 10**k % under == 0), None)
    if not places:
        return str(value)
    digits = str(abs(value) * 10**places).zfill(places + 1)
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def _groups(text: str) -> list[list[re.Match[str]]]:
    """Number words by the number they make: "two hundred and six" is one, "two and three" two."""
    words = list(_WORD.finditer(text))
    groups: list[list[re.Match[str]]] = []
    for i, m in enumerate(words):
        gap = text[words[i - 1].end() : m.start()] if i else ""
        if gap not in (" ", "-", " and "):
            groups.append([m])
            continue
        last, value = (_VALUES[w[0].lower()] for w in (words[i - 1], m))
        if value >= 100:
            joined = gap != " and " and last <= 100 and last < value
        elif last >= 100:
            ahead = re.match(rf"[ -]({'|'.join(_SCALE)})\b", text[m.end() :], re.IGNORECASE)
            scale = _SCALE[ahead[1].lower()] if ahead else 0
            # "two hundred and three hundred" are two, "two hundred and three thousand" is one.
            joined = not scale or (scale > 100 if last == 100 else scale < last)
        else:
            joined = gap != " and " and 20 <= last < 100 and 0 < value < 10
        if joined:
            groups[-1].append(m)
        else:
            groups.append([m])
    return groups


def _spelled(words: list[str]) -> int:
    """The value of number words that make one number."""
    total, part = 0, 0
    for word in words:
        if word == "hundred":
            part = max(part, 1) * 100
        elif word in _SCALE:
            total, part = total + max(part, 1) * _SCALE[word], 0
        else:
            part += _SMALL[word]
    return total + part
