"""Questions that follow a chain of one to seven facts: twelve types, by KoPL's last function.

A type gives a `Draft` whose longest path has `depth` facts, or None where this draw meets no such
question (ReasonChainQA's method, §3 and §6; the wordings are ours). Whether a yes is right is given
beforehand, so that the truths are balanced.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.retrieval.graphs import ROOT, Edge
from workbench.worlds.chain_ends import fanned, met, onward, shared, told, unlike, valued
from workbench.worlds.facts import World
from workbench.worlds.relations import Attribute
from workbench.worlds.walks import Chain, Draft, Step, Walk, in_line, step, steps, walk

Asks = Callable[[World, random.Random, int, bool], Draft | None]
MOST_GOLD, MOST_HEADS = 10, 4
"""Gold facts of a question; heads in one of its steps.

Heads with a value each are three at most at depth 5 and 6, two at depth 7.
"""
_TRIES = 16
"""Walks among which the other side of a comparison, or as many heads as wanted, are looked for."""
START, END, AT = "start time", "end time", "point in time"
"""KQA Pro's names of qualifiers."""
_MORE, _YEAR_MORE = (
    {"greater": "greater", "less": "smaller"},
    {"greater": "later", "less": "earlier"},
)
_MOST = {"largest": "greatest", "smallest": "smallest"}
_YEAR_MOST = {"largest": "latest", "smallest": "earliest"}
_NUMBER_THAN = {">": "greater than ", "<": "less than "}
_YEAR_THAN = {">": "after ", "<": "before ", "=": ""}


def what(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Where a walk ends."""
    if not (path := walk(world, rng, depth)):
        return None
    return _line(f"What is {path.phrase}?", path.end, path, path.places, "", step("What"))


def query_attr(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """An attribute of where a walk ends."""
    if not (ended := valued(world, rng, depth, lambda a: not a.years)):
        return None
    path, place, attribute, value = ended
    question = f"What is the {attribute.name} of {path.phrase}?"
    key = world.facts[place].key
    places = [*path.places, place]
    return _line(question, told(attribute, value), path, places, key, step("QueryAttr", key))


def query_attr_under_condition(
    world: World, rng: random.Random, depth: int, truth: bool
) -> Draft | None:
    """An attribute in one of the years of which it is stated."""
    if not (ended := valued(world, rng, depth, lambda a: bool(a.years))):
        return None
    path, place, attribute, value = ended
    fact = world.facts[place]
    question = f"What was the {attribute.name} of {path.phrase} in {fact.years[0]}?"
    last = step("QueryAttrUnderCondition", fact.relation, AT, fact.years[0])
    return _of_years(world, question, told(attribute, value), path, place, last)


def query_attr_qualifier(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """The year in which an attribute had a value."""
    if not (ended := valued(world, rng, depth, lambda a: bool(a.years))):
        return None
    path, place, attribute, value = ended
    fact, shown = world.facts[place], told(attribute, value)
    question = f"In which year was the {attribute.name} of {path.phrase} {shown}?"
    last = step("QueryAttrQualifier", fact.relation, shown, AT)
    return _of_years(world, question, fact.years[0], path, place, last)


def query_relation(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """How two entities are related, between which there is one fact."""
    path = walk(world, rng, depth - 1)
    if not path or not (lead := onward(world, rng, path)):
        return None
    name, end, place = lead
    facts = [world.facts[i] for i in world.about[path.end]]
    if sum(end in (fact.head, fact.tail) for fact in facts) > 1:
        return None
    question = f"How is {path.phrase} related to {end}?"
    answer = name.replace("_", " ")
    return _between(question, answer, path, name, end, place, step("QueryRelation"))


def query_relation_qualifier(
    world: World, rng: random.Random, depth: int, truth: bool
) -> Draft | None:
    """Since when, or until when, two entities were so related."""
    path = walk(world, rng, depth - 1)
    if not path or not (lead := onward(world, rng, path, lasting=True)):
        return None
    name, end, place = lead
    first = rng.random() < 0.5
    asks = world.vocabulary.relations[name].asks.format(x=path.phrase, t=end)
    question = f"{'Since' if first else 'Until'} when {asks}?"
    answer = world.facts[place].years[0 if first else 1]
    last = step("QueryRelationQualifier", name, START if first else END)
    return _between(question, answer, path, name, end, place, last)


def select_between(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Which end of two walks has more, or less, of an attribute of both."""
    longer = walk(world, rng, depth - 1)
    if not longer or not shared(world, [longer.end]):
        return None
    length = rng.randint(0, min(depth, MOST_GOLD - depth) - 1)
    others = filter(None, (walk(world, rng, length) for _ in range(_TRIES)))
    kind = world.kinds[longer.end]
    other = next((path for path in others if world.kinds[path.end] == kind), None)
    if not other:
        return None
    first, second = rng.sample([longer, other], 2)
    used = [{path.start, path.end, *path.places} for path in (first, second)]
    keys = [] if used[0] & used[1] else shared(world, [first.end, second.end])
    if not keys:
        return None
    key, way = rng.choice(keys), rng.choice(("greater", "less"))
    attribute = world.vocabulary.attributes[key]
    places = [world.forward[key, path.end] for path in (first, second)]
    values = [int(world.facts[place].tail) for place in places]
    if values[0] == values[1]:
        return None
    more = (_YEAR_MORE if attribute.unit == "year" else _MORE)[way]
    question = f"Which one has the {more} {attribute.name}, {first.phrase} or {second.phrase}?"
    answer = (first if (values[0] > values[1]) == (way == "greater") else second).end
    paths = [(path, [*path.places, place])
             for path, place in zip((first, second), places, strict=True)]  # fmt: skip
    return Draft(
        question, answer, [edge for _, line in paths for edge in in_line(line)],
        [Chain(path.start, path.relations, key) for path, _ in paths],
        steps(first.program, second.program, [step("SelectBetween", key, way)]),
        [*first.places, *second.places, *places],
    )  # fmt: skip


def select_among(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Which of all that lead to where a walk ends has the most, or the least, of an attribute."""
    most = min(MOST_HEADS, (MOST_GOLD - depth + 2) // 2)
    if not (fan := fanned(world, rng, depth - 2, 2, most)):
        return None
    path, name, places = fan
    heads = [world.facts[place].head for place in places]
    if not (keys := shared(world, heads)):
        return None
    key, way = rng.choice(keys), rng.choice(("largest", "smallest"))
    attribute = world.vocabulary.attributes[key]
    ends = [world.forward[key, head] for head in heads]
    values = [int(world.facts[end].tail) for end in ends]
    if len({*values}) < len(values):
        return None
    among = world.vocabulary.relations[name].heads.format(x=path.phrase)
    most_of = (_YEAR_MOST if attribute.unit == "year" else _MOST)[way]
    question = f"Which of the {among} has the {most_of} {attribute.name}?"
    answer = heads[values.index(max(values) if way == "largest" else min(values))]
    last = step("SelectAmong", key, way)
    return _fan(world, question, answer, fan, [*zip(places, ends, strict=True)], key, last)


def count(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """How many lead to where a walk ends."""
    # Else half of all answers were 1.
    heads = rng.randint(1, min(MOST_HEADS, MOST_GOLD - depth + 1))
    fans = (fanned(world, rng, depth - 1, heads, heads) for _ in range(_TRIES))
    if not (fan := next(filter(None, fans), None)):
        return None
    path, name, places = fan
    among = world.vocabulary.relations[name].heads.format(x=path.phrase)
    question = f"How many {among} are there?"
    return _fan(world, question, len(places), fan, [], "", step("Count"))


def verify_str(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Whether a walk ends in an entity; else that is another fact's end, which pools hold too."""
    path = walk(world, rng, depth - 1)
    if not path or not (lead := onward(world, rng, path)):
        return None
    name, end, place = lead
    if (other := unlike(world, rng, name, {*met(world, path), end})) is None:
        return None
    shown = end if truth else str(world.facts[other].tail)
    asks = world.vocabulary.relations[name].asks.format(x=path.phrase, t=shown)
    return Draft(
        f"{asks[0].upper()}{asks[1:]}?", "yes" if truth else "no", in_line([*path.places, place]),
        [Chain(path.start, (*path.relations, name))],
        steps([*path.program, step("Relate", name, "forward"), step("What"),
               step("VerifyStr", shown)]),
        [*path.places, place], near=[other],
    )  # fmt: skip


def verify_num(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Whether a number that is no year is greater or less than another."""
    ended = valued(world, rng, depth, lambda a: not a.years and a.unit != "year")
    return ended and _verified(world, rng, truth, *ended, "VerifyNum", _NUMBER_THAN)


def verify_year(world: World, rng: random.Random, depth: int, truth: bool) -> Draft | None:
    """Whether a year is before or after another, or is that one."""
    ended = valued(world, rng, depth, lambda a: a.unit == "year")
    return ended and _verified(world, rng, truth, *ended, "VerifyYear", _YEAR_THAN)


TYPES: dict[str, Asks] = {
    "What": what,
    "QueryAttr": query_attr,
    "QueryRelation": query_relation,
    "QueryAttrQualifier": query_attr_qualifier,
    "QueryRelationQualifier": query_relation_qualifier,
    "QueryAttrUnderCondition": query_attr_under_condition,
    "SelectBetween": select_between,
    "SelectAmong": select_among,
    "Count": count,
    "VerifyStr": verify_str,
    "VerifyNum": verify_num,
    "VerifyYear": verify_year,
}


def _line(
    question: str, answer: str | int, path: Walk, places: list[int], key: str, *last: Step
) -> Draft:
    chains = [Chain(path.start, path.relations, key)]
    program = steps([*path.program, *last])
    return Draft(question, answer, in_line(places), chains, program, places)


def _of_years(
    world: World, question: str, answer: str | int, path: Walk, place: int, last: Step
) -> Draft:
    fact = world.facts[place]
    draft = _line(question, answer, path, [*path.places, place], fact.key, last)
    years = [i for _, i in world.stated[fact.head] if world.facts[i].relation == fact.relation]
    return replace(draft, near=[i for i in years if i != place])


def _between(
    question: str, answer: str | int, path: Walk, name: str, end: str, place: int, last: Step
) -> Draft:
    places = [*path.places, place]
    chains = [Chain(path.start, (*path.relations, name))]
    program = steps(path.program, [step("Find", end)], [last])
    return Draft(question, answer, in_line(places), chains, program, places)


def _fan(
    world: World, question: str, answer: str | int, fan: tuple[Walk, str, list[int]],
    values: Sequence[Edge], key: str, last: Step,
) -> Draft:  # fmt: skip
    path, name, places = fan
    root = path.places[-1] if path.places else ROOT
    edges = [*in_line(path.places), *((root, place) for place in places), *values]
    walked = [Chain(path.start, path.relations)] if path.places else []
    kind = world.vocabulary.relations[name].head
    program = [*path.program, step("Relate", name, "backward"), step("FilterConcept", kind), last]
    return Draft(
        question, answer, edges, [*walked, Chain(path.end, (name,), key, inverse=True)],
        steps(program), [*path.places, *places, *(end for _, end in values)],
    )  # fmt: skip


def _verified(
    world: World, rng: random.Random, truth: bool, path: Walk, place: int, attribute: Attribute,
    value: int, function: str, than: dict[str, str],
) -> Draft | None:  # fmt: skip
    sign, key = rng.choice([*than]), world.facts[place].key
    away = rng.randint(1, max(1, (attribute.most - attribute.least) // 8))
    limit = value - away if (sign == ">") == truth else value + away
    near = []
    if sign == "=":
        if (other := unlike(world, rng, key, {value})) is None:
            return None
        near, limit = [other], value if truth else int(world.facts[other].tail)
    if not attribute.least <= limit <= attribute.most:
        return None
    shown = told(attribute, limit)
    question = f"Is the {attribute.name} of {path.phrase} {than[sign]}{shown}?"
    last = [step("QueryAttr", key), step(function, shown, sign)]
    draft = _line(question, "yes" if truth else "no", path, [*path.places, place], key, *last)
    return replace(draft, near=near)
