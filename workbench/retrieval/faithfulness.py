"""Which facts an answer rests on: the fewest from which it stays (arXiv 2210.08763, §4)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from workbench import arguments
from workbench.retrieval.answers import answer_exact

Answer = Callable[[str, Sequence[str]], str]
"""(Question, facts in order of reading) → what a reader answers."""
MOST_SUBSETS = 2**10
"""Subsets that are tried for the smallest one: all of ten facts."""


@dataclass(frozen=True)
class Needed:
    """Facts, by place, from which an answer is what it is from all of them.

    `smallest`: no smaller subset does; else only that none of these can be left out. `tried`: how
    many subsets the reader was given.
    """

    facts: tuple[int, ...]
    smallest: bool
    tried: int


def evidence_needed(
    question: str, facts: Sequence[str], answer: Answer, gold: str = "", most: int = MOST_SUBSETS
) -> Needed | None:
    """The smallest of the subsets of facts, in their order, from which the answer stays `gold`.

    Without `gold` what the reader answers from all facts; None where that is not `gold`, or empty.
    Of equal size the first in place. Subsets are tried from none upwards, `most` of them; beyond,
    facts are left out one by one as long as the answer stays, which may miss a smaller one, and the
    reader is asked more often. Raises `ValueError` for a reply that is no text.

    >>> evidence_needed("Where was Ada born?", facts, reader).facts
    """
    arguments.whole("most", most, 1)
    texts = arguments.listed("facts", facts)
    every = tuple(range(len(texts)))
    tried = 0

    @cache
    def reply(places: tuple[int, ...]) -> str:
        nonlocal tried
        tried += 1
        return _reply(answer, question, [texts[i] for i in places])

    wanted = gold or reply(every)

    def right(places: tuple[int, ...]) -> int:
        return answer_exact(wanted, reply(places))

    if not right(every):
        return None
    for size in range(len(every)):
        for places in combinations(every, size):
            if tried >= most:
                return Needed(_greedy(every, right), False, tried)
            if right(places):
                return Needed(places, True, tried)
    return Needed(every, True, tried)


def _greedy(places: tuple[int, ...], right: Callable[[tuple[int, ...]], int]) -> tuple[int, ...]:
    """The places less one after the other, until none can be left out any more."""
    before = None
    while before != places:
        before = places
        for place in before:
            fewer = tuple(other for other in places if other != place)
            places = fewer if right(fewer) else places
    return places


def _reply(answer: Answer, question: str, facts: Sequence[str]) -> str:
    reply = answer(question, facts)
    if not isinstance(reply, str):
        raise ValueError(
            f"the reader's reply to {question!r:.60} is {arguments.shown(reply)}; it must be a "
            "text, empty where it has no answer"
        )
    return reply
