"""Questions over a world with the graph of facts that answers each: twelve families.

A family gives a `Draft`, or None where this draw meets no such question (arXiv 2305.14211 gives
kinds of reasoning and shapes; families and wordings are ours).
"""

import random
from collections.abc import Callable, Sequence

from workbench.retrieval.graphs import ROOT
from workbench.worlds.facts import World
from workbench.worlds.relations import ATTRIBUTES, GRAPHHOP, RELATIONS
from workbench.worlds.walks import Chain, Draft, Walk, in_line, step, steps, walk

KINDS = GRAPHHOP.kinds
BY_HEAD = {kind: [n for n, r in RELATIONS.items() if r.head == kind] for kind in KINDS}
BY_TAIL = {kind: [n for n, r in RELATIONS.items() if r.heads and r.tail == kind] for kind in KINDS}
VALUES = {kind: [n for n, a in ATTRIBUTES.items() if a.head == kind] for kind in KINDS}
INVERSE = [name for name, relation in RELATIONS.items() if relation.heads]
SHARED = [kind for kind in KINDS if sum(name in INVERSE for name in BY_HEAD[kind]) > 1]
"""Kinds whose entities can be told by two relations together."""
MOST_HEADS = 4


def known_value(world: World, rng: random.Random, entity: str) -> tuple[str, int] | None:
    """An attribute that the world states of an entity, and its place."""
    stated = world.stated.get(entity)
    return rng.choice(stated) if stated else None


def lookup_attribute(world: World, rng: random.Random) -> Draft | None:
    entity = rng.choice(world.members[rng.choice(KINDS)])
    if not (value := known_value(world, rng, entity)):
        return None
    name, place = value
    program = steps([step("Find", entity), step("QueryAttr", name)])
    question = f"What is the {ATTRIBUTES[name].name} of {entity}?"
    chains = [Chain(entity, (), name)]
    return Draft(question, world.facts[place].tail, [(ROOT, place)], chains, program)


def _end(world: World, path: Walk) -> Draft:
    program = steps([*path.program, step("What")])
    chains = [Chain(path.start, path.relations)]
    return Draft(f"What is {path.phrase}?", path.end, in_line(path.places), chains, program)


def _end_value(world: World, rng: random.Random, path: Walk) -> Draft | None:
    if not (value := known_value(world, rng, path.end)):
        return None
    name, place = value
    question = f"What is the {ATTRIBUTES[name].name} of {path.phrase}?"
    program = steps([*path.program, step("QueryAttr", name)])
    edges, chains = in_line([*path.places, place]), [Chain(path.start, path.relations, name)]
    return Draft(question, world.facts[place].tail, edges, chains, program)


def lookup_relation(world: World, rng: random.Random) -> Draft | None:
    path = walk(world, rng, 1)
    return path and _end(world, path)


def _bridge(world: World, rng: random.Random, hops: int) -> Draft | None:
    valued = rng.random() < 0.5
    path = walk(world, rng, hops - valued)
    if not path:
        return None
    return _end_value(world, rng, path) if valued else _end(world, path)


def bridge_of_two(world: World, rng: random.Random) -> Draft | None:
    return _bridge(world, rng, 2)


def bridge_of_three(world: World, rng: random.Random) -> Draft | None:
    return _bridge(world, rng, 3)


def verify_number(world: World, rng: random.Random) -> Draft | None:
    draft = lookup_attribute(world, rng)
    if not draft:
        return None
    chain, value = draft.chains[0], int(draft.answer)
    above, attribute = rng.random() < 0.5, ATTRIBUTES[draft.chains[0].attribute]
    away = rng.randint(1, max(2, min(value, attribute.most - attribute.least) // 6))
    limit = value - away if above else value + away
    question = f"Is the {attribute.name} of {chain.start} greater than {limit}?"
    lookup = [step("Find", chain.start), step("QueryAttr", chain.attribute)]
    program = steps([*lookup, step("VerifyNum", limit, ">")])
    return Draft(question, "yes" if above else "no", draft.edges, draft.chains, program)


def verify_name(world: World, rng: random.Random) -> Draft | None:
    path = walk(world, rng, rng.choice((1, 2)))
    if not path:
        return None
    right = rng.random() < 0.5
    shown = path.end if right else rng.choice(world.members[world.kinds[path.end]])
    if not right and shown == path.end:
        return None
    program = steps([*path.program, step("What"), step("VerifyStr", shown)])
    chains = [Chain(path.start, path.relations)]
    question, answer = f"Is {shown} {path.phrase}?", "yes" if right else "no"
    return Draft(question, answer, in_line(path.places), chains, program)


def _compared(world: World, rng: random.Random, paths: Sequence[Walk]) -> Draft | None:
    """Which of two ends has more of an attribute that both have."""
    first, second = paths
    used = [{path.start, path.end, *path.places} for path in paths]
    if world.kinds[first.end] != world.kinds[second.end] or used[0] & used[1]:
        return None
    both = [n for n in VALUES[world.kinds[first.end]]
            if all((n, path.end) in world.forward for path in paths)]  # fmt: skip
    if not both:
        return None
    name = rng.choice(both)
    places = [world.forward[name, path.end] for path in paths]
    values = [world.facts[place].tail for place in places]
    if values[0] == values[1]:
        return None
    edges = [e for path, place in zip(paths, places, strict=True)
             for e in in_line([*path.places, place])]  # fmt: skip
    question = f"Which one {ATTRIBUTES[name].more}, {first.phrase} or {second.phrase}?"
    answer = (first if int(values[0]) > int(values[1]) else second).end
    chains = [Chain(path.start, path.relations, name) for path in paths]
    chosen = [step("SelectBetween", name, "greater")]
    return Draft(question, answer, edges, chains, steps(first.program, second.program, chosen))


def compare(world: World, rng: random.Random) -> Draft | None:
    names = world.members[rng.choice(KINDS)]
    return _compared(world, rng, [Walk(n, (), [], n, n) for n in rng.sample(names, 2)])


def compare_bridge(world: World, rng: random.Random) -> Draft | None:
    paths = [walk(world, rng, rng.choice((1, 1, 2))) for _ in range(2)]
    return _compared(world, rng, [path for path in paths if path]) if all(paths) else None


def intersect(world: World, rng: random.Random) -> Draft | None:
    kind = rng.choice(SHARED)
    entity = rng.choice(world.members[kind])
    known = [n for n in BY_HEAD[kind] if n in INVERSE and (n, entity) in world.forward]
    value = known_value(world, rng, entity)
    if len(known) < 2 or not value:
        return None
    names, (attribute, last) = rng.sample(known, 2), value
    places = [world.forward[name, entity] for name in names]
    tails = [str(world.facts[place].tail) for place in places]
    heads = [{world.facts[i].head for i in world.backward[name, tail]}
             for name, tail in zip(names, tails, strict=True)]  # fmt: skip
    if len(heads[0] & heads[1]) > 1 or len(heads[0]) == 1 or len(heads[1]) == 1:
        return None
    told = [RELATIONS[n].which.format(x=tail) for n, tail in zip(names, tails, strict=True)]
    question = f"What is the {ATTRIBUTES[attribute].name} of the {kind} {told[0]} and {told[1]}?"
    edges = [*((ROOT, place) for place in places), *((place, last) for place in places)]
    chains = [Chain(tail, (name,), attribute, inverse=True)
              for name, tail in zip(names, tails, strict=True)]  # fmt: skip
    branches = [[step("Find", tail), step("Relate", name, "backward")]
                for name, tail in zip(names, tails, strict=True)]  # fmt: skip
    program = steps(*branches, [step("And"), step("QueryAttr", attribute)])
    return Draft(question, world.facts[last].tail, edges, chains, program)


def _heads(world: World, rng: random.Random, least: int) -> tuple[str, str, list[int]] | None:
    name = rng.choice(INVERSE)
    tail = rng.choice(world.members[RELATIONS[name].tail])
    places = world.backward.get((name, tail), [])
    return (name, tail, places) if least <= len(places) <= MOST_HEADS else None


def count(world: World, rng: random.Random) -> Draft | None:
    if not (heads := _heads(world, rng, 2)):
        return None
    name, tail, places = heads
    question = f"How many {RELATIONS[name].heads.format(x=tail)} are there?"
    program = steps([step("Find", tail), step("Relate", name, "backward"), step("Count")])
    chains = [Chain(tail, (name,), inverse=True)]
    return Draft(question, len(places), [(ROOT, i) for i in places], chains, program)


def count_bridge(world: World, rng: random.Random) -> Draft | None:
    path = walk(world, rng, 1)
    if not path:
        return None
    names = [n for n in BY_TAIL[world.kinds[path.end]]
             if n not in path.relations and (n, path.end) in world.backward]  # fmt: skip
    if not names:
        return None
    name = rng.choice(names)
    places = world.backward[name, path.end]
    if len(places) > MOST_HEADS:
        return None
    question = f"How many {RELATIONS[name].heads.format(x=path.phrase)} are there?"
    edges = [(ROOT, path.places[0]), *((path.places[0], i) for i in places)]
    chains = [Chain(path.start, path.relations), Chain(path.end, (name,), inverse=True)]
    program = steps([*path.program, step("Relate", name, "backward"), step("Count")])
    return Draft(question, len(places), edges, chains, program)


def most_of_heads(world: World, rng: random.Random) -> Draft | None:
    if not (heads := _heads(world, rng, 2)):
        return None
    name, tail, places = heads
    entities = [world.facts[i].head for i in places]
    both = [n for n in VALUES[RELATIONS[name].head]
            if all((n, entity) in world.forward for entity in entities)]  # fmt: skip
    if not both:
        return None
    attribute = rng.choice(both)
    ends = [world.forward[attribute, entity] for entity in entities]
    values = [int(world.facts[i].tail) for i in ends]
    if len({*values}) < len(values):
        return None
    among = RELATIONS[name].heads.format(x=tail)
    question = f"Among the {among}, which one has the highest {ATTRIBUTES[attribute].name}?"
    edges = [e for i, end in zip(places, ends, strict=True) for e in ((ROOT, i), (i, end))]
    chains = [Chain(tail, (name,), attribute, inverse=True)]
    lookup = [step("Find", tail), step("Relate", name, "backward")]
    program = steps([*lookup, step("SelectAmong", attribute, "largest")])
    return Draft(question, entities[values.index(max(values))], edges, chains, program)


FAMILIES: dict[str, Callable[[World, random.Random], Draft | None]] = {
    family.__name__: family
    for family in (
        lookup_attribute, lookup_relation, bridge_of_two, bridge_of_three, compare, compare_bridge,
        intersect, count, count_bridge, most_of_heads, verify_number, verify_name,
    )
}  # fmt: skip
