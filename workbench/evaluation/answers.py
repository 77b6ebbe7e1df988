"""Answers read out of generated text, in one of three ways.

`official` is the paper's parser, and what a comparison with its figures takes: it keeps the quirks
that they rest on (`10-20` ends in `-20`, a date loses its last digit where no full stop follows).
`robust` is ours: it also reads what chat models write, and gives no answer where it would have to
guess. `math-verify` asks the library of that name (`pip install "steering-workbench[math]"`).
"""

import re
from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from functools import lru_cache

from workbench.evaluation import math_answers
from workbench.evaluation.choice_answers import answered_choice
from workbench.evaluation.number_answers import answered_number
from workbench.evaluation.numbers import whole_number
from workbench.evaluation.replies import RETRACTED, Reply, first_sentence, read

PHRASE = "The answer is"
KINDS = ("number", "choice", "date", "yesno", "truefalse", "text")
STYLES = ("official", "robust", "math-verify")
TOLERANCE = Fraction(1, 10**6)

_WORDS = {"yesno": ("yes", "no"), "truefalse": ("true", "false")}
_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()


@lru_cache(maxsize=65536)
def extract_answer(
    text: str, kind: str, *, style: str = "robust", labels: tuple[str, ...] = ()
) -> str:
    r"""The answer in `text`, `""` where there is none, or where it is open which it is.

    Letters come back in upper case, yes/no and true/false in lower case; robust dates are
    MM/DD/YYYY and robust numbers have no thousands separators and no exponents (fractions stay
    `3/4`). `labels`: the letters that may be chosen, where they are known; another is no answer.

    Raises `ValueError` for an unknown `kind` or `style`, and for a kind that `math-verify` does not
    read (`date`, `text`); `RunError` where it is not installed, or asked outside the main thread.

    >>> extract_answer(r"<think>Maybe \boxed{3}.</think> The final result is 9.", "number")
    '9'
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r} is unknown: use one of {', '.join(KINDS)}")
    if style == "official":
        return _official(text, kind)
    if style == "math-verify":
        return math_answers.extract(text, kind, labels)
    if style != "robust":
        raise ValueError(f"style={style!r} is unknown: use one of {', '.join(map(repr, STYLES))}")
    reply = read(text)
    match kind:
        case "number":
            return answered_number(reply)
        case "choice":
            return answered_choice(reply, labels)
        case "date":
            return _first(reply, _dates)
        case "text":
            return _first(reply, _texts)
    return _first(reply, lambda piece, marked: _affirmed(piece, *_WORDS[kind]))


def same_answer(a: str, b: str) -> bool:
    """Whether two extracted answers agree.

    Numbers, as `numbers.whole_number` reads them (`1/2`, `0.5`, `1.2e5`, `1,200.00`):
    equal as exact rationals or, unless both are whole, within a relative 1e-6 (some golds are
    printed floats, such as 0.8333333333333333). Anything else: equal text, ignoring case. An empty
    answer equals nothing, not even another empty one.
    """
    left, right = a.strip(), b.strip()
    if not left or not right:
        return False
    x, y = whole_number(left), whole_number(right)
    if x is None or y is None:
        return left.casefold() == right.casefold()
    if x.denominator == y.denominator == 1:
        return x == y
    return abs(x - y) <= TOLERANCE * max(abs(x), abs(y))


_OFFICIAL: dict[str, Callable[[str], list[str]]] = {
    "number": lambda text: re.findall(r"-?\d+\.?\d*", text.replace(",", "")),
    "choice": lambda text: re.findall("[A-E]", text),
    "date": lambda text: [text[1:-1]],
    "text": lambda text: [re.sub(r"[\"'.\s]", "", text)],
}


def _official(text: str, kind: str) -> str:
    # Without the phrase, rpartition leaves the whole text in `rest`.
    _, phrase, rest = text.rpartition(PHRASE)
    if kind in _WORDS:
        words = re.sub(r"[\"'\n.:,]", " ", rest.lower()).split(" ")
        matches = [word for word in words if word in _WORDS[kind]]
    else:
        matches = _OFFICIAL[kind](rest)
    return matches[0 if phrase else -1].removesuffix(".") if matches else ""


def _first(reply: Reply, matches: Callable[[str, bool], list[str]]) -> str:
    """First match in the box, else behind the last marker, else the last match anywhere."""
    boxed = [] if reply.boxed is None else [reply.boxed]
    for piece in (*boxed, *reply.marked):
        if answers := matches(piece, True):
            *before, behind = RETRACTED.split(piece)
            new = matches(first_sentence(behind), True) if before else []
            return (new or answers)[0] if len(set(new)) < 2 else ""
    answers = matches(reply.text, False)
    return answers[-1] if answers else ""


def _affirmed(text: str, yes: str, no: str) -> list[str]:
    """Every yes or no (true or false) that is said; a "no" in front of a noun says neither."""
    text = re.sub(rf"{yes}\W+(?:(?:or|and)\W+)?{no}\b\??|{no}\W+or\W+{yes}\b", " ", text.lower())
    text = re.sub(
        rf"neither {yes} nor {no}|(?:not|n't) (?:\w+ly|clear|sure) (?:if )?(?:{yes}|{no})"
        rf"|(?:half|hardly|barely|partly|partially|rarely|sometimes)[ -](?:{yes}|{no})",
        " ",
        text,
    )
    turned = {yes: no, no: yes}
    text = re.sub(
        rf"(?:\b(?:not|never)|n't) (?:be |at all |entirely )?({yes}|{no})\b",
        lambda m: f" {turned[m[1]]}",
        text,
    )
    if no == "no":
        text = re.sub(
            r"\bno(?= (?!it|this|that|he|she|they|because|since|as|not|the|i|you)\w)", " ", text
        )
    opening = re.match(rf"\W*({yes}|{no})\b", text)
    # "Yes. There is no doubt": the last word of the two would be the wrong one.
    return [opening[1]] if opening else re.findall(rf"\b({yes}|{no})\b", text)


def _dates(text: str, marked: bool) -> list[str]:
    def numeric(match: re.Match[str]) -> str:
        return f"{_MONTHS.index(match['name'].lower()) + 1}/{match['day']}/{match['year']}"

    name, day = rf"\b(?P<name>{'|'.join(_MONTHS)})[a-z]*\.?", r"\b(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    text = re.sub(rf"(?i){name}\s+{day},?\s+(?P<year>\d{{4}})", numeric, text)
    text = re.sub(rf"(?i){day}\s+(?:of\s+)?{name},?\s+(?P<year>\d{{4}})", numeric, text)
    text = re.sub(r"\b(\d{4})[-/](\d{1,2})[-/](\d{1,2})\b", r"\2/\3/\1", text)
    text = re.sub(r"(?<![\d/-])(\d{1,2})-(\d{1,2})-(\d{4})(?![\d/-])", r"\1/\2/\3", text)
    date = r"\d{1,2}/\d{1,2}/\d{4}"
    text = re.sub(rf"\b(?:not|instead of|rather than|after|before) {date}", "", text)
    text = re.sub(rf"{date}\s*,?\s*or\s+{date}", "", text)
    dates = re.findall(r"(?<![\d/])(\d{1,2}/\d{1,2}/\d{4})(?![\d/])", text)
    return [written for date in dates if (written := _written(date))]


def _written(date: str) -> str:
    """MM/DD/YYYY, `""` where the calendar has no such day."""
    try:
        return datetime.strptime(date, "%m/%d/%Y").strftime("%m/%d/%Y")
    except ValueError:
        return ""


def _texts(text: str, marked: bool) -> list[str]:
    trim = " \t\n\"'`“”‘’.,:;!*$"
    if not marked:
        # No sentence is an answer; a lone word is, and so is what was put in quotes.
        lone = text.strip(trim)
        return [lone] if lone and not re.search(r"\s", lone) else re.findall(r'"([^"\n]+)"', text)
    first = re.split(r"\.(?:\s|$)|\n", text.strip(trim), maxsplit=1)[0].strip(trim)
    return [first] if first else []
