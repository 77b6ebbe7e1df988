"""An invented world as a database of one-sentence facts (arXiv 2305.14211 §2; the worlds are ours).

A world is drawn from its split and number alone: the same in every process.
"""

import random
from collections import defaultdict
from dataclasses import dataclass

from workbench import arguments
from workbench.worlds.names import SPLITS, named
from workbench.worlds.relations import ATTRIBUTES, COUNTS, RELATIONS

RELATED, VALUED = 0.85, 0.9
"""How many of the entities of its kind a relation has, and an attribute."""
MOST_SIZE = 2000.0
"""Times the entities of size 1, which has some 700 facts."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`text`; what it says: `relation` (or attribute) of `head` is `tail` (an entity, a number)."""

    text: str
    relation: str
    head: str
    tail: str | int


def sized(size: float) -> str:
    """How names tell a world of another size than 1."""
    return "" if f"{size:g}" == "1" else f"-x{size:g}"


class World:
    """Facts, by all that questions ask of them.

    `name`: split, size where it is not 1, number. `facts`: all, in the order in which they were
    drawn. `members`: kind → entities. `kinds`: entity → its kind. `forward`: (relation or
    attribute, head) → place of its one fact. `backward`: (relation, tail) → places of the facts
    that end there. `about`: entity → places of all facts about it. `of`: relation or attribute →
    places.
    """

    def __init__(self, split: str, number: int, size: float = 1.0) -> None:
        """Draw a world. Raises `ValueError` for an unknown split, or a size that is none.

        >>> World("test", 1).facts[0].text
        """
        arguments.one_of("split", split, SPLITS)
        arguments.whole("number", number, 0)
        arguments.finite("size", size, above=0, most=MOST_SIZE)
        self.name = f"{split}{sized(size)}-{number}"
        rng = random.Random(f"{split}-{number} {size:g}")
        counts = {kind: max(4, round(count * size)) for kind, count in COUNTS.items()}
        self.members = named(rng, split, counts)
        self.kinds = {name: kind for kind, names in self.members.items() for name in names}
        self.facts: list[Fact] = []
        self.forward: dict[tuple[str, str], int] = {}
        self.backward: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.about: dict[str, list[int]] = defaultdict(list)
        self.of: dict[str, list[int]] = defaultdict(list)
        for name, relation in RELATIONS.items():
            tails = self.members[relation.tail]
            for head in self.members[relation.head]:
                tail = rng.choice(tails)
                if rng.random() < RELATED and tail != head:
                    sentence = rng.choice(relation.sentences).format(h=head, t=tail)
                    self._add(Fact(sentence, name, head, tail))
        for name, attribute in ATTRIBUTES.items():
            for head in self.members[attribute.head]:
                value = rng.randint(attribute.least, attribute.most)
                if rng.random() < VALUED:
                    sentence = rng.choice(attribute.sentences).format(h=head, v=value)
                    self._add(Fact(sentence, name, head, value))

    def _add(self, fact: Fact) -> None:
        place = len(self.facts)
        self.facts.append(fact)
        self.forward[fact.relation, fact.head] = place
        self.of[fact.relation].append(place)
        self.about[fact.head].append(place)
        if isinstance(fact.tail, str):
            self.backward[fact.relation, fact.tail].append(place)
            self.about[fact.tail].append(place)
