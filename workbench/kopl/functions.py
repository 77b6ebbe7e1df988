"""The 27 functions of KoPL: what each makes of the results of the steps before it.

Names, order of inputs and meaning are KQA Pro's. Where its own interpreter would take the first of
several (entities of one name, values of one attribute, a tie), ours goes on with all, and refuses
where they come to different answers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.errors import ProgramError
from workbench.kopl.knowledge import DIRECTIONS, Fact, Knowledge
from workbench.kopl.values import OPERATORS, Value, holds, matches, plain, read

Entities = dict[str, tuple[Fact, ...]]
"""Entity → the facts by which this step chose it; none where it reads no facts."""
Source = tuple[int, str]
"""(which of a step's dependencies, entity in it)."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, and by what: facts (or None where none is read), each with what it is read of."""

    value: Value
    reads: tuple[tuple[Fact | None, tuple[Source, ...]], ...]


Result = Entities | list[Reading]


def _find(knowledge: Knowledge, name: str) -> Entities:
    ids = knowledge.ids.get(plain(name))
    if not ids:
        raise ProgramError("missing entity", f"nothing is called {name!r} in the knowledge base")
    return dict.fromkeys(ids, ())


def _filter_concept(knowledge: Knowledge, entities: Entities, name: str) -> Entities:
    ids = knowledge.concepts.get(plain(name))
    if not ids:
        raise ProgramError("missing concept", f"no concept is called {name!r}")
    return {i: () for concept in ids for i in knowledge.members[concept] if i in entities}


def _target(text: str, kind: str, operator: str) -> Value:
    if operator not in OPERATORS:
        known = ", ".join(OPERATORS)
        raise ProgramError("malformed input", f"operator {operator!r}; use one of {known}")
    value = read(text, kind)
    if value is None:
        raise ProgramError("malformed input", f"{text!r} is no {kind}")
    return value


def _filter(kind: str) -> Callable[..., Entities]:
    def chosen(knowledge: Knowledge, entities: Entities, key: str, text: str, operator: str = "="
               ) -> Entities:  # fmt: skip
        target, key = _target(text, kind, operator), plain(key)
        facts: Iterable[Fact] = knowledge.of.get(key, ())
        if len(entities) < len(knowledge.of.get(key, ())):
            facts = (f for e in entities for f in knowledge.attributes.get((e, key), ()))
        return _grouped(
            (fact.head, fact)
            for fact in facts
            if fact.head in entities
            and isinstance(fact.tail, Value)
            and holds(fact.tail, operator, target)
        )

    return chosen


def _filter_qualifier(kind: str) -> Callable[..., Entities]:
    def chosen(knowledge: Knowledge, entities: Entities, key: str, text: str, operator: str = "="
               ) -> Entities:  # fmt: skip
        target, key = _target(text, kind, operator), plain(key)
        if not any(entities.values()):
            raise ProgramError("no facts to filter", "the step that it depends on reads no facts")
        return _grouped(
            (entity, fact)
            for entity, facts in entities.items()
            for fact in facts
            if any(holds(value, operator, target) for value in _qualified(fact, key))
        )

    return chosen


def _grouped(pairs: Iterable[tuple[str, Fact]]) -> Entities:
    groups: dict[str, list[Fact]] = defaultdict(list)
    for entity, fact in pairs:
        groups[entity].append(fact)
    return {entity: tuple(facts) for entity, facts in groups.items()}


def _qualified(fact: Fact, key: str) -> tuple[Value, ...]:
    return next((values for name, values in fact.qualifiers if name == key), ())


def _relate(knowledge: Knowledge, entities: Entities, relation: str, direction: str) -> Entities:
    if direction not in DIRECTIONS:
        raise ProgramError(
            "malformed input", f"direction {direction!r}; use {' or '.join(DIRECTIONS)}"
        )
    end = "tail" if direction == "forward" else "head"
    related, relation = knowledge.related, plain(relation)
    return _grouped(
        (getattr(fact, end), fact)
        for entity in entities
        for fact in related.get((direction, entity, relation), ())
    )


def _and(knowledge: Knowledge, first: Entities, second: Entities) -> Entities:
    return {entity: () for entity in first if entity in second}


def _or(knowledge: Knowledge, first: Entities, second: Entities) -> Entities:
    return dict.fromkeys([*first, *second], ())


def _what(knowledge: Knowledge, entities: Entities) -> list[Reading]:
    names = knowledge.names
    return [Reading(Value("string", names[e]), ((None, ((0, e),)),)) for e in entities]


def _count(knowledge: Knowledge, entities: Entities) -> list[Reading]:
    return [Reading(Value("quantity", len(entities)), tuple((None, ((0, e),)) for e in entities))]


def _query_attribute(
    knowledge: Knowledge, entities: Entities, key: str, dependency: int = 0
) -> list[Reading]:
    return [
        Reading(fact.tail, ((fact, ((dependency, entity),)),))
        for entity in entities
        for fact in knowledge.attributes.get((entity, plain(key)), ())
        if isinstance(fact.tail, Value)
    ]


def _query_under_condition(
    knowledge: Knowledge, entities: Entities, key: str, qualifier: str, text: str
) -> list[Reading]:
    return [
        reading
        for reading in _query_attribute(knowledge, entities, key)
        for fact, _ in reading.reads
        if fact and any(matches(value, text) for value in _qualified(fact, plain(qualifier)))
    ]


def _query_attribute_qualifier(
    knowledge: Knowledge, entities: Entities, key: str, text: str, qualifier: str
) -> list[Reading]:
    return [
        Reading(value, reading.reads)
        for reading in _query_attribute(knowledge, entities, key)
        if matches(reading.value, text)
        for fact, _ in reading.reads
        if fact
        for value in _qualified(fact, plain(qualifier))
    ]


def _links(
    knowledge: Knowledge, heads: Entities, tails: Entities
) -> Iterable[tuple[Fact, tuple[tuple[Fact, tuple[Source, ...]], ...]]]:
    for head in heads:
        for tail in tails:
            for fact in knowledge.links.get((head, tail), ()):
                yield fact, ((fact, ((0, head), (1, tail))),)


def _query_relation(knowledge: Knowledge, heads: Entities, tails: Entities) -> list[Reading]:
    return [
        Reading(Value("string", fact.relation), reads)
        for fact, reads in _links(knowledge, heads, tails)
    ]


def _query_relation_qualifier(
    knowledge: Knowledge, heads: Entities, tails: Entities, relation: str, qualifier: str
) -> list[Reading]:
    return [
        Reading(value, reads)
        for fact, reads in _links(knowledge, heads, tails)
        if fact.relation == plain(relation)
        for value in _qualified(fact, plain(qualifier))
    ]


def _select_between(
    knowledge: Knowledge, first: Entities, second: Entities, key: str, order: str
) -> list[Reading]:
    groups = [
        _query_attribute(knowledge, entities, key, i) for i, entities in enumerate((first, second))
    ]
    for entities, readings in zip((first, second), groups, strict=True):
        owners = dict.fromkeys(_owner(reading) for reading in readings)
        if not owners:
            raise ProgramError("missing value", f"{_named(knowledge, entities)}: no {key!r}")
        if len(owners) > 1:
            raise ProgramError("ambiguous", f"several have a {key!r}: {_named(knowledge, owners)}")
    return _extreme(knowledge, groups, key, _side(order, ("less", "greater")))


def _select_among(knowledge: Knowledge, entities: Entities, key: str, order: str) -> list[Reading]:
    groups = [_query_attribute(knowledge, {entity: ()}, key) for entity in entities]
    if without := [e for e, group in zip(entities, groups, strict=True) if not group]:
        raise ProgramError("missing value", f"{_named(knowledge, without)}: no {key!r}")
    return _extreme(knowledge, groups, key, _side(order, ("smallest", "largest")))


def _side(order: str, words: tuple[str, str]) -> str:
    if order not in words:
        raise ProgramError("malformed input", f"order {order!r}; use {' or '.join(words)}")
    return "<" if order == words[0] else ">"


def _extreme(
    knowledge: Knowledge, groups: Sequence[list[Reading]], key: str, operator: str
) -> list[Reading]:
    """The owner of the value that no other reaches, by all facts that are compared."""
    values = []
    for group in groups:
        values.append(group[0].value)
        if any(holds(reading.value, "=", values[-1]) is not True for reading in group):
            named = _named(knowledge, [_owner(group[0])])
            raise ProgramError("ambiguous", f"{named}: {key!r} has several values")
    best = 0
    for i, value in enumerate(values):
        order = holds(value, operator, values[best])
        if order is None:
            shown = f"{value} and {values[best]}"
            raise ProgramError("not comparable", f"the {key!r} {shown} do not compare")
        best = i if order else best
    opposite = ">" if operator == "<" else "<"
    if any(i != best and not holds(v, opposite, values[best]) for i, v in enumerate(values)):
        raise ProgramError("ambiguous", f"more than one have the {key!r} {values[best]}")
    name = Value("string", knowledge.names[_owner(groups[best][0])])
    return [Reading(name, tuple(read for group in groups for r in group for read in r.reads))]


def _owner(reading: Reading) -> str:
    return reading.reads[0][1][0][1]


def _named(knowledge: Knowledge, entities: Iterable[str]) -> str:
    """The first three names, for a message."""
    names = [repr(knowledge.names[entity]) for entity in entities]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _verify(kind: str) -> Callable[..., list[Reading]]:
    def checked(knowledge: Knowledge, readings: list[Reading], text: str, operator: str = "="
                ) -> list[Reading]:  # fmt: skip
        target, out = _target(text, kind, operator), []
        for reading in readings:
            right = holds(reading.value, operator, target)
            if right is None:
                raise ProgramError(
                    "not comparable", f"{reading.value} and {target} do not compare by {operator}"
                )
            out.append(Reading(Value("string", "yes" if right else "no"), reading.reads))
        return out

    return checked


SET, VALUE = "entities", "a value"
_KINDS = {"Str": "string", "Num": "quantity", "Year": "year", "Date": "date"}
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...], int]] = {
    "FindAll": (lambda knowledge: knowledge.everything, (), 0),
    "Find": (_find, (), 1),
    "FilterConcept": (_filter_concept, (SET,), 1),
    **{f"Filter{n}": (_filter(k), (SET,), 2 + (n != "Str")) for n, k in _KINDS.items()},
    **{f"QFilter{n}": (_filter_qualifier(k), (SET,), 2 + (n != "Str")) for n, k in _KINDS.items()},
    "Relate": (_relate, (SET,), 2),
    "And": (_and, (SET, SET), 0),
    "Or": (_or, (SET, SET), 0),
    "What": (_what, (SET,), 0),
    "Count": (_count, (SET,), 0),
    "SelectBetween": (_select_between, (SET, SET), 2),
    "SelectAmong": (_select_among, (SET,), 2),
    "QueryAttr": (_query_attribute, (SET,), 1),
    "QueryAttrUnderCondition": (_query_under_condition, (SET,), 3),
    "QueryRelation": (_query_relation, (SET, SET), 0),
    "QueryAttrQualifier": (_query_attribute_qualifier, (SET,), 3),
    "QueryRelationQualifier": (_query_relation_qualifier, (SET, SET), 2),
    **{f"Verify{n}": (_verify(k), (VALUE,), 1 + (n != "Str")) for n, k in _KINDS.items()},
}
"""Name → what it does, what its dependencies are, and how many inputs it takes."""
OTHER_NAMES = {"QueryName": "What"}
"""Of the KoPL library for KQA Pro's."""
READS = ("Relate", *(f"Filter{name}" for name in _KINDS))
"""Functions to entities that read facts; `QFilter…` takes those of the step before."""
