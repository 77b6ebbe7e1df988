"""Invented names, of which no two splits share any: each split has beginnings of its own."""

import random
from collections.abc import Iterator, Mapping

SYLLABLES = (
    "ba be bo bra bri da del dor fa fen ga gil go ha hel ja jo ka kel ki la len li lo ma mer mi "
    "mo na nel no pa per po qua ra ren ri ro sa sel si so ta tel ti to va vel vi wa wen xa ya yor "
    "za zi zo"
).split()
ENDINGS = [*SYLLABLES, "ld", "lia", "nd", "rin", "ssa", "th", "um"]
ADJECTIVES = (
    "amber ancient bitter blue borrowed brazen bright broken burning calm clever cold copper "
    "crimson crooked dark distant double early empty fallen final first gentle gilded golden green "
    "grey hidden hollow humble idle iron last late lonely long lost lucky marble midnight narrow "
    "new noble northern odd pale paper patient plain quiet restless rough salted scarlet secret "
    "seventh silent silver slow southern stolen stone strange sunken tall third velvet violet "
    "western white wild winter wooden yellow young"
).split()
NOUNS = (
    "anchor anthem apple arrow atlas attic ballad barrel beacon bell bridge candle canyon castle "
    "cellar chapel circus clock coat comet compass corner crown dance dream engine falcon feather "
    "fence ferry field flute forest fountain garden gate glacier harbor harvest hotel island jewel "
    "journey kettle key kingdom ladder lantern ledger letter library lighthouse map market meadow "
    "mirror mountain needle ocean orchard palace piano pilot quarry raven ribbon river road "
    "saddle sailor shadow signal sparrow station summer tower trumpet valley village violin wheel "
    "window winter"
).split()
SPLITS = ("train", "dev", "test")
CALLED = {
    "company": ("Labs", "Works", "Foundry", "Group", "Motors", "Textiles"),
    "university": ("Institute", "College", "Academy", "University"),
    "region": ("Province", "Highlands", "County", "Lowlands"),
    "award": ("Prize", "Medal", "Award"),
    "band": ("Quartet", "Ensemble", "Band", "Choir"),
    "team": ("Rovers", "United", "Wanderers", "Athletic"),
    "museum": ("Museum", "Gallery", "Collection"),
    "river": ("River", "Creek", "Stream"),
}
"""What stands behind the name of an entity of these kinds."""
_MANY = 0.2
"""Share of all words of a length beyond which longer ones are made, too."""


class Names:
    """Draws names that nobody in the world has yet, from the beginnings of one split."""

    def __init__(self, rng: random.Random, split: str) -> None:
        self.rng, self.used = rng, set[str]()
        part = SPLITS.index(split)
        self.first, self.adjectives, self.nouns = (
            words[part :: len(SPLITS)] for words in (SYLLABLES, ADJECTIVES, NOUNS)
        )

    def word(self) -> str:
        """A new word of two or three syllables; of more once many of those are used."""
        longest = 3
        while len(self.used) > _MANY * len(self.first) * len(ENDINGS) ** (longest - 1):
            longest += 1
        choice = self.rng.choice
        while True:
            middle = [choice(SYLLABLES) for _ in range(self.rng.randrange(longest - 1))]
            word = "".join([choice(self.first), *middle, choice(ENDINGS)]).capitalize()
            if len(word) > 3 and word not in self.used:
                self.used.add(word)
                return word

    def people(self, count: int) -> Iterator[str]:
        """Yield given and family name; people share either, never both."""
        given, family = (
            [self.word() for _ in range(least + round(3 * count**0.5 - 25) * (count > 70))]
            for least in (24, 30)
        )
        yield from self._pairs(count, given, family, "{} {}")

    def films(self, count: int) -> Iterator[str]:
        """Yield titles: an adjective and a noun; with a name behind once those are used up."""
        adjectives = [word.capitalize() for word in self.adjectives]
        nouns = [word.capitalize() for word in self.nouns]
        short = min(count, len(adjectives) * len(nouns) // 2)
        yield from self._pairs(short, adjectives, nouns, "The {} {}")
        for _ in range(count - short):
            yield f"The {self.rng.choice(adjectives)} {self.rng.choice(nouns)} of {self.word()}"

    def books(self, count: int) -> Iterator[str]:
        """Yield titles: a noun, and a word of its own behind it."""
        for _ in range(count):
            yield f"{self.rng.choice(self.nouns).capitalize()} of {self.word()}"

    def called(self, count: int, behind: tuple[str, ...]) -> Iterator[str]:
        """Yield a word of its own, and what stands behind it where anything does."""
        for _ in range(count):
            yield " ".join([self.word(), *([self.rng.choice(behind)] if behind else [])])

    def _pairs(self, count: int, first: list[str], second: list[str], form: str) -> Iterator[str]:
        while count:
            name = form.format(self.rng.choice(first), self.rng.choice(second))
            if name not in self.used:
                self.used.add(name)
                count -= 1
                yield name


def named(rng: random.Random, split: str, counts: Mapping[str, int]) -> dict[str, list[str]]:
    """Kind → as many new names of that kind."""
    names = Names(rng, split)
    titled = {"person": names.people, "film": names.films, "book": names.books}
    return {
        kind: [*(titled[kind](n) if kind in titled else names.called(n, CALLED.get(kind, ())))]
        for kind, n in counts.items()
    }
