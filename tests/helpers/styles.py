"""Responses of the styles read back and their exact probabilities, without the code under test."""

import itertools
import math
import re

from workbench.worlds import styles

CLAUSE = re.compile(r" (-|\*|then|also) (\w+) (\w+)")


def clauses(answer):
    found = CLAUSE.findall(answer)
    assert "".join(f" {' '.join(f)}" for f in found) == answer
    return found


def response_entropy(mixed):
    """Nats of a response given its prompt: lengths, words, and two mixtures of coins, all cases."""
    total = math.log(3)
    for n in styles.CLAUSES:
        coins = 0.0
        for flips in itertools.product((0, 1), repeat=n):
            coins -= odds(flips, mixed) * math.log(odds(flips, mixed))
        total += (2 * coins + n * (math.log(2) + math.log(8) + math.log(4))) / 3
    return total


def odds(flips, mixed):
    """Probability of one sequence of coins, of which a fair one says whether they lean to 1."""
    k, n = sum(flips), len(flips)
    return (mixed**k * (1 - mixed) ** (n - k) + (1 - mixed) ** k * mixed ** (n - k)) / 2


def nats(answer, mixed):
    """−log p of one response, as it reads."""
    found = clauses(answer)
    coins = [[c in styles.POLITE for *_, c in found], [o in styles.BULLET for o, *_ in found]]
    words = len(found) * math.log(2 * 8 * 4)
    return math.log(3) + words - sum(math.log(odds(flips, mixed)) for flips in coins)
