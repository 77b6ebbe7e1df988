"""Pens and coins: stories in which something has to be read before it can be computed.

A story of pens holds two numbers; its reply writes them down as a sum or a difference, then the
result. A story of coins says who flips one; its reply writes 1 for everybody who does and 0 for
everybody who does not, then whether the ones are odd (arXiv 2304.01665, §5: 1 is no longer heads).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

NAMES = tuple("Ann Bob Eve Sam Tom Lea Max Ida Ben Joy Kim Roy".split())
THINGS = ("pens", "cards", "books", "hats")
DIGITS = (1, 2, 3, 4)
"""Digits of the numbers that a model is taught to read."""
FLIPS = (2, 3, 4)
"""People of the stories of coins that it is taught, as published."""
COIN_STORIES = 1500
"""Different stories of coins that it is taught, as published."""
ARROW = " ->"


@dataclass(frozen=True)
class Story:
    """`text`: what is told. `read`: what a reply has to read off it. `answer`: what follows."""

    text: str
    read: str
    answer: str


def number(rng: random.Random, digits: int) -> int:
    """A number of so many digits; 0 is none."""
    return rng.randint(10 ** (digits - 1), 10**digits - 1)


def pens(rng: random.Random, digits: int) -> Story:
    """A story of two numbers of so many digits, to be added or, the larger first, subtracted."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    a, b = (number(rng, digits) for _ in range(2))
    if rng.random() < 0.5:
        text, read, answer = f"{name} has {a} {thing} and gets {b} more.", f"{a}+{b}", a + b
    else:
        a, b = max(a, b), min(a, b)
        text, read, answer = f"{name} has {a} {thing} and gives away {b}.", f"{a}-{b}", a - b
    return Story(f"{text} How many? ", read, str(answer))


def coins(rng: random.Random, flips: int) -> Story:
    """A story of so many people, each of whom flips the coin or does not."""
    bits = [rng.randint(0, 1) for _ in range(flips)]
    does = {0: "does not flip the coin.", 1: "flips the coin."}
    text = " ".join(f"{rng.choice(NAMES)} {does[bit]}" for bit in bits)
    return Story(text, "".join(f" {bit}" for bit in bits), str(sum(bits) % 2))


def coin_stories(seed: int) -> list[Story]:
    """The stories that a model is taught: as many of each number of people."""
    rng = random.Random(seed)
    return [coins(rng, FLIPS[i % len(FLIPS)]) for i in range(COIN_STORIES)]


def taught_pens(rng: random.Random) -> tuple[str, str]:
    """(prompt, reply) of a story of pens."""
    story = pens(rng, rng.choice(DIGITS))
    return story.text, f"{story.read}={story.answer}."


def taught_coins(rng: random.Random, stories: Sequence[Story]) -> tuple[str, str]:
    """(prompt, reply) of one of the stories."""
    story = rng.choice(stories)
    return story.text, f"{story.read}{ARROW} {story.answer}"
