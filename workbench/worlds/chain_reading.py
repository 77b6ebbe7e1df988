"""What sentences of worlds of chains say, and the knowledge base of what is said.

Whoever reads them needs no world: a sentence without its names and numbers tells its relation.
"""

import re
from collections.abc import Iterable
from typing import Any

from workbench.worlds.chain_attributes import CHAINS
from workbench.worlds.chain_questions import AT, END, START
from workbench.worlds.facts import Fact, World

_PIECE = re.compile(r"[A-Z][a-z]+(?: (?:of )?[A-Z][a-z]+)*|\d{1,18}")
"""A name, a number, or what a sentence begins with."""


def _bare(sentence: str) -> str:
    return _PIECE.sub(lambda match: "1" if match[0].isdigit() else "A", sentence)


def _forms() -> dict[str, tuple[str, list[str]]]:
    """Bare sentence → its relation or attribute, and what its pieces are: holes, or words."""
    holes = {"h": "Head", "t": "Tail", "v": "1", "s": "2", "e": "3", "y": "4"}
    names = {filled: hole for hole, filled in holes.items()}
    forms = {}
    for key, each in (CHAINS.relations | CHAINS.attributes).items():
        for sentence in each.sentences:
            filled = sentence.format(**holes)
            forms[_bare(filled)] = key, [names.get(p, p) for p in _PIECE.findall(filled)]
    return forms


_FORMS = _forms()


def parsed(sentence: str) -> Fact | None:
    """What a sentence of a world of chains says, be it one that is held out; None for any other.

    >>> parsed("The height of Ada Bel is 183 centimetres.").tail
    183
    """
    key, pieces = _FORMS.get(_bare(sentence), ("", []))
    told = dict(zip(pieces, _PIECE.findall(sentence), strict=bool(key)))
    if not key or any(told[piece] != piece for piece in pieces if len(piece) > 1):
        return None
    tail = int(told["v"]) if "v" in told else told["t"]
    years = tuple(int(told[hole]) for hole in "sey" if hole in told)
    return Fact(sentence, key, told["h"], tail, years)


def knowledge_of(sentences: Iterable[str]) -> dict[str, Any]:
    """What sentences say, as a knowledge base in the shape of KQA Pro's `kb.json`.

    Others than those of worlds of chains say nothing. Ids of entities are their names, of concepts
    their kinds; what is symmetric holds forward and backward of both its entities. Years are typed
    `year`, other numbers `quantity` with their `unit`, "1" where they have none.
    """
    return _knowledge(fact for sentence in sentences if (fact := parsed(sentence)))


def knowledge(world: World) -> dict[str, Any]:
    """All that a world of chains says, as `knowledge_of` its sentences."""
    return _knowledge(world.facts)


def _knowledge(facts: Iterable[Fact]) -> dict[str, Any]:
    entities: dict[str, dict[str, Any]] = {}

    def entity(name: str, kind: str) -> dict[str, Any]:
        empty = {"name": name, "instanceOf": [kind], "attributes": [], "relations": []}
        return entities.setdefault(name, empty)

    for fact in facts:
        relation = CHAINS.relations.get(fact.relation)
        each = relation or CHAINS.attributes[fact.relation]
        keys = (AT,) if len(fact.years) == 1 else (START, END)
        told = {key: [_year(year)] for key, year in zip(keys, fact.years, strict=False)}
        head = entity(fact.head, each.head)
        if not relation:
            attribute = CHAINS.attributes[fact.relation]
            number = {"type": "quantity", "value": fact.tail, "unit": attribute.unit or "1"}
            value = _year(int(fact.tail)) if attribute.unit == "year" else number
            head["attributes"].append({"key": fact.relation, "value": value, "qualifiers": told})
            continue
        tail = entity(str(fact.tail), relation.tail)
        ways = [(head, tail, "forward"), (tail, head, "backward")]
        if relation.symmetric:
            ways += [(tail, head, "forward"), (head, tail, "backward")]
        for subject, other, direction in ways:
            row = {"predicate": fact.relation, "object": other["name"], "direction": direction}
            subject["relations"].append({**row, "qualifiers": told})
    concepts = {kind: {"name": kind, "instanceOf": []} for kind in CHAINS.counts}
    return {"concepts": concepts, "entities": entities}


def _year(year: int) -> dict[str, Any]:
    return {"type": "year", "value": year}
