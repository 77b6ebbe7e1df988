"""What a walk ends in, as the questions about chains need it: a value, a fact onward, all heads.

A draw that meets no such end gives None.
"""

import random
from collections.abc import Callable, Container, Sequence

from workbench.worlds.facts import World
from workbench.worlds.relations import Attribute
from workbench.worlds.walks import Walk, walk


def told(attribute: Attribute, value: int) -> str:
    """A value as KoPL has it: a year, or a number and its unit."""
    return str(value) if attribute.unit in ("", "year") else f"{value} {attribute.unit}"


def valued(
    world: World, rng: random.Random, depth: int, fits: Callable[[Attribute], bool]
) -> tuple[Walk, int, Attribute, int] | None:
    """A walk to a value, `depth` facts with it: place of its fact, its attribute, and itself."""
    if not (path := walk(world, rng, depth - 1)):
        return None
    attributes = world.vocabulary.attributes
    stated = [place for _, place in world.stated.get(path.end, ())
              if fits(attributes[world.facts[place].relation])]  # fmt: skip
    if not stated:
        return None
    place = rng.choice(stated)
    fact = world.facts[place]
    return path, place, attributes[fact.relation], int(fact.tail)


def onward(
    world: World, rng: random.Random, path: Walk, lasting: bool = False
) -> tuple[str, str, int] | None:
    """A relation, the entity, not met before, to which it leads from a walk's end, its place."""
    relations, seen = world.vocabulary.relations, met(world, path)
    leads = [lead for lead in world.leads.get(path.end, ())
             if lead[1] not in seen and (relations[lead[0]].lasts or not lasting)]  # fmt: skip
    return rng.choice(leads) if leads else None


def fanned(
    world: World, rng: random.Random, length: int, least: int, most: int
) -> tuple[Walk, str, list[int]] | None:
    """A walk, a relation whose heads are told by its end, the places of all: `least` to `most`."""
    if not (path := walk(world, rng, length)):
        return None
    seen = met(world, path)
    fans = [(name, places) for name in world.vocabulary.inverse[world.kinds[path.end]]
            if least <= len(places := world.backward.get((name, path.end), [])) <= most
            and seen.isdisjoint(world.facts[i].head for i in places)]  # fmt: skip
    return (path, *rng.choice(fans)) if fans else None


def unlike(world: World, rng: random.Random, key: str, ends: Container[str | int]) -> int | None:
    """The place of a fact of a relation or attribute that leads to none of these ends."""
    places = [place for place in world.of[key] if world.facts[place].tail not in ends]
    return rng.choice(places) if places else None


def met(world: World, path: Walk) -> set[str]:
    """The entities of a walk."""
    facts = [world.facts[place] for place in path.places]
    return {path.start, *(fact.head for fact in facts), *(str(fact.tail) for fact in facts)}


def shared(world: World, entities: Sequence[str]) -> list[str]:
    """The attributes without years that are stated of every one of some entities of a kind."""
    attributes = world.vocabulary.attributes
    return [key for key, _ in world.stated.get(entities[0], ())
            if key in attributes
            and all((key, entity) in world.forward for entity in entities)]  # fmt: skip
