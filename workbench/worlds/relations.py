"""What invented worlds of facts speak of, and how it is put into words; graph-hop's vocabulary.

Twelve relations, ten attributes, in sentences of both word orders; ours, as arXiv 2305.14211 gives
none. None is symmetric: of two facts about one marriage either would answer whom somebody wed.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Relation:
    """From a `head` to a `tail`, both kinds of entity.

    `sentences`: facts, with `{h}` and `{t}`, and where it lasted from one year to another with
    `{s}` and `{e}`. `of`: the tail as a phrase about the head, `{x}`. `heads`: all heads of one
    tail, `{x}`, as a phrase; empty where nobody would say it. `which`: what makes a head one of
    them, behind its kind. `asks`: whether `{x}` is so related to `{t}`. `symmetric`: it holds both
    ways, and of one entity once.
    """

    head: str
    tail: str
    sentences: tuple[str, ...]
    of: str
    heads: str = ""
    which: str = ""
    asks: str = ""
    symmetric: bool = False

    @property
    def lasts(self) -> bool:
        """Whether its facts say from which year until which."""
        return "{s}" in self.sentences[0]


@dataclass(frozen=True)
class Attribute:
    """A whole number between `least` and `most` of every entity of the kind `head`.

    `sentences`: facts, with `{h}` and `{v}`. `name`: the attribute as a phrase. `more`: what the
    entity of the larger value does. `unit`: what is counted, `"year"` where the number is one.
    `years`: those of two of which it is stated, each with a value of its own, behind `{y}`.
    """

    head: str
    sentences: tuple[str, ...]
    name: str
    more: str
    least: int
    most: int
    unit: str = ""
    years: tuple[int, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Relations, attributes, and entities of each kind in a world of size 1.

    `held_out`: how the last sentence of each relation and attribute is used: `None`, as any other;
    `False`, never; `True`, alone. Worlds of one number differ by it in words only, where it is no
    `None`. `name`: what tells its worlds.
    """

    relations: Mapping[str, Relation]
    attributes: Mapping[str, Attribute]
    counts: Mapping[str, int]
    name: str = ""
    held_out: bool | None = None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of entities that are the head of a relation."""
        return tuple(dict.fromkeys(relation.head for relation in self.relations.values()))

    @cached_property
    def inverse(self) -> dict[str, list[str]]:
        """Kind → relations whose heads are told by a tail of it."""
        return {
            kind: [n for n, r in self.relations.items() if r.heads and r.tail == kind]
            for kind in self.counts
        }

    def sentence(self, of: Relation | Attribute, rng: random.Random) -> str:
        """Draw one of the sentences that are used."""
        if self.held_out is None:
            return rng.choice(of.sentences)
        drawn = rng.choice(of.sentences[:-1])
        return of.sentences[-1] if self.held_out else drawn


COUNTS = {
    "person": 70, "city": 24, "country": 8, "company": 24, "university": 12, "film": 40,
}  # fmt: skip
"""Entities of each kind in a world of size 1."""
RELATIONS = {
    "born_in": Relation(
        "person", "city",
        ("{h} was born in {t}.", "{t} is where {h} was born.", "The birthplace of {h} is {t}."),
        "the birthplace of {x}", "people born in {x}", "who was born in {x}",
    ),
    "employer": Relation(
        "person", "company",
        ("{h} works for {t}.", "{t} employs {h}.", "{h} earns a living at {t}."),
        "the employer of {x}", "people who work for {x}", "who works for {x}",
    ),
    "studied_at": Relation(
        "person", "university",
        ("{h} studied at {t}.", "{t} lists {h} among its graduates.", "{h} took a degree at {t}."),
        "the university where {x} studied", "graduates of {x}", "who studied at {x}",
    ),
    "mentor": Relation(
        "person", "person",
        ("{h} was trained by {t}.", "{t} is the mentor of {h}.", "{t} took {h} as an apprentice."),
        "the mentor of {x}",
    ),
    "founded_by": Relation(
        "company", "person",
        ("{h} was founded by {t}.", "{t} founded {h}.", "{t} is the founder of {h}."),
        "the founder of {x}", "companies founded by {x}", "founded by {x}",
    ),
    "hq_in": Relation(
        "company", "city",
        ("{h} is based in {t}.", "{t} is the seat of {h}.", "{h} has its head office in {t}."),
        "the city where {x} is based", "companies based in {x}", "based in {x}",
    ),
    "located_in": Relation(
        "city", "country",
        ("{h} lies in {t}.", "{h} is a city of {t}.", "{t} counts {h} among its cities."),
        "the country where {x} lies", "cities of {x}", "of {x}",
    ),
    "capital": Relation(
        "country", "city",
        ("The capital of {h} is {t}.", "{t} is the capital of {h}.", "{h} is governed from {t}."),
        "the capital of {x}",
    ),
    "uni_city": Relation(
        "university", "city",
        ("{h} stands in {t}.", "{t} is home to {h}.", "The campus of {h} is in {t}."),
        "the city that is home to {x}", "universities in {x}", "in {x}",
    ),
    "rector": Relation(
        "university", "person",
        ("The rector of {h} is {t}.", "{t} is rector of {h}.", "{h} is led by {t}."),
        "the rector of {x}",
    ),
    "directed_by": Relation(
        "film", "person",
        ("{h} was directed by {t}.", "{t} directed {h}.", "The director of {h} is {t}."),
        "the director of {x}", "films directed by {x}", "directed by {x}",
    ),
    "produced_by": Relation(
        "film", "company",
        ("{h} was produced by {t}.", "{t} produced {h}.", "The producer of {h} is {t}."),
        "the producer of {x}", "films produced by {x}", "produced by {x}",
    ),
}  # fmt: skip
ATTRIBUTES = {
    "birth_year": Attribute(
        "person", ("{h} came into the world in {v}.", "The birth year of {h} is {v}."),
        "birth year", "was born later", 1930, 2004,
    ),
    "height": Attribute(
        "person", ("{h} is {v} centimetres tall.", "The height of {h} is {v} centimetres."),
        "height in centimetres", "is taller", 150, 205,
    ),
    "founding_year": Attribute(
        "company", ("{h} was set up in {v}.", "The founding year of {h} is {v}."),
        "founding year", "was founded later", 1880, 2015,
    ),
    "employees": Attribute(
        "company", ("{h} has {v} employees.", "The staff of {h} numbers {v}."),
        "number of employees", "has more employees", 20, 9000,
    ),
    "population": Attribute(
        "city", ("{h} has {v} inhabitants.", "The population of {h} is {v}."),
        "population", "has more inhabitants", 3000, 900000,
    ),
    "elevation": Attribute(
        "city", ("{h} lies {v} metres above the sea.", "The elevation of {h} is {v} metres."),
        "elevation in metres", "lies higher", 1, 2400,
    ),
    "area": Attribute(
        "country",
        ("{h} covers {v} square kilometres.", "The area of {h} is {v} square kilometres."),
        "area in square kilometres", "is larger", 2000, 900000,
    ),
    "students": Attribute(
        "university", ("{h} has {v} students.", "The students of {h} number {v}."),
        "number of students", "has more students", 300, 40000,
    ),
    "release_year": Attribute(
        "film", ("{h} came out in {v}.", "The release year of {h} is {v}."),
        "release year", "came out later", 1950, 2023,
    ),
    "runtime": Attribute(
        "film", ("{h} runs for {v} minutes.", "The runtime of {h} is {v} minutes."),
        "runtime in minutes", "is longer", 70, 210,
    ),
}  # fmt: skip
GRAPHHOP = Vocabulary(RELATIONS, ATTRIBUTES, COUNTS)
