"""Questions that follow chains of one to seven facts over invented worlds (ReasonChainQA, §6)."""

import random

from workbench import arguments
from workbench.retrieval.graphs import Evidence
from workbench.worlds.chain_attributes import CHAINS, HELD_OUT
from workbench.worlds.chain_questions import TYPES
from workbench.worlds.facts import World, sized
from workbench.worlds.pools import DECOYS, LEAST_POOL, POOL, Slot, asked, candidates

DEPTHS = tuple(range(1, 8))
WHOLE = 0
"""The pool that is the whole world."""
_LEAST_DEPTH = {"SelectAmong": 2}
_TRUTHS = ("VerifyStr", "VerifyNum", "VerifyYear")


def questions(
    split: str,
    count: int,
    *,
    worlds: int = 4,
    pool: int = POOL,
    decoys: int = DECOYS,
    size: float = 1.0,
    depths: tuple[int, ...] = DEPTHS,
    types: tuple[str, ...] = tuple(TYPES),
    held_out: bool = False,
) -> list[Evidence]:
    """Different questions of a split, types and worlds in turn, each type's depths in turn.

    Their `chain` is in the program's order. The same in every process, and the same questions
    whatever their pools. `pool`: facts with each, from 10 (the most that are gold), or `WHOLE`;
    `decoys`: complete decoy chains for each branch (`pools.rivals`). `held_out`: the same worlds
    and questions, but each fact in the sentence that is otherwise never drawn, out of template, not
    out of vocabulary. Of each type of yes or no, and of all of them, as many are yes as no, or one
    more. Raises `ValueError` for a number out of range, an unknown type or one that has none of the
    depths, `DatasetError` where the worlds have too few different questions.

    >>> questions("test", 4, types=("What",), depths=(1, 2, 3, 4))[3].question
    """
    arguments.whole("count", count, 1)
    arguments.whole("worlds", worlds, 1)
    arguments.whole("decoys", decoys, 0)
    if arguments.whole("pool", pool, WHOLE) != WHOLE:
        arguments.whole("pool", pool, LEAST_POOL)
    arguments.truth("held_out", held_out)
    names = arguments.different("types", arguments.listed("types", types))
    lengths = arguments.different("depths", arguments.listed("depths", depths))
    for length in lengths:
        arguments.whole("depths", length, DEPTHS[0], DEPTHS[-1])
    deep = {}
    for name in names:
        arguments.one_of("type", name, tuple(TYPES))
        deep[name] = [length for length in lengths if length >= _LEAST_DEPTH.get(name, 1)]
        if not deep[name]:
            raise ValueError(
                f"{name} questions have a depth of {_LEAST_DEPTH[name]} at least: leave that type "
                f"out, or add to depths={tuple(lengths)}"
            )
    vocabulary = HELD_OUT if held_out else CHAINS
    drawn = [World(split, number, size, vocabulary) for number in range(worlds)]
    rng, pools = (random.Random(f"chains {split} {worlds} {size:g}{of}") for of in ("", " pools"))

    truths = [sum(name in _TRUTHS for name in names[:i]) for i in range(len(names))]

    def slot(place: int) -> Slot:
        turn, i = divmod(place, len(names))
        among, ask = deep[names[i]], TYPES[names[i]]
        depth = among[(turn + i) % len(among)]
        # A yes every other turn; and where the depths are even in number, each round of them begins
        # with the other answer, so that each depth meets both.
        shift = 0 if len(among) % 2 else turn // len(among)
        truth = (turn + shift + truths[i]) % 2 == 0
        return f"type {names[i]} and depth {depth}", lambda world: ask(world, rng, depth, truth)

    return asked(
        f"{vocabulary.name}{split}{sized(size)}", drawn, slot, count,
        lambda world, draft: candidates(world, draft, pools, pool, decoys) if pool
        else range(len(world.facts)),
    )  # fmt: skip
