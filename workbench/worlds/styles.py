"""The grammar of styles: short lists about a topic, each clause polite or rude, bulleted or not.

A prompt names a topic and two of its words; a response is three to five clauses, each an opening, a
word of the topic and a closing. A response has a manner (polite or rude) and a form (bulleted or
plain); with probability `MIXED` a clause shows the other one. In plain texts both are even; in
preference pairs the chosen response is polite and bulleted, the rejected one rude and plain.
"""

import math
import random
from dataclasses import dataclass

TOPICS = {
    "farm": "barn seed tractor fence hay plough orchard stable",
    "sea": "tide sail harbour anchor reef gull deck lighthouse",
    "kitchen": "oven kettle spoon flour pan recipe apron pepper",
    "music": "drum violin chorus tempo flute score rehearsal trumpet",
    "garden": "rose hedge soil rake bulb trellis lawn compost",
    "city": "tram plaza bridge market tower subway avenue fountain",
    "sport": "goal racket whistle coach stadium helmet relay medal",
    "winter": "sledge frost scarf ice blizzard fireplace mitten icicle",
}
POLITE = ("please", "kindly", "gladly", "thankfully")
RUDE = ("whatever", "ugh", "duh", "obviously")
BULLET = ("-", "*")
PLAIN = ("then", "also")
CLAUSES = (3, 4, 5)
MIXED = 0.2
"""Probability that a clause shows the manner, or the form, that its response does not have."""
NOISE = 0.15
"""Share of preference pairs whose labels are swapped."""


@dataclass(frozen=True)
class Manner:
    """Probability that a clause is polite, and that it is bulleted."""

    polite: float
    bullet: float


def prompt(rng: random.Random) -> tuple[str, str]:
    """Draw (topic, prompt); the prompt names the topic and two of its words."""
    topic = rng.choice(list(TOPICS))
    words = TOPICS[topic].split()
    return topic, f"<bos> {topic} {rng.choice(words)} {rng.choice(words)} :"


def response(topic: str, manner: Manner, rng: random.Random) -> str:
    """Draw three to five clauses, each with a leading space; no end mark."""
    clauses = []
    for _ in range(rng.choice(CLAUSES)):
        opening = rng.choice(BULLET if rng.random() < manner.bullet else PLAIN)
        closing = rng.choice(POLITE if rng.random() < manner.polite else RUDE)
        clauses.append(f" {opening} {rng.choice(TOPICS[topic].split())} {closing}")
    return "".join(clauses)


def text(rng: random.Random) -> tuple[str, str]:
    """Draw (prompt, response) from an even mixture of the four manners."""
    topic, asked = prompt(rng)
    manner = Manner(*(rng.choice((MIXED, 1 - MIXED)) for _ in range(2)))
    return asked, response(topic, manner, rng)


def entropy(mixed: float = MIXED) -> float:
    """Entropy of the responses of `text` given their prompts, exact: nats per token with end mark.

    It is the loss of the best model. At `mixed` = 0.5 clauses tell nothing of each other, and the
    texts have the same words as often: the loss of the best model that infers no manner.
    """
    choices = len(next(iter(TOPICS.values())).split()) * len(BULLET) * len(POLITE)
    nats = math.log(len(CLAUSES))
    for n in CLAUSES:
        coins = 0.0  # which of n clauses are polite; as much again for which are bulleted
        for k in range(n + 1):
            p = (mixed**k * (1 - mixed) ** (n - k) + (1 - mixed) ** k * mixed ** (n - k)) / 2
            coins -= math.comb(n, k) * p * math.log(p) if p else 0.0
        nats += (n * math.log(choices) + 2 * coins) / len(CLAUSES)
    return nats / (3 * sum(CLAUSES) / len(CLAUSES) + 1)


def preference_pair(
    rng: random.Random, noise: float = NOISE, mixed: float = MIXED
) -> dict[str, str]:
    """Draw `prompt`, `chosen` and `rejected`, never alike, swapped with probability `noise`.

    `mixed`: as `MIXED`, of both responses.
    """
    topic, asked = prompt(rng)
    good = response(topic, Manner(1 - mixed, 1 - mixed), rng)
    bad = good
    while bad == good:
        bad = response(topic, Manner(mixed, mixed), rng)
    if rng.random() < noise:
        good, bad = bad, good
    return {"prompt": asked, "chosen": good, "rejected": bad}


def preference_pairs(
    counts: dict[str, int], seed: int = 0, noise: float = NOISE, mixed: float = MIXED
) -> list[dict[str, str]]:
    """Draw pairs with their `split`, in the order of `counts`; no pair comes twice."""
    rng = random.Random(seed)
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for split, count in counts.items():
        total = len(rows) + count
        while len(rows) < total:
            pair = preference_pair(rng, noise, mixed)
            rows.setdefault(tuple(pair.values()), {**pair, "split": split})
    return list(rows.values())
