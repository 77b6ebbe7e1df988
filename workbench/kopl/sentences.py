"""One sentence for each fact: from a template of its relation, else in a plain form.

Templates name subject and object as {s} and {o}. Qualifiers become clauses: ", from 1990 until
1996", ", in 2010". A sentence counts only where every name and value of the fact is in it.
"""

import re
from collections.abc import Callable, Mapping

from workbench.kopl.knowledge import Fact, Knowledge
from workbench.kopl.values import Value

TEMPLATES = dict(
    line.split(": ")
    for line in """
award received: {s} received the award {o}
author: {s} was written by {o}
cast member: {o} acts in {s}
country of citizenship: {s} is a citizen of {o}
educated at: {s} studied at {o}
employer: {s} works for {o}
has part: {o} is a part of {s}
headquarters location: {s} has its headquarters in {o}
member of sports team: {s} plays for {o}
place of birth: {s} was born in {o}
shares border with: {s} shares a border with {o}
spouse: {s} is married to {o}
""".strip().splitlines()
)
"""Label of Wikidata → template."""
_IS = re.compile(r".* (?:after|as|at|by|for|from|in|of|on|to|with)|(?:located|member|present) .*")
_VERB = re.compile(
    r"(?:applies|connects|contains|depicts|flows|follows|has|occurs|replaces|shares)(?: .*)?"
)
_WORD = re.compile(r"\w+")
_TIMES = ("start time", "end time", "point in time")


def sentence(
    knowledge: Knowledge,
    fact: Fact,
    templates: Mapping[str, str] = TEMPLATES,
    write: Callable[[str], str] | None = None,
) -> str:
    """The sentence of a fact; in the plain form where the template leaves a name or value out.

    `write` may say the sentence in other words; where these leave one out, they are not taken.

    >>> sentence(knowledge, knowledge.facts[0])
    'Ada works for Acme, from 1975 until 1982.'
    """
    tail = fact.tail if isinstance(fact.tail, Value) else knowledge.names[fact.tail]
    slots = {"{s}": knowledge.names[fact.head], "{o}": str(tail)}
    shown = {key: " and ".join(map(str, values)) for key, values in fact.qualifiers}
    needed = [*slots.values(), *(str(v) for _, values in fact.qualifiers for v in values)]

    def filled(template: str) -> str:
        told = re.sub(r"\{[so]\}", lambda slot: slots[slot[0]], template)
        return f"{told}{_clauses(shown)}."

    plain = filled(_plain(fact.relation.replace("_", " "), isinstance(tail, Value)))
    text = filled(templates[fact.relation]) if fact.relation in templates else plain
    text = text if _tells(text, needed) else plain
    written = write(text) if write else text
    return written if _tells(written, needed) else text


def _plain(relation: str, of_value: bool) -> str:
    """The template of a relation that has none, by how its label begins and ends."""
    if not of_value and _VERB.fullmatch(relation):
        return f"{{s}} {relation} {{o}}"
    if not of_value and _IS.fullmatch(relation):
        return f"{{s}} is {relation} {{o}}"
    return f"The {relation} of {{s}} is {{o}}"


def _clauses(shown: Mapping[str, str]) -> str:
    start, end, point = (shown.get(key, "") for key in _TIMES)
    span = " ".join(f"{word} {text}" for word, text in (("from", start), ("until", end)) if text)
    moment = point and f"{'on' if '-' in point[1:] else 'in'} {point}"
    others = (f"with {key} {text}" for key, text in shown.items() if key not in _TIMES)
    return "".join(f", {clause}" for clause in (span, moment, *others) if clause)


def _tells(text: str, needed: list[str]) -> bool:
    """Whether each is in the text, as whole words."""
    told = _words(text)
    return all(slot in text and _words(slot) in told for slot in needed)


def _words(text: str) -> str:
    return " ".join(["", *_WORD.findall(text), ""])
