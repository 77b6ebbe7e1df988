"""A knowledge base in the form of KQA Pro's `kb.json`, by all that programs ask of it.

Read are `concepts` (id → name, instanceOf) and `entities` (id → name, instanceOf, attributes,
relations); also in the form of the KoPL library, which writes `relation` for `predicate` and
`subclassOf` for a concept's `instanceOf`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import arguments
from workbench.errors import DatasetError
from workbench.kopl.values import Value, plain, stated
from workbench.reading import read_object

Qualifiers = tuple[tuple[str, tuple[Value, ...]], ...]
"""Key → values, sorted by key."""
DIRECTIONS = ("forward", "backward")


@dataclass(frozen=True, slots=True)
class Fact:
    """`relation` (or attribute) of the entity `head` is `tail`, an id or a value; `place` in all.

    A relation is one fact, from whichever of its ends it is seen.
    """

    place: int
    head: str
    relation: str
    tail: str | Value
    qualifiers: Qualifiers = ()


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

        >>> Knowledge({"concepts": {}, "entities": {"Q1": {"name": "Ada"}}}).ids["Ada"]
        ['Q1']
        """
        concepts, entities = (
            _part(content, name, place, dict) for name in ("concepts", "entities")
        )
        if twice := sorted(concepts.keys() & entities.keys()):
            raise DatasetError(f"{place}: {twice[0]!r} is both an entity and a concept")
        self.names: dict[str, str] = {}
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.concepts: dict[str, list[str]] = defaultdict(list)
        for group in (entities, concepts):
            for i, entry in group.items():
                name = self.names[i] = _text(entry, "name", f"{place} {i!r}")
                self.ids[name].append(i)
                if group is concepts:
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
        seen: dict[tuple[Any, ...], set[Qualifiers]] = defaultdict(set)
        backward = []
        for i, entry in entities.items():
            for where, part in _parts(entry, "attributes", f"{place} {i!r}"):
                value = stated(part.get("value"), f"{where}: field 'value'")
                self._add(seen, i, _text(part, "key", where), value, _qualifiers(part, where))
            for where, part in _parts(entry, "relations", f"{place} {i!r}"):
                name = "relation" if "relation" in part else "predicate"
                relation, direction = _text(part, name, where), part.get("direction")
                if direction not in DIRECTIONS:
                    shown = arguments.shown(direction)
                    raise DatasetError(f"{where}: field 'direction' is {shown}; use forward or "
                                       "backward")  # fmt: skip
                other, qualifiers = part.get("object"), _qualifiers(part, where)
                if not isinstance(other, str) or other not in self.names:
                    shown = arguments.shown(other)
                    raise DatasetError(f"{where}: field 'object' is {shown}, which is no entity "
                                       "and no concept")  # fmt: skip
                if direction == "forward":
                    self._add(seen, i, relation, other, qualifiers)
                else:
                    backward.append((other, relation, i, qualifiers))
        for head, relation, tail, qualifiers in backward:
            if qualifiers or not seen.get((head, relation, tail)):
                self._add(seen, head, relation, tail, qualifiers)

    def _add(
        self,
        seen: dict[tuple[Any, ...], set[Qualifiers]],
        head: str,
        relation: str,
        tail: str | Value,
        qualifiers: Qualifiers,
    ) -> None:
        if qualifiers in seen[head, relation, tail]:
            return
        seen[head, relation, tail].add(qualifiers)
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
        where = f"{place} {i!r}"
        field = "subclassOf" if i in concepts and "subclassOf" in entry else "instanceOf"
        above[i] = _part(entry, field, where, list)
        for name in above[i]:
            if not isinstance(name, str) or name not in concepts:
                shown = arguments.shown(name)
                raise DatasetError(f"{where}: field {field!r} names {shown}, which is no concept")
    members: dict[str, dict[str, None]] = {i: {} for i in concepts}
    for i in entities:
        waiting, reached = [*above[i]], dict[str, None]()
        while waiting:
            concept = waiting.pop()
            if concept not in reached:
                reached[concept] = None
                waiting += above[concept]
        for concept in reached:
            members[concept][i] = None
    return members


def _part(entry: Any, name: str, place: str, kind: type) -> Any:
    """A field that holds an object or a list; an empty one where it is not there."""
    if not isinstance(entry, dict):
        raise DatasetError(f"{place}: {arguments.shown(entry)}, not an object")
    value = entry.get(name)
    if value is None and (kind is list or name == "qualifiers"):
        return kind()
    if not isinstance(value, kind):
        shown = "an object" if kind is dict else "a list"
        raise DatasetError(f"{place}: field {name!r} is {arguments.shown(value)}; give {shown}")
    return value


def _parts(entry: Any, name: str, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, part in enumerate(_part(entry, name, place, list)):
        where = f"{place} {name} {number}"
        if not isinstance(part, dict):
            raise DatasetError(f"{where}: {arguments.shown(part)}, not an object")
        yield where, part


def _text(entry: Any, name: str, place: str) -> str:
    value = entry.get(name) if isinstance(entry, dict) else None
    if not isinstance(value, str) or not plain(value):
        raise DatasetError(f"{place}: field {name!r} is {arguments.shown(value)}, no text")
    return plain(value)


def _qualifiers(part: dict[str, Any], place: str) -> Qualifiers:
    out = []
    for key, values in sorted(_part(part, "qualifiers", place, dict).items()):
        where = f"{place} qualifier {key!r}"
        if not isinstance(values, list) or not values:
            shown = arguments.shown(values)
            raise DatasetError(f"{where}: {shown}; give a list of one value at least")
        out.append((plain(key), tuple(stated(value, where) for value in values)))
    return tuple(out)
