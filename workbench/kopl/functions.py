"""The 27 functions of KoPL: what each makes of the results of the steps before it.

Names, order of inputs and meaning are KQA Pro's. Where its own interpreter takes one of several
(entities of one name, values of one attribute, a tie), ours goes on with all, and refuses where
they come to different answers. To an entity without the attribute that it is chosen by, KQA Pro's
gives the value of the one before, and KoPL's library passes over it; ours refuses, as evidence that
lacks the fact does not suffice. A filter passes over values of another kind or unit, as there.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

from workbench.errors import ProgramError
from workbench.kopl.knowledge import DIRECTIONS, Fact, Knowledge
from workbench.kopl.values import OPERATORS, Value, comparable, holds, matches, read

Entities = dict[str, tuple[Fact, ...]]
"""Entity → the facts by which this step chose it; none where it reads no facts."""
Source = tuple[int, str]
"""(which of a step's dependencies, entity in it)."""
Reads = tuple[tuple[Fact | None, tuple[Source, ...]], ...]
"""Facts (None where none is read), each with what it is read of."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, and by what."""

    value: Value
    reads: Reads

    def qualified(self, key: str) -> tuple[Value, ...]:
        """What its first fact has under a qualifier."""
        fact, _ = self.reads[0]
        return fact.qualified(key) if fact else ()


Result = Entities | list[Reading]


def _find(knowledge: Knowledge, name: str) -> Entities:
    if name not in knowledge.ids:
        raise ProgramError("missing entity", f"nothing is called {name!r} in the knowledge base")
    return dict.fromkeys(knowledge.ids[name], ())


def _filter_concept(knowledge: Knowledge, entities: Entities, name: str) -> Entities:
    if name not in knowledge.concepts:
        raise ProgramError("missing concept", f"no concept is called {name!r}")
    members = (knowledge.members[concept] for concept in knowledge.concepts[name])
    return {i: () for group in members for i in group if i in entities}


def _choice(name: str, text: str, known: tuple[str, ...]) -> int:
    if text not in known:
        raise ProgramError("malformed input", f"{name} {text!r}; use {' or '.join(known)}")
    return known.index(text)


def _target(text: str, kind: str, operator: str) -> Value:
    _choice("operator", operator, OPERATORS)
    value = read(text, kind)
    if value is None:
        raise ProgramError("malformed input", f"{text!r} is no {kind}")
    return value


def _filter(
    kind: str, knowledge: Knowledge, entities: Entities, key: str, text: str, operator: str = "="
) -> Entities:
    target = _target(text, kind, operator)
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


def _filter_qualifier(
    kind: str, knowledge: Knowledge, entities: Entities, key: str, text: str, operator: str = "="
) -> Entities:
    target = _target(text, kind, operator)
    if not any(entities.values()):
        raise ProgramError("no facts to filter", "the step that it depends on reads no facts")
    return _grouped(
        (entity, fact)
        for entity, facts in entities.items()
        for fact in facts
        if any(holds(value, operator, target) for value in fact.qualified(key))
    )


def _grouped(pairs: Iterable[tuple[str, Fact]]) -> Entities:
    groups: dict[str, list[Fact]] = defaultdict(list)
    for entity, fact in pairs:
        groups[entity].append(fact)
    return {entity: tuple(facts) for entity, facts in groups.items()}


def _relate(knowledge: Knowledge, entities: Entities, relation: str, direction: str) -> Entities:
    _choice("direction", direction, DIRECTIONS)
    end = "tail" if direction == "forward" else "head"
    return _grouped(
        (getattr(fact, end), fact)
        for entity in entities
        for fact in knowledge.related.get((direction, entity, relation), ())
    )


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
        for fact in knowledge.attributes.get((entity, key), ())
        if isinstance(fact.tail, Value)
    ]


def _query_under_condition(
    knowledge: Knowledge, entities: Entities, key: str, qualifier: str, text: str
) -> list[Reading]:
    readings = _query_attribute(knowledge, entities, key)
    return [r for r in readings if any(matches(value, text) for value in r.qualified(qualifier))]


def _query_attribute_qualifier(
    knowledge: Knowledge, entities: Entities, key: str, text: str, qualifier: str
) -> list[Reading]:
    readings = [r for r in _query_attribute(knowledge, entities, key) if matches(r.value, text)]
    return [Reading(value, r.reads) for r in readings for value in r.qualified(qualifier)]


def _query_relation(
    knowledge: Knowledge, heads: Entities, tails: Entities, relation: str = ""
) -> list[Reading]:
    """As a phrase, as sentences tell it; only `relation` where it is given."""
    return [
        Reading(Value("string", fact.relation.replace("_", " ")), ((fact, ((0, head), (1, tail))),))
        for head in heads
        for tail in tails
        for fact in knowledge.links.get((head, tail), ())
        if relation in ("", fact.relation)
    ]


def _query_relation_qualifier(
    knowledge: Knowledge, heads: Entities, tails: Entities, relation: str, qualifier: str
) -> list[Reading]:
    readings = _query_relation(knowledge, heads, tails, relation)
    return [Reading(value, r.reads) for r in readings for value in r.qualified(qualifier)]


def _select_between(
    knowledge: Knowledge, first: Entities, second: Entities, key: str, order: str
) -> list[Reading]:
    sides = [(entities, _query_attribute(knowledge, entities, key, i))
             for i, entities in enumerate((first, second))]  # fmt: skip
    return _extreme(knowledge, sides, key, _choice("order", order, ("less", "greater")))


def _select_among(knowledge: Knowledge, entities: Entities, key: str, order: str) -> list[Reading]:
    sides = [({e: ()}, _query_attribute(knowledge, {e: ()}, key)) for e in entities]
    return _extreme(knowledge, sides, key, _choice("order", order, ("smallest", "largest")))


def _extreme(
    knowledge: Knowledge, sides: Sequence[tuple[Entities, list[Reading]]], key: str, largest: int
) -> list[Reading]:
    """The name that is ahead whichever of the values of a side counts, by all that is compared."""
    for entities, readings in sides:
        if not readings:
            named = " or ".join(repr(knowledge.names[entity]) for entity in entities)
            raise ProgramError("missing value", f"{named:.80} has no {key!r}")
    compared = [[reading.value for reading in readings] for _, readings in sides]
    first = compared[0][0]
    if not all(comparable(v, first) and v.kind != "string" for side in compared for v in side):
        raise ProgramError("not comparable", f"the values of {key!r} are of several kinds or units")
    ahead, behind = "<>" if not largest else "><"
    least = [reduce(lambda a, b: b if holds(b, behind, a) else a, side) for side in compared]
    best = reduce(lambda a, b: b if holds(least[b], ahead, least[a]) else a, range(len(least)))
    reads = tuple(read for _, readings in sides for r in readings for read in r.reads)
    names = sorted({
        knowledge.names[owner]
        for _, readings in sides
        if not all(holds(v, ahead, r.value) for v in compared[best] for r in readings)
        for reading in readings
        for _, ((_, owner),) in reading.reads
    })  # fmt: skip
    if len(names) > 1:
        shown = " or ".join(map(repr, names[:2]))
        raise ProgramError("ambiguous", f"by {key!r} it may be {shown:.80}")
    return [Reading(Value("string", names[0]), reads)]


def _verify(
    kind: str, knowledge: Knowledge, readings: list[Reading], text: str, operator: str = "="
) -> list[Reading]:
    target = _target(text, kind, operator)
    answers = [holds(reading.value, operator, target) for reading in readings]
    if None in answers:
        value = readings[answers.index(None)].value
        raise ProgramError("not comparable", f"{value} does not compare with {target}")
    return [Reading(Value("string", "yes" if right else "no"), ()) for right in answers]


SET = "entities"
_KINDS = {"Str": "string", "Num": "quantity", "Year": "year", "Date": "date"}
# Name → what it does, what its dependencies are, and how many inputs it takes.
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[str, ...], int]] = {
    "FindAll": (lambda knowledge: knowledge.everything, (), 0),
    "Find": (_find, (), 1),
    "FilterConcept": (_filter_concept, (SET,), 1),
    "Relate": (_relate, (SET,), 2),
    "And": (lambda _, a, b: {e: () for e in a if e in b}, (SET, SET), 0),
    "Or": (lambda _, a, b: dict.fromkeys([*a, *b], ()), (SET, SET), 0),
    "What": (_what, (SET,), 0),
    "Count": (_count, (SET,), 0),
    "SelectBetween": (_select_between, (SET, SET), 2),
    "SelectAmong": (_select_among, (SET,), 2),
    "QueryAttr": (_query_attribute, (SET,), 1),
    "QueryAttrUnderCondition": (_query_under_condition, (SET,), 3),
    "QueryRelation": (_query_relation, (SET, SET), 0),
    "QueryAttrQualifier": (_query_attribute_qualifier, (SET,), 3),
    "QueryRelationQualifier": (_query_relation_qualifier, (SET, SET), 2),
}
for _name, _kind in _KINDS.items():  # a string is equal or not, and has no operator
    _more = int(_name != "Str")
    FUNCTIONS[f"Filter{_name}"] = (partial(_filter, _kind), (SET,), 2 + _more)
    FUNCTIONS[f"QFilter{_name}"] = (partial(_filter_qualifier, _kind), (SET,), 2 + _more)
    FUNCTIONS[f"Verify{_name}"] = (partial(_verify, _kind), ("a value",), 1 + _more)
FUNCTIONS["QueryName"] = FUNCTIONS["What"]  # of the KoPL library
