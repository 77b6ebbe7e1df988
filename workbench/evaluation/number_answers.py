"""The number that a reply answers with; none where it could be one or another."""

import re

from workbench.evaluation.numbers import (
    CURRENCY,
    NUMBER,
    number,
    number_words,
    plain,
    plain_digits,
)
from workbench.evaluation.replies import (
    RETRACTED,
    SENTENCE,
    SIGN_BEFORE,
    TAKEN_BACK,
    Reply,
    first_sentence,
)

# A number that these touch is part of something else: a time, a date, a range, a sum, a formula.
_BEHIND = re.compile(
    r"[.,:/'_][0-9]| [:] ?[0-9]| ?[-–] ?[0-9]| ?(?:[-+*×÷·^/=]|±|\\pm\b) ?[(√\\]"
    r"| ?(?:[+*×÷·^/±]|\\pm\b|x(?= ?[0-9])) ?(?:[0-9.]|[A-Za-z](?![A-Za-z]))"
    r"| ?[-–] ?[a-z](?![A-Za-z])| ?[xyznπ√](?![A-Za-z0-9])|[+-]?[0-9]*i(?![A-Za-z])"
    r"|h[0-9]|\)\^|B(?!\w)|\.?\\(?:overline|dot|bar)(?![a-z])| (?:repeating|recurring)\b"
    r"|(?: [a-z]+)? (?:plus|minus|times|divided by|(?:more|less|fewer) than) [0-9(]"
    r"| to [0-9]+(?!\w| (?:decimal|significant|d\.?p|s\.?f|places))"
    r"| ?\\(?:pi|sqrt|theta|alpha|beta|log|ln|sin|cos|tan|frac|infty)"
)
_BEFORE = re.compile(
    r"(?:[0-9)%] ?[-–+*×÷·/:^] ?|[0-9] x ?|[0-9][.,'_]|[<>≤≥±√] ?|[a-z] ?[+*/] ?|\("
    r"|\\(?:pm|sqrt|geq?|leq?|gt|lt|pi|log|ln)\b ?"
    r"|\b(?:plus|minus|times|divided by|(?:more|less|fewer|greater) than) )$"
)
_UNITS = (
    r"(?:h|hrs?|hours?|min|mins|minutes?|s|secs?|seconds?|days?|weeks?|months?|years?|ft|feet|foot|"
    r"in|inch|inches|yards?|miles?|km|m|cm|mm|lbs?|pounds?|oz|ounces?|kg|g|dollars?|cents?|'|\")"
)
_COMPOUND = re.compile(rf"\s?{_UNITS}\s?(?:,\s?|\s?and\s?)?[0-9]+\s?{_UNITS}(?!\w)")
_ALSO = re.compile(
    rf"[^\S\n]*(?:%|\)|[A-Za-z]+)?(?:[^\S\n]*(?:,|;|&)[^\S\n]*(?:or|and)?|[^\S\n]+(?:or|and))[^\S\n]*"
    rf"(?:[A-Za-z]\s*=\s*)?(?={CURRENCY}?-?[0-9])"
)
_EQUALS = re.compile(r"=|≈|\bequals\b")
_SEVERAL = re.compile(r"(?:,|;|&|\b(?:or|and)\b)\s*(?:[A-Za-z]\s*=\s*)?\W?$")
_ASIDE = re.compile(
    r",(?![0-9])|(?<![\w)])[(\[]|\b(?:since|because|as|where|when|if|which|that is|i\.e)\b"
)
_RULED_OUT = re.compile(
    r"(?i)(?:\b(?:not|never|nor|neither|no longer|instead of|rather than)|n't)\s+"
    r"(?:(?:be|just|only|exactly|equal to|simply|a|the)\s+)?"
    rf"(?={CURRENCY}?-?\.?[0-9])"
)
_OR = re.compile(rf"(?i)\s*,?\s*(?:or|nor)\s+(?={CURRENCY}?-?\.?[0-9])")
_DOZEN = re.compile(r"\s*(?:dozens?|score|gross)\b")
_STATED = re.compile(
    r"(?i)(?:^[\W_]*(?:no[\W_]+)?|(?:\b(?:is|be|are|makes?|gives?|get|equals?)|'s|=)\s+"
    rf"(?:also |only |actually |exactly )?)(?={CURRENCY}?-?[0-9])"
)
_PART = r"(?:hal(?:f|ves)|thirds?|quarters?|fourths?|fifths?|tenths?)\b"
_PART_BEHIND = re.compile(rf"[ -](?:and (?:a |one[ -]))?{_PART}")
_PART_BEFORE = re.compile(rf"\b(?:{_PART}|twice|double|triple)(?: of)?(?: the)? $")
_ANOTHER = re.compile(r"(?:[,;]|\b(?:and|or)\b)\s*(?:(?:and|or)\s+)?[A-Za-z]\s*=\s*-?[0-9]")
_SIGN = re.compile(rf"(?i)(?:\bnegative|{SIGN_BEFORE}minus)\s+$")
_MINUS = re.compile(r"(?i)\bminus\s+$")
_LONE_ONE = re.compile(
    r"(?i)(\b(?:(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand)(?:[ -]|\sand\s))?"
    r"\bone\b(?![- ](?:hundred|thousand|million))"
)
_GROUPS = re.compile(r"(?<![0-9.,/])([0-9]{1,3}) (?=[0-9]{3}(?![0-9/.,]))")
_WORTHLESS = re.compile(r"(?i)\bone\b(?=\s+(?:of|can|could|should|would|must|may|that|who)\b)")


def answered_number(reply: Reply) -> str:
    """The answer as plain text, `""` where the reply has none or leaves open which it is."""
    if reply.boxed is not None:
        return _read(_without_ruled_out(reply.boxed), boxed=True)
    for piece in reply.marked:
        rest = _without_ruled_out(piece)
        statement = first_sentence(rest)
        if _mentions(statement):
            said = NUMBER.search(statement)
            within = said and RETRACTED.search(statement, said.end())
            behind = rest[said.end() if within else len(statement) :]
            return _corrected(behind) or _read(statement)
    if reply.marked:
        return ""
    text = _without_ruled_out(reply.text)
    named = re.search(rf"({NUMBER.pattern})\s+is\s+(?:the|my|our)\s+(?:\w+\s+)?answer\b", text)
    if named:
        return _read(named[1])
    return _last(text)


def _mentions(statement: str) -> bool:
    return bool(NUMBER.search(statement) or number_words(_WORTHLESS.sub("", statement)))


def _without_ruled_out(text: str) -> str:
    """The text without numbers that it denies: "not 5 but 6"."""
    out, at = [], 0
    for m in _RULED_OUT.finditer(text):
        denied = NUMBER.match(text, m.end()) or NUMBER.search(text, m.end())
        if m.start() < at or denied is None:
            continue
        out.append(text[at : m.start()])
        at = denied.end()
        while (other := _OR.match(text, at)) and (denied := NUMBER.match(text, other.end())):
            at = denied.end()
    return "".join(out) + text[at:]


def _corrected(rest: str) -> str:
    """What a reply says after taking its answer back ("Wait, it should be 6")."""
    *before, new = TAKEN_BACK.split(rest)
    stated = list(_STATED.finditer(new)) if before else []
    return _read(first_sentence(new[stated[-1].end() :])) if stated else ""


def _read(statement: str, *, boxed: bool = False) -> str:
    """The number that a statement gives, of an equation the side that is worked out."""
    if boxed:
        statement = re.sub(r"^\W*?-\s+(?=[0-9])", "-", statement)
        whole = re.fullmatch(r"\((.*)\)", statement.strip())
        statement = whole[1] if whole else statement
    elif re.match(r"[\s:]*[-–]\s+[0-9]", statement) and "\n" not in statement.split("-")[0]:
        return ""  # "The answer is - 7": a dash or a sign?
    if boxed and re.search(r"[0-9)]\s?!", statement):
        return ""  # a factorial
    statement = _GROUPS.sub("\\1\u00a0", statement)
    side = _side(statement)
    first = NUMBER.search(side)
    if not first:
        return _spelled_out(_WORTHLESS.sub("   ", side))
    if _touched(side, first) or _COMPOUND.match(side, first.end()) or _ANOTHER.search(statement):
        return ""
    also = _ALSO.match(side, first.end())
    while also and (other := NUMBER.match(side, also.end())):
        if number(other) != number(first):
            return ""
        also = _ALSO.match(side, other.end())
    return _text(first)


def _last(text: str) -> str:
    """The last number of a text that marks none, or the only one in words."""
    # "72 eggs (6 dozen)" says 72.
    text = re.sub(r"(?<=[0-9a-z] )\([^()\n]*\)(?!\s*[=*/+×÷^-])", "", text)
    groups = rf"({CURRENCY}[0-9]{{1,3}}|^\W*[0-9]{{1,3}}(?=.{{4}}\W*$)) (?=[0-9]{{3}}(?![0-9]))"
    text = re.sub(groups, "\\1\u00a0", text)
    numbers = list(NUMBER.finditer(text))
    if not numbers:
        return _spelled_out(_LONE_ONE.sub(lambda m: m[0] if m[1] else "", text))
    start = max((m.end() for m in SENTENCE.finditer(text, 0, numbers[-1].start())), default=0)
    end = SENTENCE.search(text, numbers[-1].end())
    sentence = text[start : end.start() if end else None]
    clauses = [c for c in re.split(r",(?=\s)|;", sentence) if NUMBER.search(c)]
    if clauses and "=" in clauses[-1]:
        side = _worked_out(clauses[-1])
        result = NUMBER.search(side)
        return _text(result) if result and not _touched(side, result) else ""
    last = numbers[-1]
    tied = _SEVERAL.search(text, 0, last.start())
    before = numbers[-2] if len(numbers) > 1 and tied else None
    if before and not text[before.end() : tied.start()].strip() and number(before) != number(last):
        return ""
    if len(numbers) > 1 and _COMPOUND.match(text, numbers[-2].end()):
        return ""
    return "" if _touched(text, last) else _text(last)


def _spelled_out(text: str) -> str:
    """The only number in words; none where there are several, or parts of one."""
    words = number_words(text)
    if len({value for _, _, value in words}) != 1:
        return ""
    start, end, value = words[0]
    before = text[:start]
    if _SIGN.search(before):
        return f"-{value}"
    parted = _PART_BEHIND.match(text, end) or _PART_BEFORE.search(before) or _MINUS.search(before)
    return "" if parted else str(value)


def _side(statement: str) -> str:
    """The side of an equation that is the answer: `3 * 4 = 12` and `12 = 3 * 4` say 12."""
    first = NUMBER.search(statement)
    aside = _ASIDE.search(statement, first.end()) if first else None
    clause = statement[: aside.start()] if aside else statement
    return _worked_out(clause) if _EQUALS.search(clause) else statement


def _worked_out(clause: str) -> str:
    """The side that is the result; `""` where that is no number."""
    sides = _EQUALS.split(clause)
    named = [s for s in sides if NUMBER.search(s)]
    if not named:
        return clause
    first, last = sides[0], sides[-1]
    ours = NUMBER.search(first)
    theirs = NUMBER.search(last)
    if (
        ours
        and (not theirs or not _settled(last, theirs))
        and not re.sub(r"[\W_]", "", first[: ours.start()] + first[ours.end() :])
    ):
        return first
    in_dozens = ours and theirs and _DOZEN.match(last, theirs.end())
    if in_dozens and _settled(first, ours) and not _DOZEN.match(first, ours.end()):
        return first
    return last if theirs else ""


def _settled(side: str, match: re.Match[str]) -> bool:
    """Whether a side of an equation is one number, whatever its unit."""
    return not _touched(side, match) and not NUMBER.search(side, match.end())


def _touched(text: str, match: re.Match[str]) -> bool:
    """Whether the number is part of a time, date, range, sum or formula, or has no value."""
    before = text[max(0, match.start() - 24) : match.start()]
    outer = _BEFORE.search(before)
    bracketed = outer and outer[0] == "("
    return bool(
        (outer and not bracketed)
        or (match["sign"] and re.search(r"[0-9)%] $", before))
        or _BEHIND.match(text, match.end())
        or _PART_BEHIND.match(text, match.end())
        or _PART_BEFORE.search(before)
        or (match["under"] is not None and not match["under"].strip("0."))
        or (bracketed and re.match(r"\s*,\s*-?[0-9]", text[match.end() :]))
    )


def _text(match: re.Match[str]) -> str:
    """The number as plain text: `0.50` stays as it is, `1.2 * 10^5` becomes 120000."""
    if any(match[part] for part in ("mixed", "exp", "ten", "power", "scale", "kilo")):
        value = number(match)
        if value is None:
            return ""
        return str(value) if match["mixed"] else plain(value)
    sign = "-" if match["sign"] else ""
    under = f"/{match['under']}" if match["under"] else ""
    return sign + plain_digits(match["body"]) + under
