"""Facts followed from one to the next in a world, and the steps of the program that does it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.retrieval.graphs import ROOT, Edge
from workbench.worlds.facts import World

Step = dict[str, Any]
"""One step of a KoPL program: `function`, `inputs`, `dependencies`."""


@dataclass(frozen=True)
class Chain:
    """What a branch of a question asks: `relations` from `start` onward, then an `attribute`.

    `inverse`: its one relation is asked from the tail, which may have several heads.
    """

    start: str
    relations: tuple[str, ...] = ()
    attribute: str = ""
    inverse: bool = False


@dataclass(frozen=True)
class Draft:
    """A question before its pool: edges between places in the world, and what its branches ask.

    `order`: the places as the program reads them, where that is known. `near`: places of what is
    all but gold, as the same of another year, or what a yes or no question takes for the end.
    """

    question: str
    answer: str | int
    edges: list[Edge]
    chains: list[Chain]
    program: list[Step]
    order: Sequence[int] = ()
    near: Sequence[int] = ()


@dataclass(frozen=True)
class Walk:
    """Facts followed from `start` to `end`; `phrase` is the end as a phrase about the start."""

    start: str
    relations: tuple[str, ...]
    places: list[int]
    phrase: str
    end: str

    @property
    def program(self) -> list[Step]:
        """The steps that lead to the end."""
        start = [step("Find", self.start)]
        return start + [step("Relate", name, "forward") for name in self.relations]


def walk(world: World, rng: random.Random, length: int) -> Walk | None:
    """Follow `length` relations from any entity; None at a dead end, or back where it has been."""
    vocabulary = world.vocabulary
    start = entity = rng.choice(world.members[rng.choice(vocabulary.kinds)])
    places, names, seen = [], [], {start}
    for _ in range(length):
        leads = world.leads.get(entity)
        if not leads:
            return None
        name, entity, place = rng.choice(leads)
        if entity in seen:
            return None
        seen.add(entity)
        places.append(place)
        names.append(name)
    phrase = start
    for name in names:
        phrase = vocabulary.relations[name].of.format(x=phrase)
    return Walk(start, tuple(names), places, phrase, entity)


def step(function: str, *inputs: str | int) -> Step:
    """A step that depends on the one before it."""
    return {"function": function, "inputs": [*map(str, inputs)]}


def steps(*branches: list[Step]) -> list[Step]:
    """A program: branches one after another, the last of which begins with what joins them."""
    program: list[Step] = []
    ends = []
    for branch in branches:
        joins = branch is branches[-1]
        for i, part in enumerate(branch):
            before = [len(program) - 1] if i else (ends if joins else [])
            program.append({**part, "dependencies": list(before)})
        ends.append(len(program) - 1)
    return program


def in_line(places: Sequence[int]) -> list[Edge]:
    """The edges of one chain."""
    return [*zip([ROOT, *places], places, strict=False)]
