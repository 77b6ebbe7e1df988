"""The option that a reply chooses; none where it chooses several, or one that is not there."""

import re
from collections.abc import Sequence

from workbench.evaluation.replies import RETRACTED, TAKEN_BACK, Reply, first_sentence

_NAMED = r"(?:\b(?i:option|choice|answer|letter)\s+)"
_LETTER = (
    rf"(?:[(\[](?P<inside>[A-Za-z])[)\]]|{_NAMED}(?P<named>[A-Za-z])(?![\w'-])"
    r"|(?<![A-Za-z'\d-])(?<![A-Z]\.)(?P<bare>[A-Z])(?![\w'-]|\.[A-Z])"
    r"|(?<![A-Za-z'.\d])(?P<small>[a-z])(?=\s*[).:](?![a-z])|\s*$))"
)
_CHOICE = re.compile(_LETTER)
_DENIED = re.compile(
    r"(?:\b(?i:not|never|neither|nor|instead of|rather than|eliminate|rule out|exclude|excluding|"
    r"except(?: for)?|other than|apart from|(?:all|any|anything|everything)(?: \w+)? but)|n't)\s+"
    r"(?:be |both |the )?(?:(?i:option|choice|answer)s?\s+)?"
    r"(?P<list>[(\[]?[A-Z][)\]]?(?![A-Za-z'])(?:\s*(?:,|/|and|or)\s*(?:(?i:option)\s+)?[(\[]?[A-Z][)\]]?(?![A-Za-z']))*)"
    rf"|(?:{_NAMED})?[(\[]?(?<![A-Za-z])[A-Z][)\]]?\s+"
    r"(?:(?:is|was|can|must|cannot)\s+(?:be\s+)?(?:not\b|wrong|incorrect|false|out\b|ruled out|"
    r"eliminated|impossible)|isn't|cannot|can't)"
)
_CONFIRMED = re.compile(
    rf"{_LETTER}\s+(?:is|must be|has to be)\s+(?:therefore\s+|thus\s+|clearly\s+)?(?:the\s+)?"
    r"(?:only\s+)?(?:correct|right|best|answer)\b"
)
_ALSO = re.compile(rf"[)\]]?\s*(?:,|/|&|\bor\b|\band\b)+\s*(?:or\s+|and\s+)?{_LETTER}(?!\s*=)")
# "A" opens a sentence or names a thing, unless what follows gives a reason or ends it.
_REASON = re.compile(
    r"\s+(?!(?:because|since|as|for|so|which|and|or|but|due|given|by|is|not)\b)[a-z]"
)
_STATED = re.compile(r"(?:^[\W_]*(?i:no[\W_]+)?|\b(?:is|be)|'s)\s*(?:actually |option )?\W*$", re.I)


def answered_choice(reply: Reply, labels: Sequence[str]) -> str:
    """The letter in upper case, `""` where none or several are chosen, or none of `labels`."""
    letter = _chosen(reply, labels or "ABCDE")
    return letter if not labels or letter in labels else ""


def _chosen(reply: Reply, known: Sequence[str]) -> str:
    if reply.boxed is not None:
        return _single(_allowed(reply.boxed), known)
    for piece in reply.marked:
        rest = _allowed(piece)
        statement = first_sentence(rest)
        if picks := _picks(statement, known, marked=True):
            if RETRACTED.search(statement, picks[0].end()):
                statement = statement[: picks[0].end()]
            return _corrected(rest[len(statement) :], known) or _single(statement, known)
    if reply.marked:
        picks = _picks(_allowed(reply.marked[0]), known, marked=True)
        sure = {_letter(p) for p in picks if p["inside"] or p["named"]}
        return sure.pop() if len(sure) == 1 else ""
    text = _allowed(reply.text)
    confirmed = [m for m in _CONFIRMED.finditer(text) if _picked(m, text, known, False)]
    if confirmed:
        return _letter(confirmed[-1])
    picks = _picks(text, known, marked=False)
    if len(picks) > 1:
        before, last = picks[-2:]
        tie = _ALSO.match(text, before.end())
        if tie and tie.end() >= last.end() and _letter(before) != _letter(last):
            return ""
    return _letter(picks[-1]) if picks else ""


def _allowed(text: str) -> str:
    """The text without options that it rules out: "not (B) but (C)"."""
    return _DENIED.sub(" ", text)


def _single(statement: str, known: Sequence[str]) -> str:
    """The first letter, unless another is named in the same breath."""
    picks = _picks(statement, known, marked=True)
    if not picks:
        return ""
    first, also = _letter(picks[0]), _ALSO.match(statement, picks[0].end())
    return "" if also and _letter(also) != first else first


def _corrected(rest: str, known: Sequence[str]) -> str:
    """What a reply chooses after taking its choice back ("Wait, it is (B)")."""
    *before, new = TAKEN_BACK.split(rest)
    picks = _picks(new, known, True) if before else []
    return next((_letter(p) for p in reversed(picks) if _STATED.search(new[: p.start()])), "")


def _picks(text: str, known: Sequence[str], marked: bool) -> list[re.Match[str]]:
    return [m for m in _CHOICE.finditer(text) if _picked(m, text, known, marked)]


def _picked(m: re.Match[str], text: str, known: Sequence[str], marked: bool) -> bool:
    """Whether a match chooses its letter, and is no article, pronoun, initial or variable."""
    letter, behind = _letter(m), text[m.end("bare") :] if m["bare"] else ""
    if m["bare"]:
        ends = re.match(r"\W*(?:$|[\n.,;:!)*])", behind)
        if letter == "A" and (
            _REASON.match(behind) if marked else re.match(r"\s+(?!and\b|or\b)[a-z]", behind)
        ):
            return False
        if letter == "I" and not ("I" in known and ends):
            return False
        if letter not in known and not (marked and ends):
            return False
        if re.match(r"\s*[=+]", behind):
            return False
    return not m["small"] or letter in known


def _letter(m: re.Match[str]) -> str:
    return (m["inside"] or m["named"] or m["bare"] or m["small"]).upper()
