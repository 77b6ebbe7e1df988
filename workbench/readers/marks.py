"""A question and its evidence as one text, and the same text with nobody's name in it (§4).

Worlds of a test share no name with those of training. So that a small reader can answer at all,
entities become marks, numbered as they come, and numbers marks in their order, so that which of two
is larger need not be worked out from digits. What is told is who is who, and nothing else.
"""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from graphlib import CycleError

from workbench.retrieval.graphs import ROOT, Edge, Evidence, reading_order, successors

MOST = 64
"""Marks of each kind."""
ENTITIES, NUMBERS = ([f"{sign}{i}" for i in range(MOST)] for sign in "@#")
_CAPITAL = f"[{''.join(filter(str.istitle, map(chr, range(0x10000))))}]"
_GAPS = "\u00a0\u2009\u202f"
"""Spaces that stand between thousands; a plain one may stand between two numbers."""
_WHOLE = rf"(?:\d{{1,3}}(?:(?:,\d{{3}})+|(?:[{_GAPS}]\d{{3}})+)(?!\d)|\d+)"
_NUMBER = rf"(?=\d)(?:(?<!\d\.){_WHOLE}\.\d+(?!\.?\d)|{_WHOLE})"
_NAME = re.compile(rf"{_CAPITAL}\w*(?: (?:of )?{_CAPITAL}\w*)*|{_NUMBER}")
_FIRST = re.compile(r"\w+")


def ordered(edges: Sequence[Edge]) -> list[int]:
    """Facts so that each comes after all that lead to it; in a circle, as they are come across."""
    try:
        return reading_order(edges)
    except CycleError:
        after, order = successors(edges), [ROOT]
        for fact in order:
            order += [v for v in after.get(fact, []) if v not in order]
        return order[1:]


def lines(question: Evidence, edges: Sequence[Edge]) -> list[str]:
    """The facts that edges lead to, numbered in order of reading, each after those it follows."""
    order = ordered(edges)
    at = {fact: i for i, fact in enumerate(order, 1)}
    out = []
    for fact in order:
        before = sorted(at[u] for u, v in edges if v == fact and u != ROOT)
        marker = f" after {' '.join(map(str, before))}" if before else ""
        out.append(f"f{at[fact]}{marker} {question.facts[fact]}")
    return out


def plain(question: Evidence, edges: Sequence[Edge]) -> str:
    """What a reader is told, as it stands.

    >>> plain(question, [(-1, 4), (4, 2)])
    'question: Where …? facts: f1 Ada was born in Dorla. f2 after 1 Dorla lies in Bado.'
    """
    return f"question: {question.question} facts: {' '.join(lines(question, edges))}".strip()


def known_words(questions: Sequence[Evidence]) -> list[str]:
    """The words of the texts that are written small anywhere within them, sorted."""
    texts = dict.fromkeys(text for q in questions for text in (q.question, *q.facts))
    inside = (word for text in texts for word in _FIRST.findall(text)[1:] if word[0].islower())
    first = (_FIRST.findall(q.question)[0].lower() for q in questions if q.question[0].isalpha())
    return sorted({*inside, *first})


def marked(
    question: Evidence, edges: Sequence[Edge], known: frozenset[str]
) -> tuple[str, dict[str, str]]:
    """`plain` with marks for names, and name → its mark; of more than `MOST` the rest stay names.

    Names are as the texts write them, and numbers as `named` does, too.

    `known`: words that are no names, though a text begins with them (`known_words`).
    """
    asked = _small(question.question, known)
    facts = [_small(fact, known) for fact in question.facts]
    spans = [_bare(span) for text in (asked, *(facts[v] for v in ordered(edges)))
             for span in _NAME.findall(text)]  # fmt: skip
    entities = dict.fromkeys(span for span in spans if not span[0].isdigit())
    values = {span: Decimal(named(span)) for span in spans if span[0].isdigit()}
    numbers = dict(zip(sorted({*values.values()}), NUMBERS, strict=False))
    marks = dict(zip(entities, ENTITIES, strict=False))
    marks |= {named(f"{value:f}"): mark for value, mark in numbers.items()}
    marks |= {span: numbers[value] for span, value in values.items() if value in numbers}
    hidden = Evidence(question.id, _hidden(asked, marks),
                      tuple(_hidden(fact, marks) for fact in facts), question.edges)  # fmt: skip
    return plain(hidden, edges), marks


def named(answer: str) -> str:
    """An answer as a key of `marked`: without an article, a number without separators.

    >>> named("1,250.0")
    '1250'
    """
    name = _bare(unicodedata.normalize("NFC", answer))
    if not re.fullmatch(_NUMBER, name):
        return name
    whole, point, part = re.sub(f"[,{_GAPS}]", "", name).partition(".")
    return (whole.lstrip("0") or "0") + (point + part).rstrip("0").rstrip(".")


def _small(text: str, known: frozenset[str]) -> str:
    text = unicodedata.normalize("NFC", text)
    first = _FIRST.search(text)
    if first and first[0].lower() in known:
        return text[: first.start()] + first[0].lower() + text[first.end() :]
    return text


def _hidden(text: str, marks: dict[str, str]) -> str:
    return _NAME.sub(lambda span: marks.get(_bare(span[0]), span[0]), text)


def _bare(span: str) -> str:
    """A name without its article, which is written small where a sentence begins with it."""
    return span.removeprefix("The ")
