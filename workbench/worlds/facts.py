"""An invented world as a database of one-sentence facts (arXiv 2305.14211 §2; the worlds are ours).

A world is drawn from its split and number alone: the same in every process.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from workbench import arguments
from workbench.worlds.names import SPLITS, named
from workbench.worlds.relations import GRAPHHOP, Relation, Vocabulary

RELATED, VALUED = 0.85, 0.9
"""How many of the entities of its kind a relation has, and an attribute."""
MOST_SIZE = 2000.0
"""Times the entities of size 1, which has some 700 facts."""
LASTING = range(1978, 2025)
"""Years between which a relation that lasts does so."""


@dataclass(frozen=True, slots=True)
class Fact:
    """`text`; what it says: `relation` (or attribute) of `head` is `tail` (an entity, a number).

    `years`: of a relation that lasts, the first and the last one; of an attribute, the one of which
    it is stated; empty where none is told.
    """

    text: str
    relation: str
    head: str
    tail: str | int
    years: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Its relation or attribute, and the year of which an attribute is stated."""
        return f"{self.relation} in {self.years[0]}" if len(self.years) == 1 else self.relation


def sized(size: float) -> str:
    """How names tell a world of another size than 1."""
    return "" if f"{size:g}" == "1" else f"-x{size:g}"


class World:
    """Facts, by all that questions ask of them.

    `name`: vocabulary, split, size where it is not 1, number. `facts`: all, in the order in which
    they were drawn. `members`: kind → entities. `kinds`: entity → its kind. `forward`: (key, head)
    → place of its one fact, where the head of a symmetric one is either end. `backward`: (relation,
    tail) → places of the facts that end there. `about`: entity → places of all facts about it.
    `leads`, `stated`: entity → (relation, entity it leads to, place) of each of its relations, and
    (key, place) of each of its attributes. `of`: key → places.
    """

    def __init__(
        self, split: str, number: int, size: float = 1.0, vocabulary: Vocabulary = GRAPHHOP
    ) -> None:
        """Draw a world. Raises `ValueError` for an unknown split, or a size that is none.

        >>> World("test", 1).facts[0].text
        """
        arguments.one_of("split", split, SPLITS)
        arguments.whole("number", number, 0)
        arguments.finite("size", size, above=0, most=MOST_SIZE)
        self.name = f"{vocabulary.name}{split}{sized(size)}-{number}"
        self.vocabulary = vocabulary
        rng = random.Random(f"{split}-{number} {size:g}")
        counts = {kind: max(4, round(count * size)) for kind, count in vocabulary.counts.items()}
        self.members = named(rng, split, counts)
        self.kinds = {name: kind for kind, names in self.members.items() for name in names}
        self.facts: list[Fact] = []
        self.forward: dict[tuple[str, str | int], int] = {}
        self.backward: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.about: dict[str, list[int]] = defaultdict(list)
        self.leads: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        self.stated: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.of: dict[str, list[int]] = defaultdict(list)
        for name, relation in vocabulary.relations.items():
            for head, tail in self._related(relation, rng):
                years = sorted(rng.sample(LASTING, 2)) if relation.lasts else ()
                self._state(name, head, tail, vocabulary.sentence(relation, rng), *years)
                self._lead(name, head, tail)
                self.about[tail].append(len(self.facts) - 1)
                if relation.symmetric:
                    self._lead(name, tail, head)
        for name, attribute in vocabulary.attributes.items():
            span, among = range(attribute.least, attribute.most + 1), attribute.years
            for head in self.members[attribute.head]:
                years = sorted(rng.sample(among, 2)) if among else ()
                values = rng.sample(span, 2) if among else [rng.choice(span)]
                if rng.random() < VALUED:
                    for i, value in enumerate(values):
                        sentence = vocabulary.sentence(attribute, rng)
                        key = self._state(name, head, value, sentence, *years[i : i + 1])
                        place = self.forward[key, head] = len(self.facts) - 1
                        self.stated[head].append((key, place))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All facts' sentences; one tuple for all questions over them."""
        return tuple(fact.text for fact in self.facts)

    def _related(self, relation: Relation, rng: random.Random) -> Iterator[tuple[str, str]]:
        heads, tails = self.members[relation.head], self.members[relation.tail]
        if relation.symmetric:
            order = rng.sample(heads, len(heads))
            yield from (p for p in zip(order[::2], order[1::2], strict=False)
                        if rng.random() < RELATED)  # fmt: skip
            return
        for head in heads:
            tail = rng.choice(tails)
            if rng.random() < RELATED and tail != head:
                yield head, tail

    def _state(self, relation: str, head: str, tail: str | int, sentence: str, *years: int) -> str:
        """Add a fact in a sentence; its key."""
        first, last = (years[0], years[-1]) if years else (0, 0)
        text = sentence.format(h=head, t=tail, v=tail, s=first, e=last, y=first)
        fact = Fact(text, relation, head, tail, years)
        self.of[key := fact.key].append(len(self.facts))
        self.about[head].append(len(self.facts))
        self.facts.append(fact)
        return key

    def _lead(self, relation: str, head: str, tail: str) -> None:
        place = len(self.facts) - 1
        self.forward[relation, head] = place
        self.backward[relation, tail].append(place)
        self.leads[head].append((relation, tail, place))
