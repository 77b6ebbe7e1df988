"""A sentence encoder fitted to hop from fact to fact, and its twin that is fitted not to.

Equal steps for both: one learns question + facts read → next fact, its twin question → each fact.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.errors import DatasetError
from workbench.models.encoders import Encoder
from workbench.retrieval.towers import Contrast, Pair, fitted, hardest

WAYS = ("oneshot", "iterated")
DECOYS, MINED = 1, 3
"""Negatives of a pair: facts of its relation about others, and the nearest wrong ones."""
SETTINGS = Contrast(learning_rate=1e-4)
TRIES = 2000
"""Draws for each question before a world is taken to have no more."""


@dataclass(frozen=True)
class Asked:
    """A question, and the places of the facts of its chain in the order of reading."""

    question: str
    places: tuple[int, ...]


def different(count: int, draw: Callable[[int], Asked | None], named: str) -> list[Asked]:
    """So many different questions; `draw` is told how many there are, and may meet none.

    Raises `DatasetError` with what they are `named` where there are too few.
    """
    made: dict[str, Asked] = {}
    for _ in range(TRIES * count):
        if len(made) == count:
            return [*made.values()]
        if asked := draw(len(made)):
            made.setdefault(asked.question, asked)
    raise DatasetError(f"{named}: no {count} different ones are to be had")


def pairs(
    asked: Sequence[Asked], facts: Sequence[str], relations: Sequence[str], way: str, seed: str
) -> list[Pair]:
    """As many pairs of each chain as it has facts, in the order of the questions, for a way.

    `iterated`: from the question and the facts before to the next. `oneshot`: from the question to
    each. `relations`: of each fact; negatives are drawn from those of the same one.
    """
    rng = random.Random(seed)
    of: dict[str, list[int]] = defaultdict(list)
    for place, relation in enumerate(relations):
        of[relation].append(place)
    out: list[Pair] = []
    for each in asked:
        told = [facts[place] for place in each.places]
        for i, place in enumerate(each.places):
            same = [p for p in of[relations[place]] if p not in each.places]
            decoys = tuple(facts[p] for p in rng.sample(same, min(DECOYS, len(same))))
            if way == "iterated":
                query, ignored = " ".join([each.question, *told[:i]]), told[:i]
            else:
                query, ignored = each.question, told[:i] + told[i + 1 :]
            out.append(Pair(query, told[i], decoys, tuple(ignored)))
    return out


def finetuned(
    encoder: Encoder,
    draw: Callable[[int], tuple[Sequence[str], Sequence[Pair]]],
    rounds: int,
    seed: int,
    settings: Contrast = SETTINGS,
    mined: int = MINED,
) -> Encoder:
    """A copy fitted to the pairs of each round, with negatives mined anew among all its facts.

    `draw`: a number, no other round's or seed's, → the facts of a world and pairs over them.
    `mined`: nearest wrong facts of each pair.

    >>> copy = finetuned(wb.load_encoder("minilm"), lambda number: (facts, pairs), 8, seed=0)
    """

    def drawn(number: int, current: Encoder) -> list[Pair]:
        facts, rows = draw(number)
        return hardest(current, facts, rows, mined)

    return fitted(encoder, [partial(drawn, 1000 * seed + 100 + i) for i in range(rounds)],
                  settings, seed)  # fmt: skip
