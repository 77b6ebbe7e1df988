"""A knowledge base in the form of KQA Pro's `kb.json`, by all that programs ask of it.

Read are `concepts` (id → name, instanceOf) and `entities` (id → name, instanceOf, attributes,
relations); also in the form of the KoPL library, which writes `relation` for `predicate` and
`subclassOf` for a concept's `instanceOf`.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import DatasetError
from workbench.kopl.values import Value, fault, plain, stated
from workbench.reading import read_object

log = logging.getLogger(__name__)

Qualifiers = tuple[tuple[str, tuple[Value, ...]], ...]
"""Key → values, sorted by key."""
Triple = tuple[str, str, str | Value]
Seen = defaultdict[Triple, set[Qualifiers]]
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, slots=True, eq=False)
class Fact:
    """`relation` (or attribute) of the entity `head` is `tail`, an id or a value; `place` in all.

    A relation is one fact, from whichever of its ends it is seen.
    """

    place: int
    head: str
    relation: str
    tail: str | Value
    qualifiers: Qualifiers = ()

    def qualified(self, key: str) -> tuple[Value, ...]:
        """The values under a qualifier."""
        return next((values for name, values in self.qualifiers if name == key), ())


class Knowledge:
    """Facts, by ids and names.

    `names`: id → name, of concepts, too. `ids`: name → ids, entities before concepts. `concepts`:
    name → ids. `members`: id of a concept → its entities, also through subclasses. `facts`: all,
    head by head. `attributes`: (entity, key) → facts. `related`: (direction, entity, relation) →
    facts. `links`: (head, tail) → facts. `of`: attribute or relation → facts. `about`: id → facts.
    `everything`: entities without facts, as programs pass them on.
    """

    def __init__(self, content: dict[str, Any], place: str = "knowledge") -> None:
        """Read a knowledge base. Raises `DatasetError` naming `place`, the entity and the field.
        Relations with what is not there, of which KQA Pro has some, are left out and logged.

        >>> Knowledge({"concepts": {}, "entities": {"Q1": {"name": "Ada"}}}).ids["Ada"]
        ['Q1']
        """
        for name in ("concepts", "entities"):
            if not isinstance(content.get(name), dict):
                raise fault(place, name, content.get(name), "give an object of ids")
        concepts, entities = content["concepts"], content["entities"]
        if twice := sorted(concepts.keys() & entities.keys()):
            raise DatasetError(f"{place}: {twice[0]!r} is both an entity and a concept")
        self.names: dict[str, str] = {}
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.concepts: dict[str, list[str]] = defaultdict(list)
        for i, entry in {**entities, **concepts}.items():
            name = self.names[i] = _text(entry, "name", f"{place} {i!r}")
            self.ids[name].append(i)
            if i in concepts:
                self.concepts[name].append(i)
        self.everything: dict[str, tuple[Fact, ...]] = dict.fromkeys(entities, ())
        self.facts: list[Fact] = []
        self.attributes: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        self.related: dict[tuple[str, str, str], list[Fact]] = defaultdict(list)
        self.links: dict[tuple[str, str], list[Fact]] = defaultdict(list)
        self.of: dict[str, list[Fact]] = defaultdict(list)
        self.about: dict[str, list[Fact]] = defaultdict(list)
        self.members = _members(concepts, entities, place)
        self._read_facts(entities, place)

    def _read_facts(self, entities: dict[str, Any], place: str) -> None:
        seen: Seen = defaultdict(set)
        backward, lost = [], []
        for i, entry in entities.items():
            for where, part in _parts(entry, "attributes", f"{place} {i!r}"):
                triple = (i, _text(part, "key", where), stated(part.get("value"), where))
                self._add(triple, _qualifiers(part, where), seen)
            for where, part in _parts(entry, "relations", f"{place} {i!r}"):
                relation = _text(part, "relation" if "relation" in part else "predicate", where)
                other, direction = part.get("object"), part.get("direction")
                if direction not in DIRECTIONS:
                    raise fault(where, "direction", direction, f"use {' or '.join(DIRECTIONS)}")
                if not isinstance(other, str):
                    raise fault(where, "object", other, "give the id of an entity or a concept")
                if other not in self.names:
                    lost.append(f"{where}: {other!r}")
                elif direction == "forward":
                    self._add((i, relation, other), _qualifiers(part, where), seen)
                else:
                    backward.append(((other, relation, i), _qualifiers(part, where)))
        for triple, qualifiers in backward:
            if qualifiers or triple not in seen:
                self._add(triple, qualifiers, seen)
        if lost:
            log.warning(
                "%d relations are left out: their objects are not there: %s", len(lost), lost[0]
            )

    def _add(self, triple: Triple, qualifiers: Qualifiers, seen: Seen) -> None:
        if qualifiers in seen[triple]:
            return
        head, relation, tail = triple
        seen[triple].add(qualifiers)
        fact = Fact(len(self.facts), head, relation, tail, qualifiers)
        self.facts.append(fact)
        self.of[relation].append(fact)
        self.about[head].append(fact)
        if isinstance(tail, Value):
            self.attributes[head, relation].append(fact)
            return
        self.related["forward", head, relation].append(fact)
        self.related["backward", tail, relation].append(fact)
        self.links[head, tail].append(fact)
        if tail != head:
            self.about[tail].append(fact)


def read_knowledge(path: str | Path) -> Knowledge:
    """The knowledge base of a `kb.json`. Raises `DatasetError` naming file, entity and field."""
    return Knowledge(read_object(path, DatasetError), str(path))


def _members(
    concepts: dict[str, Any], entities: dict[str, Any], place: str
) -> dict[str, dict[str, None]]:
    above = {}
    for i, entry in {**concepts, **entities}.items():
        field = "subclassOf" if i in concepts and "subclassOf" in entry else "instanceOf"
        above[i] = _part(entry, field, f"{place} {i!r}", list)
        for name in above[i]:
            if not isinstance(name, str) or name not in concepts:
                raise fault(f"{place} {i!r}", field, name, "give ids of concepts")
    members: dict[str, dict[str, None]] = {i: {} for i in concepts}
    for i in entities:
        waiting = [*above[i]]
        while waiting:
            concept = waiting.pop()
            if i not in members[concept]:
                members[concept][i] = None
                waiting += above[concept]
    return members


def _part(entry: Any, name: str, place: str, kind: type) -> Any:
    """A field that holds a list or object, an empty one where it is not there."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{place} is {entry!r:.60}; give an object")
    value = entry.get(name)
    if not isinstance(value := kind() if value is None else value, kind):
        raise fault(place, name, value, "give an object" if kind is dict else "give a list")
    return value


def _parts(entry: Any, name: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, part in enumerate(_part(entry, name, place, list)):
        if not isinstance(part, dict):
            raise fault(place, name, part, "give a list of objects")
        yield f"{place} {name} {number}", part


def _text(entry: Any, name: str, place: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not plain(value):
        raise fault(place, name, value, "give a text")
    return plain(value)


def _qualifiers(part: dict[str, Any], place: str) -> Qualifiers:
    out = []
    for key, values in sorted(_part(part, "qualifiers", place, dict).items()):
        if not isinstance(values, list) or not values:
            raise fault(place, key, values, "give a list of values")
        out.append((plain(key), tuple(stated(value, f"{place} {key!r}") for value in values)))
    return tuple(out)
